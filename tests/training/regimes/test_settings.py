"""Regimes with settings: every short form is the same list, misspelt settings meet the nearest, and --set reaches into them."""

import pytest

from diptych.config import apply_sets, named
from diptych.errors import RecipeError
from diptych.recipe import build, load
from diptych.training.regimes import compose, settings_of
from diptych.training.regimes.frozen import Frozen
from diptych.training.regimes.regime import Plain

LORA = {"name": "lora", "rank": 4}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("frozen, lora", ["frozen", "lora"]),
        (["frozen", LORA], ["frozen", LORA]),
        ({"frozen": None, "lora": {"rank": 4}}, ["frozen", LORA]),
        (LORA, [LORA]),
        ([{"name": "frozen"}], ["frozen"]),
        ("", []),
    ],
)
def test_every_short_form_is_the_same_list(short, full):
    assert named(short) == full
    assert named(named(short)) == full


@pytest.mark.parametrize("before", [["frozen", "lora"], ["frozen", {"name": "lora", "alpha": 2.0}], ["frozen"], None])
def test_a_path_goes_through_the_regime_of_that_name(before):
    data = {"train": {"regime": before}}
    after = named(apply_sets(data, ["train.regime.lora.rank=4"])["train"]["regime"])
    expected = [each for each in before or [] if each == "frozen"]
    kept = {"alpha": 2.0} if before and len(before) > 1 and isinstance(before[1], dict) else {}
    assert after == [*expected, {"name": "lora", **kept, "rank": 4}]
    assert data == {"train": {"regime": before}}


@pytest.mark.parametrize("item", ["train.regime.lora=3", "train.lr.x=3"])
def test_a_path_through_what_has_no_names_is_refused(item):
    with pytest.raises(RecipeError) as caught:
        apply_sets({"train": {"regime": ["lora"], "lr": 1.0}}, [item])
    assert caught.value.code == "E404"


@pytest.mark.parametrize(
    ("entry", "code", "says"),
    [
        ("frozne", "E407", "frozen"),
        ({"name": "frozen", "nmae": 1}, "E402", "name"),
        ({"rank": 3}, "E405", "name"),
        (3, "E403", "3"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_name(entry, code, says):
    with pytest.raises(RecipeError) as caught:
        settings_of(entry)
    assert caught.value.code == code and says in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        build({"model": {"base": "x"}, "task": {"name": "causal-lm"}, "train": {"regime": [entry]}})
    assert caught.value.code == code


def test_a_recipe_keeps_what_its_regimes_were_told_and_reads_it_again():
    first = load(None, ["train.regime=frozen"], {"model": {"base": "x"}, "task": {"name": "causal-lm"}})
    assert first.train.regime == ["frozen"]
    assert build(first.to_dict()).to_dict() == first.to_dict()
    regime = compose(first.train.regime)
    assert isinstance(regime, Frozen) and isinstance(regime.inner, Plain)
