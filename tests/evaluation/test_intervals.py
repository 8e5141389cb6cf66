"""Bootstrap intervals: they cover what they promise, repeat, and agree with scipy and with brute force."""

import json
import math

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score, matthews_corrcoef

from diptych.evaluation.intervals import Score, Scores, classification_scores, difference, language_scores, ratio_score

SIMULATIONS = 250


def coverage(truth: float, scores: list[Score]) -> float:
    return float(np.mean([score.low <= truth <= score.high for score in scores]))


def test_the_interval_of_accuracy_holds_the_truth_about_95_times_in_100() -> None:
    draw = np.random.default_rng(1)
    scores = []
    for _ in range(SIMULATIONS):
        gold = draw.integers(0, 2, 200)
        predicted = np.where(draw.random(200) < 0.8, gold, 1 - gold)
        scores.append(classification_scores(gold, predicted, 2)["accuracy"])
    assert 0.90 < coverage(0.8, scores) < 0.99


def test_the_interval_of_a_ratio_of_sums_holds_the_truth_about_95_times_in_100() -> None:
    """Documents of very different lengths: the ratio is of the sums, so long ones weigh more."""
    draw = np.random.default_rng(2)
    scores = []
    for _ in range(SIMULATIONS):
        counts = draw.lognormal(3, 0.6, 120).round() + 1
        scores.append(ratio_score("loss", counts * draw.normal(3.0, 0.5, 120), counts))
    assert 0.89 < coverage(3.0, scores) < 0.99


def test_the_paired_difference_of_two_equal_systems_holds_0_about_95_times_in_100() -> None:
    draw = np.random.default_rng(3)
    scores = []
    for _ in range(SIMULATIONS):
        is_easy = draw.random(150) < 0.5
        right = [draw.random(150) < np.where(is_easy, 0.95, 0.5) for _system in range(2)]
        scores.append(difference(*right))
    assert 0.89 < coverage(0.0, scores) < 0.99


def test_the_paired_difference_is_narrower_than_two_separate_intervals() -> None:
    draw = np.random.default_rng(4)
    first = draw.random(300) < 0.8
    second = first.copy()
    second[:12] = True
    gap = difference(second, first)
    assert gap.low > 0
    alone = [classification_scores(np.ones(300, int), right.astype(int), 2)["accuracy"] for right in (first, second)]
    assert alone[0].high > alone[1].low


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_the_same() -> None:
    draw = np.random.default_rng(5)
    counts = draw.integers(5, 50, 80).astype(float)
    totals = counts * draw.normal(2, 0.3, 80)
    assert ratio_score("loss", totals, counts) == ratio_score("loss", totals, counts)
    other = ratio_score("loss", totals, counts, seed=1)
    assert other != ratio_score("loss", totals, counts)
    assert other.low == pytest.approx(ratio_score("loss", totals, counts).low, abs=0.02)
    gold, predicted = draw.integers(0, 3, 90), draw.integers(0, 3, 90)
    assert classification_scores(gold, predicted, 3) == classification_scores(gold, predicted, 3)


def test_the_interval_of_a_ratio_is_that_of_scipy() -> None:
    draw = np.random.default_rng(6)
    counts = draw.integers(5, 200, 60).astype(float)
    totals = counts * draw.normal(4, 1, 60)
    ours = ratio_score("loss", totals, counts)
    theirs = bootstrap(
        (totals, counts),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours.value == pytest.approx(totals.sum() / counts.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_drawing_tables_of_confusions_is_drawing_examples() -> None:
    """The multinomial shortcut against resampling the examples themselves and asking scikit-learn each time."""
    draw = np.random.default_rng(7)
    gold = draw.integers(0, 3, 120)
    predicted = np.where(draw.random(120) < 0.7, gold, draw.integers(0, 3, 120))
    ours = classification_scores(gold, predicted, 3)
    samples = [draw.integers(0, 120, 120) for _ in range(600)]
    for name, metric in (("macro-F1", lambda a, b: f1_score(a, b, average="macro")), ("MCC", matthews_corrcoef)):
        low, high = np.quantile([metric(gold[rows], predicted[rows]) for rows in samples], [0.025, 0.975])
        assert (ours[name].low, ours[name].high) == pytest.approx((low, high), abs=0.03), name


def test_many_documents_are_resampled_in_parts_with_the_same_result() -> None:
    draw = np.random.default_rng(8)
    values = draw.normal(2, 1, 30_000)
    score = ratio_score("loss", values, np.ones(30_000))
    error = values.std() / math.sqrt(30_000)
    assert (score.low, score.high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)


def test_four_times_the_examples_halve_the_interval() -> None:
    few = classification_scores(np.zeros(100, int), np.repeat([0, 1], [80, 20]), 2)["accuracy"]
    many = classification_scores(np.zeros(400, int), np.repeat([0, 1], [320, 80]), 2)["accuracy"]
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.15)


def test_n_is_the_number_of_examples_or_documents() -> None:
    scores = language_scores(np.array([10.0, 30.0, 5.0]), np.array([4.0, 9.0, 2.0]), np.array([20.0, 40.0, 9.0]))
    assert {score.n for score in scores.values()} == {3}
    assert {score.n for score in classification_scores(np.array([0, 1, -1, 1]), np.array([0, 1, 1, 0]), 2).values()} == {4}


def test_scores_of_language_are_sums_over_sums_and_not_means_of_means() -> None:
    nats, counts, num_bytes = np.array([10.0, 900.0]), np.array([10.0, 300.0]), np.array([40.0, 600.0])
    scores = language_scores(nats, counts, num_bytes)
    assert scores["nats per token"].value == pytest.approx(910 / 310)
    assert scores["perplexity"].value == pytest.approx(math.exp(910 / 310))
    assert scores["bits per byte"].value == pytest.approx(910 / math.log(2) / 640)
    assert scores["nats per token"].value != pytest.approx(np.mean(nats / counts))
    assert scores["perplexity"].low == pytest.approx(math.exp(scores["nats per token"].low))
    assert scores["perplexity"].high == pytest.approx(math.exp(scores["nats per token"].high))


def test_bytes_that_are_not_known_leave_bits_per_byte_out() -> None:
    assert set(language_scores(np.ones(3), np.ones(3), None)) == {"nats per token", "perplexity"}


def test_one_document_has_a_value_and_no_interval() -> None:
    scores = language_scores(np.array([12.0]), np.array([4.0]), np.array([9.0]))
    for score in scores.values():
        assert math.isfinite(score.value) and not score.has_interval
        assert "inf" not in str(score) and len(str(score)) < 40
    assert classification_scores(np.array([0]), np.array([1]), 2)["accuracy"].has_interval is False


def test_scores_go_through_json_that_any_reader_accepts() -> None:
    scores = language_scores(np.array([12.0]), np.array([4.0]), None)
    scores.update(classification_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 2))
    text = json.dumps(scores.to_json(), allow_nan=False)
    assert Scores.from_json(json.loads(text)) == scores
    assert json.loads(text)["perplexity"]["low"] is None


def test_a_document_without_targets_changes_nothing() -> None:
    some = ratio_score("loss", np.array([4.0, 6.0]), np.array([2.0, 3.0]))
    with_empty = ratio_score("loss", np.array([4.0, 6.0, 0.0]), np.array([2.0, 3.0, 0.0]))
    assert some.value == with_empty.value == 2.0
    assert math.isnan(ratio_score("loss", np.zeros(2), np.zeros(2)).value)
