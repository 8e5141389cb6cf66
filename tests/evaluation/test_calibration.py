"""Temperature, reliability and abstention against scikit-learn, closed forms and simulation."""

import numpy as np
import pytest

from diptych.evaluation.calibration import coverage, reliability, temperature_of, threshold_for, wilson
from diptych.evaluation.chances import calibration_error_of


def drawn(temperature: float, size: int = 4000, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too large by `temperature`, and answers drawn as the true ones have it."""
    draw = np.random.default_rng(seed)
    true = draw.normal(0, 2, (size, classes))
    chances = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    gold = (draw.random((size, 1)) > chances.cumsum(1)).sum(1)
    return true * temperature, gold


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_scikit_learns(temperature: float) -> None:
    from sklearn.calibration import _TemperatureScaling

    logits, gold = drawn(temperature)
    found = temperature_of(logits, gold)
    theirs = _TemperatureScaling().fit(logits, gold)
    assert found == pytest.approx(1 / theirs.beta_, rel=1e-4)
    assert found == pytest.approx(temperature, rel=0.1)


def test_a_text_without_a_known_answer_does_not_count() -> None:
    logits, gold = drawn(2.0, 500)
    more = np.concatenate([logits, [[9.0, 0.0, 0.0]]]), np.append(gold, -1)
    assert temperature_of(*more) == pytest.approx(temperature_of(logits, gold), rel=1e-9)
    assert temperature_of(logits[:0], gold[:0]) == 1.0


def test_dividing_lowers_the_error_on_other_texts_and_changes_no_answer() -> None:
    logits, gold = drawn(3.0)
    other, other_gold = drawn(3.0, seed=1)
    scaled = other / temperature_of(logits, gold)

    def error(values: np.ndarray) -> float:
        chances = np.exp(values - values.max(1, keepdims=True))
        return calibration_error_of("e", chances.max(1) / chances.sum(1), values.argmax(1) == other_gold).total()

    assert error(scaled) < 0.5 * error(other) and (scaled.argmax(1) == other.argmax(1)).all()


def test_the_curve_holds_every_text_once_and_its_intervals_are_wilsons() -> None:
    from scipy.stats import binomtest

    draw = np.random.default_rng(2)
    chances, right = draw.uniform(0.3, 1.0, 300), draw.random(300) < 0.6
    bins = reliability(chances, right)
    assert sum(each.n for each in bins) == 300
    assert sum(each.right * each.n for each in bins) == pytest.approx(right.sum())
    error = sum(each.n * abs(each.confidence - each.right) for each in bins) / 300
    assert error == pytest.approx(calibration_error_of("e", chances, right).total())
    theirs = binomtest(7, 19).proportion_ci(method="wilson")
    assert wilson(7, 19) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_a_promised_accuracy_is_kept_in_nineteen_of_twenty_samples() -> None:
    draw = np.random.default_rng(3)

    def sample(size: int) -> tuple[np.ndarray, np.ndarray]:
        # Sure and right go together, but it is surer than it may be.
        chances = draw.uniform(0.5, 1.0, size)
        return chances, draw.random(size) < chances**1.5

    whole = sample(200_000)
    broken = promised = 0
    for _round in range(60):
        found = threshold_for(0.85, *sample(600))
        if found is not None:
            kept = whole[0] >= found.threshold
            promised += 1
            broken += whole[1][kept].mean() < 0.85
    assert promised > 30 and broken / promised <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / promised)


def test_no_threshold_promises_what_the_answers_cannot_keep() -> None:
    chances = np.linspace(0.5, 1, 200)
    assert threshold_for(0.9, chances, np.zeros(200)) is None
    everything = threshold_for(0.9, chances, np.ones(200))
    assert everything is not None and everything.coverage == 1.0
    assert [each.coverage for each in coverage(chances, np.ones(200))][-1] == 1.0
