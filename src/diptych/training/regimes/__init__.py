"""How a step turns examples into a gradient: plain, or wrapped by one regime or several, for any task and any model."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from diptych.config import Settings, nearest, parse
from diptych.errors import RecipeError, TrainingError
from diptych.messages import _
from diptych.training.regimes.regime import Plain, Regime, Surroundings

REGIMES = {
    "frozen": "diptych.training.regimes.frozen:Frozen",
    "lora": "diptych.training.regimes.lora:LoRA",
    "distilled": "diptych.training.regimes.distilled:Distilled",
    "federated": "diptych.training.regimes.federated:Federated",
    "traced": "diptych.training.regimes.traced:Traced",
    "private": "diptych.training.regimes.private:Private",
}


def compose(entries: Sequence[Any], around: Surroundings | None = None) -> Regime:
    """The plain step wrapped by each regime in turn, the last outermost.

    Args:
        entries: names, or mappings of a name and its settings, as `train.regime` holds them.
        around: what a regime may need besides network and task; regimes that need nothing work without.

    Raises:
        RecipeError E402, E403, E405, E407: there is no regime of that name, or it has no such setting.
        TrainingError E560: one lies around a regime that has to see all that is done to a step.
    """
    regime: Regime = Plain()
    for entry in entries:
        settings = settings_of(entry)
        if getattr(regime, "is_outermost", False):
            raise TrainingError("E560", name=settings.name)
        regime = regime_class(settings.name)(regime, settings, around or Surroundings())
    return regime


def settings_of(entry: Any, *, where: str | None = None) -> Any:
    """The checked settings of one entry of `train.regime`: a name, or a mapping of a name and settings.

    Raises:
        RecipeError E402, E403, E405, E407: as `compose`.
    """
    if isinstance(entry, Settings):
        return entry
    where = f"{where or _('the recipe')}: train.regime"
    given = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(given, Mapping):
        raise RecipeError("E403", where=where, key="regime", value=repr(entry), problem=_("Input should be a valid string"))
    if "name" not in given:
        raise RecipeError("E405", where=where, key="name")
    return parse(regime_class(str(given["name"])).Settings, given, where=f"{where}.{given['name']}")


def regime_class(name: str) -> Any:
    """The regime called `name`.

    Raises:
        RecipeError E407: there is none of that name.
    """
    if name not in REGIMES:
        raise RecipeError("E407", name=name, hint=nearest(name, REGIMES))
    module, _separator, attribute = REGIMES[name].partition(":")
    return getattr(import_module(module), attribute)


__all__ = ["REGIMES", "Plain", "Regime", "Surroundings", "compose", "regime_class", "settings_of"]
