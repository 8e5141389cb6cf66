"""The recipe: model, task, train and run in one checked object, from YAML, flags or Python.

`model`, `task` and `train` decide the result, `run` does not. What a recipe leaves open is filled in by `resolve`, and the
resolved recipe is what a model folder keeps: no hidden defaults.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.config import BUDGETS, ModelSettings, RunSettings, Settings, TrainSettings, apply_sets, named, nearest, parse, read_yaml
from diptych.errors import RecipeError
from diptych.messages import _
from diptych.tasks import TASKS, task_class
from diptych.training import regimes

PARTS = ("model", "task", "train", "run")
ALTERNATIVES = (("model", ("preset", "base")), ("train", BUDGETS))
"""Settings of which a recipe has one: whoever says another of them over a recipe means it instead."""


class Recipe(Settings):
    """All that a run is told."""

    model: ModelSettings
    task: Any
    train: TrainSettings = TrainSettings()
    run: RunSettings = RunSettings()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a YAML file holds them."""
        return {part: _plain(getattr(self, part).model_dump()) for part in PARTS}


def build(data: Mapping[str, Any], *, where: str | None = None) -> Recipe:
    """Check a mapping of the four parts.

    Raises:
        RecipeError E402, E403, E405, E406, E407: what is wrong, where, and the nearest known name.
    """
    where = where or _("the command line")
    for part in data:
        if part not in PARTS:
            raise RecipeError("E402", where=where, key=part, hint=nearest(str(part), PARTS))
    for part in PARTS:
        if data.get(part) is None and part in ("model", "task"):
            raise RecipeError("E405", where=where, key=part)
        if not isinstance(data.get(part) or {}, Mapping):
            raise RecipeError("E403", where=where, key=part, value=repr(data[part]), problem=_("it holds no settings"))
    task = data["task"]
    if "name" not in task:
        raise RecipeError("E405", where=where, key="task.name")
    schema = task_class(str(task["name"])).Settings
    parts: dict[str, Any] = {}
    for part, kind in (("model", ModelSettings), ("task", schema), ("train", TrainSettings), ("run", RunSettings)):
        parts[part] = parse(kind, data.get(part) or {}, where=f"{where}: {part}")
    checked = [regimes.settings_of(each, where=where) for each in parts["train"].regime]
    parts["train"] = parts["train"].model_copy(update={"regime": named([each.model_dump() for each in checked])})
    return Recipe.model_construct(**parts)


def load(file: str | Path | None, sets: list[str] | tuple[str, ...] = (), base: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in `file` (none is fine), laid over `base`, with each `part.name=value` of `sets` written over it."""
    data: dict[str, Any] = {part: dict(values) for part, values in (base or {}).items()}
    if file is not None:
        for part, values in read_yaml(file).items():
            data[part] = {**data.get(part, {}), **values} if isinstance(values, Mapping) else values
    given = {item.partition("=")[0].strip() for item in sets}
    for part, names in ALTERNATIVES:
        if isinstance(data.get(part), Mapping) and given & {f"{part}.{name}" for name in names}:
            data[part] = {name: value for name, value in data[part].items() if name not in names}
    return build(apply_sets(data, sets), where=str(file) if file else None)


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors and forms."""
    tasks = [task_class(name).Settings.model_json_schema(ref_template="#/$defs/{model}") for name in TASKS]
    for task in tasks:
        task["required"] = ["name"]
    parts = {
        "model": ModelSettings.model_json_schema(ref_template="#/$defs/{model}"),
        "task": {"oneOf": tasks},
        "train": TrainSettings.model_json_schema(ref_template="#/$defs/{model}"),
        "run": RunSettings.model_json_schema(ref_template="#/$defs/{model}"),
    }
    wrappers = [regimes.regime_class(name).Settings.model_json_schema(ref_template="#/$defs/{model}") for name in regimes.REGIMES]
    for wrapper in wrappers:
        wrapper["required"] = sorted({"name", *wrapper.get("required", [])})
    listed = {"type": "array", "items": {"anyOf": [{"type": "string"}, *wrappers]}}
    by_name = {"type": "object", "properties": {name: {"type": "object"} for name in regimes.REGIMES}, "additionalProperties": False}
    parts["train"]["properties"]["regime"] |= {"anyOf": [listed, by_name, {"type": "string"}]}
    definitions: dict[str, Any] = {}
    for part in (parts["model"], parts["train"], parts["run"], *tasks, *wrappers):
        definitions.update(part.pop("$defs", {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Diptych recipe",
        "type": "object",
        "properties": parts,
        "required": ["model", "task"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
