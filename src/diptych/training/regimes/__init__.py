"""How a step turns examples into a gradient: plain, or wrapped by one regime or several, for any task and any model."""

from collections.abc import Sequence
from importlib import import_module

from diptych.config import nearest
from diptych.errors import RecipeError
from diptych.training.regimes.regime import Plain, Regime

REGIMES = {"frozen": "diptych.training.regimes.frozen:Frozen"}


def compose(names: Sequence[str]) -> Regime:
    """The plain step wrapped by each regime in turn, the last outermost.

    Raises:
        RecipeError E407: there is no regime of that name.
    """
    regime: Regime = Plain()
    for name in names:
        if name not in REGIMES:
            raise RecipeError("E407", name=name, hint=nearest(name, REGIMES))
        module, _, attribute = REGIMES[name].partition(":")
        regime = getattr(import_module(module), attribute)(regime)
    return regime


__all__ = ["Plain", "Regime", "compose"]
