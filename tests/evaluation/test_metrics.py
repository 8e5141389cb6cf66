"""Metrics against scikit-learn, the degenerate cases included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from diptych.evaluation.evaluate import score_predictions
from diptych.evaluation.intervals import classification_scores
from diptych.evaluation.metrics import TABLE_METRICS, accuracy, bits_per_byte, confusion, macro_f1, mcc, perplexity


def expected(gold: list, predicted: list) -> dict[str, float]:
    return {
        "accuracy": accuracy_score(gold, predicted),
        "macro-F1": f1_score(gold, predicted, average="macro", zero_division=0),
        "MCC": matthews_corrcoef(gold, predicted) if len({*gold, *predicted}) > 1 else 0.0,
    }


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    classes = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40))
    return classes, [gold for gold, _ in pairs], [predicted for _, predicted in pairs]


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(answers())
@settings(max_examples=150, deadline=None)
def test_every_metric_is_that_of_scikit_learn(case: tuple[int, list[int], list[int]]) -> None:
    classes, gold, predicted = case
    table = confusion(gold, predicted, classes)
    assert (table == confusion_matrix(gold, predicted, labels=range(classes))).all()
    for name, value in expected(gold, predicted).items():
        assert TABLE_METRICS[name](table) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ([0], [0]),
        ([0], [1]),
        ([0, 0, 0], [0, 0, 0]),
        ([0, 0, 0], [1, 1, 1]),
        ([0, 1, 0, 1], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 1, 0, 1]),
        ([0, 1, 2], [1, 2, 0]),
        ([0] * 999 + [1], [0] * 1000),
    ],
)
def test_one_class_one_example_and_nothing_right_are_no_special_cases(gold: list[int], predicted: list[int]) -> None:
    scores = classification_scores(np.array(gold), np.array(predicted), 3)
    for name, value in expected(gold, predicted).items():
        assert scores[name].value == pytest.approx(value, abs=1e-12), name
        assert math.isfinite(scores[name].value)


def test_many_tables_at_once_give_what_each_gives_alone() -> None:
    draw = np.random.default_rng(0)
    tables = draw.integers(0, 9, (20, 4, 4))
    tables[0] = 0
    tables[1] = np.diag([3, 0, 0, 0])
    for metric in (accuracy, macro_f1, mcc):
        assert np.allclose(metric(tables), [float(metric(table)) for table in tables])


def test_a_label_that_the_model_does_not_know_is_a_class_that_is_always_missed() -> None:
    gold, predicted = ["好", "bad", "neutral", "好", "bad", "neutral"], ["好", "bad", "bad", "bad", "bad", "好"]
    scores = score_predictions(gold, predicted, ("bad", "好"))
    for name, value in expected(gold, predicted).items():
        assert scores[name].value == pytest.approx(value, abs=1e-12), name
    assert scores["accuracy"].n == 6


def test_no_examples_have_no_scores() -> None:
    assert score_predictions([], [], ("a", "b")) == {}


def test_perplexity_is_the_exponential_of_the_mean_loss_and_never_overflows() -> None:
    assert perplexity(math.log(50) * 7, 7) == pytest.approx(50)
    assert perplexity(0.0, 3) == 1
    assert math.isnan(perplexity(1.0, 0))
    assert math.isfinite(perplexity(1e9, 1))


def test_bits_per_byte_of_a_uniform_guess_among_256_bytes_is_8() -> None:
    assert bits_per_byte(math.log(256) * 1000, 1000) == pytest.approx(8)
    assert math.isnan(bits_per_byte(1.0, 0))
