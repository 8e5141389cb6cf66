"""Blanks of a recipe: filled in by what suits the run, and on resuming by what the run began with."""

import pytest

from diptych.config import to_yaml
from diptych.errors import RecipeError
from diptych.presets import create
from diptych.recipe import build, load
from diptych.running import resolve
from diptych.training.workspace import Workspace


def recipe_of(out, **train):
    """A recipe of pretraining that leaves everything blank but what is given."""
    return build({"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm"}, "train": train, "run": {"out": str(out)}})


@pytest.fixture
def net():
    return create("gpt-tiny", hidden_size=16, head_size=8, num_layers=1, context_length=32, vocab_size=50)


@pytest.fixture
def begun(net, tmp_path):
    """Let a run begin with some settings; its folder."""

    def begin(**train):
        out = tmp_path / "运行"
        Workspace(out, resolve(recipe_of(out, **train), net).to_dict())
        return out

    return begin


def test_a_run_from_before_muon_goes_on_with_adamw(net, begun):
    out = begun(optimizer="adamw", lr=1.5e-3, steps=300, batch_size=7)
    assert resolve(recipe_of(out), net).train.optimizer == "muon", "what a run of today begins with"
    resumed = resolve(recipe_of(out), net, resume=True)
    assert (resumed.train.optimizer, resumed.train.lr, resumed.train.batch_size) == ("adamw", 1.5e-3, 7)
    assert (resumed.train.steps, resumed.train.minutes) == (300, None)
    Workspace(out, resumed.to_dict(), resume=True)


def test_what_is_said_when_resuming_is_heard(net, begun):
    out = begun(optimizer="adamw", steps=300)
    lower = resolve(recipe_of(out, lr=1e-5), net, resume=True)
    assert lower.train.lr == 1e-5
    Workspace(out, lower.to_dict(), resume=True)
    with pytest.raises(RecipeError) as caught:
        Workspace(out, resolve(recipe_of(out, optimizer="muon", steps=900), net, resume=True).to_dict(), resume=True)
    assert caught.value.code == "E414"
    assert "train.optimizer: 'adamw' -> 'muon'" in str(caught.value) and "train.steps: 300 -> 900" in str(caught.value)


def test_without_a_run_there_are_only_the_usual_blanks(net, tmp_path):
    out = tmp_path / "new"
    assert resolve(recipe_of(out), net, resume=True) == resolve(recipe_of(out), net)


def test_a_recipe_of_a_run_that_was_written_over_is_refused(net, begun):
    out = begun(steps=3)
    (out / "diptych" / "recipe.yaml").write_text(to_yaml({"train": {"optimizer": "sgd"}}), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        resolve(recipe_of(out), net, resume=True)
    assert caught.value.code == "E403" and "recipe.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "task", "train"),
    [
        ("E421", "causal-lm", {"batch_ramp": {"start": 0.5}}),
        ("E421", "causal-lm", {"batch_ramp": {"start": 0.5}, "hours": 1}),
        ("E422", "prefix-lm", {"steps": 9, "length_ramp": [{"length": 8, "until": 0.5}]}),
        ("E423", "causal-lm", {"steps": 9, "length_ramp": [{"length": 32, "until": 0.5}]}),
    ],
    ids=str,
)
def test_ramps_that_cannot_be_are_refused(code, task, train, net):
    recipe = build({"model": {"preset": "gpt-tiny"}, "task": {"name": task}, "train": train})
    with pytest.raises(RecipeError) as caught:
        resolve(recipe, net)
    assert caught.value.code == code


def test_hours_are_kept_as_minutes(net):
    assert resolve(recipe_of("x", hours=1.5), net).train.minutes == 90
    again = load(None, ["train.hours=2"], resolve(recipe_of("x", steps=7), net).to_dict())
    assert (again.train.minutes, again.train.steps, again.train.hours) == (120, None, None)
    for wrong in ({"hours": 2, "minutes": 3.0}, {"hours": 0}, {"hours": "two"}):
        with pytest.raises(RecipeError) as caught:
            recipe_of("x", **wrong)
        assert caught.value.code == "E403"
