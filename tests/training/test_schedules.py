"""Budgets, and learning rates against their closed forms."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.config import TrainSettings, parse
from diptych.errors import RecipeError
from diptych.training.ramps import Batches
from diptych.training.schedules import Budget, lr_scale


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear", "constant"])
@settings(deadline=None, max_examples=50)
@given(spent=st.floats(0, 0.1, exclude_max=True))
def test_the_warm_up_rises_in_a_straight_line(schedule, spent):
    assert lr_scale(spent, TrainSettings(schedule=schedule, warmup=0.1)) == pytest.approx(spent / 0.1)


@settings(deadline=None, max_examples=50)
@given(spent=st.floats(0.1, 1), final=st.floats(0, 1))
def test_linear_falls_in_a_straight_line_from_the_warm_up_to_the_end(spent, final):
    asked = TrainSettings(schedule="linear", warmup=0.1, final_lr=final)
    assert lr_scale(spent, asked) == pytest.approx(1 - (1 - final) * (spent - 0.1) / 0.9)


@settings(deadline=None, max_examples=50)
@given(spent=st.floats(0.1, 1), final=st.floats(0, 1))
def test_cosine_falls_along_half_a_wave(spent, final):
    asked = TrainSettings(schedule="cosine", warmup=0.1, final_lr=final)
    expected = final + (1 - final) * (1 + math.cos(math.pi * (spent - 0.1) / 0.9)) / 2
    assert lr_scale(spent, asked) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(spent=st.floats(0.1, 1), cooldown=st.floats(0.05, 0.9), final=st.floats(0, 1))
def test_wsd_stays_at_its_peak_and_falls_over_the_cooldown(spent, cooldown, final):
    asked = TrainSettings(schedule="wsd", warmup=0.1, cooldown=cooldown, final_lr=final)
    expected = 1.0 if spent <= 1 - cooldown else 1 - (1 - final) * (spent - (1 - cooldown)) / cooldown
    assert lr_scale(spent, asked) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear", "constant"])
def test_extremes_of_the_settings_are_harmless(schedule):
    for warmup in (0.0, 0.5, 1.0):
        for cooldown in (0.0, 0.5, 1.0):
            asked = TrainSettings(schedule=schedule, warmup=warmup, cooldown=cooldown)
            scales = [lr_scale(spent / 20, asked) for spent in range(-2, 25)]
            assert all(0 <= scale <= 1 for scale in scales)
            assert max(scales) == pytest.approx(1)
    assert lr_scale(1.0, TrainSettings(schedule=schedule)) == (1 if schedule == "constant" else 0)


@pytest.mark.parametrize(
    ("given_budget", "progress", "share"),
    [
        ({"steps": 200}, (50, 9_999, 9.0), 0.25),
        ({"tokens": 1000}, (7, 250, 9.0), 0.25),
        ({"minutes": 2.0}, (7, 9_999, 30.0), 0.25),
        ({"epochs": 4.0}, (25, 9_999, 9.0), 0.25),
        ({}, (25, 9_999, 9.0), 1 / 3),
    ],
)
def test_a_budget_is_spent_in_its_own_unit(given_budget, progress, share):
    budget = Budget.of(TrainSettings(**given_budget), count=100, batches=Batches(4))
    assert budget.spent(*progress) == pytest.approx(share)


def test_the_last_step_of_an_epoch_may_be_a_partial_one():
    assert Budget.of(TrainSettings(epochs=2), count=10, batches=Batches(4)).steps == 5
    assert Budget.of(TrainSettings(epochs=0.001), count=10, batches=Batches(4)).steps == 1


def test_two_budgets_are_refused():
    with pytest.raises(RecipeError) as caught:
        parse(TrainSettings, {"steps": 10, "minutes": 1.0}, where="here")
    assert "steps + minutes" in str(caught.value)


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear", "constant"])
def test_the_loop_takes_each_step_in_the_middle_of_its_share(schedule, run):
    """Each learning rate is that of the closed form at (step + 1/2) / steps, so no step is taken with a rate of 0."""
    settings = {"steps": 8, "schedule": schedule, "warmup": 0.25, "cooldown": 0.5}
    result = run("causal-lm", lr=0.02, **settings)
    found = [event["lr"] for event in result.listener.of("step")]
    assert found == pytest.approx([0.02 * lr_scale((step + 0.5) / 8, TrainSettings(**settings)) for step in range(8)])
    assert min(found) > 0


@pytest.mark.parametrize("budget", [{"steps": 5}, {"tokens": 200}, {"epochs": 1.0}, {"minutes": 0.0005}])
def test_a_run_ends_when_its_budget_is_spent(budget, run):
    result = run("causal-lm", **budget)
    steps = result.listener.of("step")
    assert steps[-1]["spent"] >= 1
    assert all(event["spent"] < 1 for event in steps[:-1])
    assert result.outcome.stopped == "budget" and result.outcome.steps == len(steps)
    if "tokens" in budget:
        assert 200 <= result.outcome.tokens < 200 + 3 * 24
    if "epochs" in budget:
        assert result.outcome.tokens == sum(result.made.examples.num_tokens(i) for i in range(len(result.made.examples)))
