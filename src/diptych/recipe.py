"""The recipe: model, task, train and run in one checked object, from YAML, flags or Python.

`model`, `task` and `train` decide the result, `run` does not. What a recipe leaves open is filled in by `resolve`, and the
resolved recipe is what a model folder keeps: no hidden defaults.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.config import AUTO, BUDGETS, ModelSettings, RunSettings, Settings, TrainSettings, apply_sets, named, nearest, parse, read_yaml
from diptych.errors import RecipeError
from diptych.messages import _
from diptych.presets import list_presets
from diptych.tasks import TASKS, task_class
from diptych.training import regimes

PARTS = ("model", "task", "train", "run")
ALTERNATIVES = (("model", ("preset", "base")), ("train", BUDGETS))
"""Settings of which a recipe has one: whoever says another of them over a recipe means it instead."""
SWITCHES = ("resume", "overwrite")
"""Keyword arguments that are no part of a recipe: what to do with what lies in `out` already."""

AUTO_TASKS = ("causal-lm", "masked-lm")
"""Tasks for which it was measured what sizes make of a budget."""


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
        RecipeError E402, E403, E405, E406, E407, E419, E420: what is wrong, where, and the nearest known name.
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
    recipe = Recipe.model_construct(**parts)
    if recipe.model.preset == AUTO:
        _check_auto(recipe)
    return recipe


def _check_auto(recipe: Recipe) -> None:
    """
    Raises:
        RecipeError E419: the size cannot be chosen by this budget. E420: nor for this task.
    """
    budgets = [name for name in BUDGETS if name != "minutes" and getattr(recipe.train, name) is not None]
    if budgets:
        raise RecipeError("E419", budget=f"train.{budgets[0]}")
    if recipe.task.name not in AUTO_TASKS:
        raise RecipeError("E420", task=recipe.task.name, known=", ".join(AUTO_TASKS))


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


def from_keywords(base: str | Path, task: str, settings: Mapping[str, Any], **files: Any) -> Recipe:
    """Keyword arguments as a recipe: a name goes to the part that knows it.

    Args:
        base: a preset, or what else a model is started from.
        files: where the data of the task lies, under the task's own name for it.

    Raises:
        RecipeError E402: no part knows the name. What `build` raises.
    """
    start = "preset" if str(base) in (AUTO, *list_presets()) else "base"
    parts: dict[str, dict[str, Any]] = {"model": {start: str(base)}, "task": {"name": task, **files}, "train": {}, "run": {}}
    task_fields = task_class(task).Settings.model_fields
    train_fields, run_fields = TrainSettings.model_fields, RunSettings.model_fields
    for name, value in settings.items():
        if name in parts and isinstance(value, Mapping):
            parts[name].update(value)
        elif name in train_fields:
            parts["train"][name] = value
        elif name in run_fields:
            parts["run"][name] = str(value) if name in ("out", "cache") else value
        elif name == "tokenizer" or name == "sizes":
            parts["model"][name] = value
        elif name in task_fields:
            parts["task"][name] = value
        elif name not in SWITCHES:
            known = (*train_fields, *run_fields, *task_fields, *SWITCHES, "tokenizer", "sizes")
            raise RecipeError("E402", where=f"{task}", key=name, hint=nearest(name, known))
    return build(parts)


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
