"""The tasks by name, and the guarantees that every one of them gives the loop."""

import pytest

from diptych.errors import RecipeError
from diptych.tasks import PRETRAINING, TASKS, task_class


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_its_name_and_its_settings_know_it(name):
    task = task_class(name)
    assert task.name == name
    assert task.Settings().name == name
    assert set(PRETRAINING) <= set(TASKS)


@pytest.mark.parametrize(("wrong", "right"), [("casual-lm", "causal-lm"), ("classify", "classification")])
def test_a_misspelt_task_is_met_with_the_nearest_one(wrong, right):
    with pytest.raises(RecipeError) as caught:
        task_class(wrong)
    assert caught.value.code == "E406" and right in str(caught.value)
