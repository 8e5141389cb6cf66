"""The recipe: four parts in one checked object, the same after a trip through YAML, and described by a JSON Schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych import recipe as recipes
from diptych.config import to_yaml
from diptych.errors import RecipeError
from diptych.recipe import PARTS, build, load, schema
from diptych.tasks import PRETRAINING, TASKS, task_class

SMALL = {"model": {"preset": "gpt-mini"}, "task": {"name": "causal-lm", "text": "notes/"}}
SCHEMA = schema()
ROOT = Path(recipes.__file__).resolve().parents[2]
names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
sizes = st.integers(1, 10**6)
shares = st.floats(0, 1, exclude_max=True)


@st.composite
def right_recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe that is right, with some of its settings given."""

    def some(fields: dict[str, st.SearchStrategy]) -> dict[str, Any]:
        return draw(st.fixed_dictionaries({}, optional=fields))

    tokenizer = {"kind": st.sampled_from(["bpe", "wordpiece", "unigram", "characters"]), "vocab_size": st.integers(64, 10**6)}
    budget = draw(st.sampled_from([{}, {"steps": 5}, {"epochs": 1.5}, {"tokens": 100}, {"minutes": 0.5}]))
    clean = {"normalize": st.sampled_from([None, "NFC", "NFKC"]), "dedup": st.sampled_from(["none", "exact", "near"])}
    language = {"text": names | st.lists(names, max_size=2), "held_out": shares, "group": names, "encoding": names}
    language["clean"] = st.fixed_dictionaries({}, optional=clean)
    table = {"data": names, "text": names, "label": names, "empty_labels": st.sampled_from(["error", "drop"])}
    name = draw(st.sampled_from(sorted(TASKS)))
    examples = {"data": names, "group": names} if name != "classification" else table
    own = language | ({"nsp": st.booleans()} if name == "masked-lm" else {}) if name in PRETRAINING else examples
    train = {
        "lr": st.floats(1e-6, 10),
        "seed": st.integers(),
        "betas": st.lists(shares, min_size=2, max_size=2),
        "regime": st.just("frozen") | st.just([]),
        "warmup": shares,
        "patience": st.none() | sizes,
    }
    start = {draw(st.sampled_from(["preset", "base"])): draw(names)}
    return {
        "model": {**start, **some({"tokenizer": st.fixed_dictionaries({}, optional=tokenizer)})},
        "task": {"name": name, **some(own)},
        "train": {**budget, **some(train)},
        "run": some({"out": names, "device": st.sampled_from(["auto", "cpu"]), "threads": sizes, "cache": names}),
    }


def problems(value: Any, rule: dict[str, Any], at: str = "recipe") -> list[str]:
    """What a JSON Schema has against a value: as much of the 2020-12 vocabulary as a recipe's schema uses, and no more."""
    if "$ref" in rule:
        assert rule["$ref"].startswith("#/$defs/")
        return problems(value, SCHEMA["$defs"][rule["$ref"].removeprefix("#/$defs/")], at)
    known = {"$schema", "$defs", "title", "description", "default", "type", "properties", "required", "additionalProperties", "anyOf"}
    known |= {"oneOf", "const", "enum", "items", "prefixItems", "minItems", "maxItems", "minimum", "maximum"}
    assert set(rule) <= known | {"exclusiveMinimum", "exclusiveMaximum"}, set(rule) - known
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}
    kind = rule.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind in ("integer", "number"))):
        return [f"{at}: {value!r} is no {kind}"]
    found = []
    if "const" in rule and value != rule["const"]:
        found.append(f"{at}: {value!r} is not {rule['const']!r}")
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{at}: {value!r} is none of {rule['enum']!r}")
    for name, fits in (
        ("minimum", lambda limit: value >= limit),
        ("maximum", lambda limit: value <= limit),
        ("exclusiveMinimum", lambda limit: value > limit),
        ("exclusiveMaximum", lambda limit: value < limit),
        ("minItems", lambda limit: len(value) >= limit),
        ("maxItems", lambda limit: len(value) <= limit),
    ):
        if name in rule and not fits(rule[name]):
            found.append(f"{at}: {value!r} breaks {name} {rule[name]}")
    for name, enough in (("anyOf", lambda count: count >= 1), ("oneOf", lambda count: count == 1)):
        if name in rule and not enough(sum(not problems(value, each, at) for each in rule[name])):
            found.append(f"{at}: {value!r} fits not the right number of {name}")
    if isinstance(value, dict):
        found += [f"{at}: {name} is missing" for name in rule.get("required", ()) if name not in value]
        for name, item in value.items():
            inner = rule.get("properties", {}).get(name, rule.get("additionalProperties", True))
            if inner is False:
                found.append(f"{at}: {name} is unknown")
            elif isinstance(inner, dict):
                found += problems(item, inner, f"{at}.{name}")
    if isinstance(value, list):
        rules = [*rule.get("prefixItems", []), *[rule.get("items", {})] * len(value)]
        found += [each for number, item in enumerate(value) for each in problems(item, rules[number], f"{at}.{number}")]
    return found


@settings(deadline=None)
@given(data=right_recipes())
def test_a_recipe_is_the_same_after_a_trip_through_yaml(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    once = build(data)
    resolved = once.to_dict()
    assert set(resolved) == set(PARTS)
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    path.write_text(to_yaml(resolved), encoding="utf-8")
    again = load(path)
    assert again.to_dict() == resolved
    for part in PARTS:
        assert getattr(again, part) == getattr(once, part)
        for name, value in data[part].items():
            assert name in resolved[part]
            assert isinstance(value, dict) or name in ("betas", "regime") or resolved[part][name] == value


@settings(deadline=None)
@given(right_recipes())
def test_a_recipe_that_is_right_fits_the_schema(data: dict[str, Any]) -> None:
    assert problems(json.loads(json.dumps(data)), SCHEMA) == []
    assert problems(json.loads(json.dumps(build(data).to_dict())), SCHEMA) == []


@pytest.mark.parametrize(
    "change",
    [
        {"trian": {}},
        {"model": {"preset": "gpt-mini", "size": 3}},
        {"task": {"text": "notes/"}},
        {"task": {"name": "causal"}},
        {"task": {"name": "causal-lm", "mask_rate": 0.15}},
        {"task": {"name": "causal-lm", "held_out": 1}},
        {"task": {"name": "causal-lm", "clean": {"normalize": "nfc"}}},
        {"train": {"lr": "fast"}},
        {"train": {"lr": 0}},
        {"train": {"steps": 1.5}},
        {"train": {"betas": [0.9, 1.0]}},
        {"train": {"betas": [0.9]}},
        {"run": {"device": "gpu"}},
        {"run": []},
    ],
)
def test_what_the_schema_refuses_is_refused_when_it_is_built(change: dict[str, Any]) -> None:
    data = {**SMALL, **change}
    assert problems(data, SCHEMA) != []
    if change != {"run": []}:
        with pytest.raises(RecipeError):
            build(data)


def test_the_schema_knows_every_task_and_every_setting() -> None:
    json.dumps(SCHEMA)
    assert SCHEMA["required"] == ["model", "task"]
    described = {rule["properties"]["name"]["const"]: set(rule["properties"]) for rule in SCHEMA["properties"]["task"]["oneOf"]}
    assert described == {name: set(task_class(name).Settings.model_fields) for name in TASKS}
    assert "out" in SCHEMA["properties"]["run"]["properties"]


def test_a_misspelt_part_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("modle: {preset: gpt-mini}\ntask: {name: causal-lm}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load(path)
    assert error.value.code == "E402"
    assert str(path) in str(error.value) and 'Did you mean "model"?' in str(error.value)


def test_a_misspelt_key_in_a_file_is_named_with_the_file_and_the_part(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {preset: gpt-mini}\ntask: {name: causal-lm}\ntrain: {learning_rates: 1}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load(path)
    assert error.value.code == "E402" and f"{path}: train" in str(error.value)


def test_a_task_that_nobody_knows_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RecipeError) as error:
        build({**SMALL, "task": {"name": "causallm"}})
    assert error.value.code == "E406" and 'Did you mean "causal-lm"?' in str(error.value)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({}, "model"),
        ({"model": {"preset": "gpt-mini"}}, "task"),
        ({"model": None, "task": {}}, "model"),
        ({**SMALL, "task": {"text": "a"}}, "task.name"),
    ],
)
def test_what_is_missing_is_named_with_the_flag_that_gives_it(data: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError) as error:
        build(data)
    assert error.value.code == "E405" and f"--set {key}=" in str(error.value)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", ["gpt-mini", 5, ["a"]])
def test_a_part_that_is_no_mapping_is_shown_as_it_is(part: str, value: Any) -> None:
    with pytest.raises(RecipeError) as error:
        build({**SMALL, part: value})
    assert error.value.code == "E403" and f"{part} cannot be {value!r}" in str(error.value)


def test_a_part_with_nothing_in_it_is_one_with_all_defaults() -> None:
    assert build({**SMALL, "train": None, "run": None}).to_dict() == build(SMALL).to_dict()


def test_flags_go_over_the_file_and_the_file_over_the_short_form(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {preset: gpt-tiny}\ntask: {name: causal-lm, text: 笔记/}\ntrain: {steps: 5, lr: 3e-4}\n", encoding="utf-8-sig")
    base = {"model": {"preset": "gpt-mini"}, "task": {"name": "causal-lm", "held_out": 0.2}, "run": {"out": "here"}}
    found = load(path, ["train.lr=1e-3", "run.threads=2"], base)
    assert (found.model.preset, found.task.text, found.task.held_out) == ("gpt-tiny", "笔记/", 0.2)
    assert (found.train.steps, found.train.lr, found.run.out, found.run.threads) == (5, 1e-3, "here", 2)
    assert base["model"] == {"preset": "gpt-mini"}, "what was handed over stays as it is"


def test_no_file_is_needed() -> None:
    found = load(None, ["model.preset=gpt-tiny", "task.name=causal-lm", "task.text=notes.txt", "run.out=my-gpt", "train.steps=60"])
    assert (found.model.preset, found.task.text, found.run.out, found.train.steps) == ("gpt-tiny", "notes.txt", "my-gpt", 60)


def test_every_recipe_that_ships_is_right() -> None:
    paths = sorted((ROOT / "recipes").rglob("*.yaml"))
    if not paths:
        pytest.skip("no recipes are here")
    for path in paths:
        assert problems(json.loads(json.dumps(load(path).to_dict())), SCHEMA) == [], path
