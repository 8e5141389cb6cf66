"""Settings are checked before anything starts: a slip is named with its place and the nearest known name."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.config import (
    CleaningSettings,
    ModelSettings,
    RunSettings,
    Settings,
    TokenizerSettings,
    TrainSettings,
    apply_sets,
    nearest,
    parse,
    read_yaml,
    to_yaml,
)
from diptych.errors import RecipeError
from diptych.text.clean import Cleaning


def refused(schema: type[Settings], data: dict[str, Any]) -> RecipeError:
    with pytest.raises(RecipeError) as error:
        parse(schema, data, where="my.yaml: train")
    return error.value


def value_of(text: str) -> Any:
    return apply_sets({}, [f"part.name={text}"])["part"]["name"]


def test_a_misspelt_key_is_refused_with_the_nearest_known_name() -> None:
    error = refused(TrainSettings, {"batchsize": 8})
    assert error.code == "E402"
    assert "my.yaml: train" in str(error) and '"batchsize"' in str(error) and 'Did you mean "batch_size"?' in str(error)


def test_a_misspelt_key_deep_inside_is_named_with_its_way_there() -> None:
    error = refused(ModelSettings, {"preset": "gpt-mini", "tokenizer": {"vocabsize": 100}})
    assert error.code == "E402"
    assert '"tokenizer.vocabsize"' in str(error) and 'Did you mean "vocab_size"?' in str(error)


def test_a_key_like_no_other_is_refused_with_all_known_names() -> None:
    error = refused(CleaningSettings, {"xyz": 1})
    assert all(name in str(error) for name in CleaningSettings.model_fields)


@pytest.mark.parametrize(
    ("schema", "data", "key"),
    [
        (TrainSettings, {"steps": "many"}, "steps"),
        (TrainSettings, {"steps": 1.5}, "steps"),
        (TrainSettings, {"steps": True}, "steps"),
        (TrainSettings, {"steps": 0}, "steps"),
        (TrainSettings, {"lr": "fast"}, "lr"),
        (TrainSettings, {"lr": -1e-3}, "lr"),
        (TrainSettings, {"lr": math.inf}, "lr"),
        (TrainSettings, {"lr": math.nan}, "lr"),
        (TrainSettings, {"minutes": math.inf}, "minutes"),
        (TrainSettings, {"betas": [0.9, 1.0]}, "betas.1"),
        (TrainSettings, {"betas": [0.9]}, "betas"),
        (TrainSettings, {"betas": 0.9}, "betas"),
        (TrainSettings, {"dropout": 1.0}, "dropout"),
        (TrainSettings, {"schedule": "cosin"}, "schedule"),
        (TrainSettings, {"regime": None}, "regime"),
        (RunSettings, {"threads": 0}, "threads"),
        (RunSettings, {"out": 7}, "out"),
        (ModelSettings, {"preset": "gpt-mini", "sizes": {"hidden_size": [1]}}, "sizes.hidden_size"),
        (ModelSettings, {"preset": "gpt-mini", "tokenizer": {"kind": "bped"}}, "tokenizer.kind"),
        (ModelSettings, {"preset": "gpt-mini", "tokenizer": "bpe"}, "tokenizer"),
        (TokenizerSettings, {"lowercase": "yes"}, "lowercase"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place_and_itself(schema: type[Settings], data: dict[str, Any], key: str) -> None:
    error = refused(schema, data)
    assert error.code == "E403"
    assert str(error.values["key"]).startswith(key)
    assert set(str(error.values["key"])[len(key) :]) <= set(".0123456789")
    value = data
    for name in key.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    assert str(value).strip("[]'") in str(error)


def test_two_budgets_are_refused_and_both_are_named() -> None:
    error = refused(TrainSettings, {"steps": 10, "minutes": 2.0})
    assert error.code == "E403"
    assert "steps + minutes" in str(error)


@pytest.mark.parametrize("data", [{}, {"preset": "gpt-mini", "base": "my-gpt"}])
def test_a_model_starts_from_a_preset_or_from_a_folder(data: dict[str, Any]) -> None:
    error = refused(ModelSettings, data)
    assert error.code == "E403" and "preset" in str(error) and "base" in str(error)


def test_a_whole_number_is_good_enough_where_a_fraction_may_stand() -> None:
    assert parse(TrainSettings, {"minutes": 10, "lr": 1, "weight_decay": 0}, where="x").minutes == 10


@pytest.mark.parametrize(("given_", "kept"), [("frozen", ["frozen"]), ("plain", []), ("", []), ("frozen, lora", ["frozen", "lora"])])
def test_regimes_are_a_list_or_names_with_commas(given_: str, kept: list[str]) -> None:
    assert parse(TrainSettings, {"regime": given_}, where="x").regime == kept
    assert parse(TrainSettings, {"regime": [*kept, "plain"]}, where="x").regime == kept


def test_settings_do_not_change_once_they_are_checked() -> None:
    train = TrainSettings(steps=3)
    with pytest.raises(ValueError, match="frozen"):
        train.steps = 4  # type: ignore[misc]


def test_the_settings_of_cleaning_are_those_that_cleaning_takes() -> None:
    settings = CleaningSettings().model_dump(exclude={"scrub"})
    settings.pop("dedup")
    assert Cleaning(**settings) == Cleaning()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E3", 1000.0),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-05", 1e-5),
        ("12", 12),
        ("-3", -3),
        ("10_000", 10_000),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("No", "No"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("007", "007"),
        ("12:30", "12:30"),
        ("2024-07-01", "2024-07-01"),
        ("2024-13-45", "2024-13-45"),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        ("[1, 2]", [1, 2]),
        ("{a: 3e-4}", {"a": 3e-4}),
        ("*.txt", "*.txt"),
        ("笔记/一.txt", "笔记/一.txt"),
        ("@home", "@home"),
        ("[half", "[half"),
        ("a=b", "a=b"),
        ("'7'", "7"),
        ("!!int seven", "!!int seven"),
        ("!!python/object/apply:os.getcwd []", "!!python/object/apply:os.getcwd []"),
    ],
)
def test_what_people_write_is_read_as_they_mean_it(text: str, value: Any, tmp_path: Path) -> None:
    found = value_of(text)
    assert found == value and type(found) is type(value)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_the_number_it_is(number: float) -> None:
    assert value_of(repr(number)) == number
    assert value_of(f"{number:e}") == float(f"{number:e}")


@settings(deadline=None)
@given(st.integers())
def test_every_whole_number_stays_whole(number: int) -> None:
    found = value_of(str(number))
    assert found == number and isinstance(found, int)


def test_a_setting_on_the_command_line_goes_over_the_recipe_and_leaves_it_alone() -> None:
    recipe = {"train": {"lr": 1e-3, "steps": 5}, "run": None}
    found = apply_sets(recipe, ["train.lr=3e-4", "run.out=here", "model.tokenizer.kind=bpe", "train.lr=5e-4"])
    assert found == {"train": {"lr": 5e-4, "steps": 5}, "run": {"out": "here"}, "model": {"tokenizer": {"kind": "bpe"}}}
    assert recipe == {"train": {"lr": 1e-3, "steps": 5}, "run": None}


@pytest.mark.parametrize("item", ["train.lr", "=3", "train.=3", ".lr=3", "train..lr=3", "train.lr.deep=3"])
def test_a_set_that_names_no_place_is_refused(item: str) -> None:
    with pytest.raises(RecipeError) as error:
        apply_sets({"train": {"lr": 1e-3}}, [item])
    assert error.value.code == "E404" and f'"{item}"' in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_recipe_file_is_read_with_or_without_a_mark_and_whatever_ends_its_lines(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "配方.yaml"
    path.write_bytes(end.join(["# a recipe 🙂", "task:", "  text: 语料/", "train: {lr: 3e-4}", ""]).encode(encoding))
    assert read_yaml(path) == {"task": {"text": "语料/"}, "train": {"lr": 3e-4}}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"train: {lr: 1\nrun: {}\n", "line 2"),
        (b"train:\n\tlr: 1\n", "line 2"),
        (b"", "settings"),
        (b"- a\n- b\n", "settings"),
        (b"just words\n", "settings"),
        ("train: {lr: 1}  # 学习率".encode("gb18030"), "utf-8"),
        (b"a: !!int seven\n", "seven"),
        (b"a: !!python/object/apply:os.getcwd []\n", "line 1"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_its_problem(content: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as error:
        read_yaml(path)
    assert error.value.code == "E401" and "broken.yaml" in str(error.value) and part in str(error.value)


def test_a_recipe_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(RecipeError) as error:
            read_yaml(path)
        assert error.value.code == "E401" and str(path) in str(error.value)


def test_the_nearest_name_is_near_or_all_are_listed() -> None:
    assert nearest("embeding", ["embedding", "tagging"]) == 'Did you mean "embedding"?'
    assert nearest("zzz", ["b", "a"]) == "Known are: a, b."


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8) | st.from_regex(r"[-+0-9.eE_:]{1,6}", fullmatch=True)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
trees = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8)


@settings(deadline=None)
@given(tree=trees)
def test_what_is_written_as_yaml_is_read_as_the_same(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(to_yaml({"tree": tree}), encoding="utf-8")
    assert read_yaml(path) == {"tree": tree}
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == {"tree": tree}, "and every other reader reads the same"
