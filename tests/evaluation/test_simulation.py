"""The promises of intervals and of `compare`, kept in simulation: about 95 intervals of 100 hold the truth, and of 100 pairs of equal
systems about 5 are called different.

The fast versions draw fewer samples and allow for it: three standard errors of a share of 0.95 among 600 are 0.027.
"""

from collections.abc import Callable

import numpy as np
import pytest

from diptych.evaluation import intervals
from diptych.evaluation.chances import pr_area_of, share_of
from diptych.evaluation.correlation import spearman_of
from diptych.evaluation.intervals import Counts, Scores, classification_scores, f1_of, macro_f1_of, mean_of, ratio_score
from diptych.evaluation.paired import paired

FEW, MANY = 600, 5000
EXAMPLES = 300
Draw = np.random.Generator


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 resamples put the ends of an interval a little less exactly where 2,000 do, and the share that it holds is the same."""
    monkeypatch.setattr(intervals, "RESAMPLES", 400)


def right(draw: Draw) -> np.ndarray:
    """Whether each answer is right: 0.8 of the easy examples and 0.6 of the hard ones."""
    return draw.random(EXAMPLES) < np.where(draw.random(EXAMPLES) < 0.5, 0.8, 0.6)


def accuracy(draw: Draw) -> Counts:
    return mean_of("accuracy", right(draw))


def span_f1(draw: Draw) -> Counts:
    """Sentences of some spans, each found with 0.7, and false ones beside them: in the limit F1 is 2·0.7·2 / (2 + 0.7·2 + 0.5)."""
    gold = draw.poisson(2.0, EXAMPLES)
    hits = draw.binomial(gold, 0.7)
    return f1_of("F1", hits, hits + draw.poisson(0.5, EXAMPLES), gold)


def macro_f1(draw: Draw) -> Counts:
    """Two labels, of which the one holds for 0.4 and the other for 0.3 of the texts, seen with 0.8 and wrongly with 0.1."""
    gold = draw.random((EXAMPLES, 2)) < (0.4, 0.3)
    found = draw.random((EXAMPLES, 2)) < np.where(gold, 0.8, 0.1)
    return macro_f1_of("macro-F1", gold & found, found, gold)


def sensitivity(draw: Draw) -> Counts:
    gold = draw.random(EXAMPLES) < 0.4
    return share_of("sensitivity", draw.random(EXAMPLES) < 0.75, gold)


def spearman(draw: Draw) -> Counts:
    a = draw.normal(size=EXAMPLES)
    return spearman_of("Spearman", a, 0.6 * a + 0.8 * draw.normal(size=EXAMPLES))


def pr_area(draw: Draw) -> Counts:
    gold = draw.random(EXAMPLES) < 0.4
    return pr_area_of("area", gold[:, None], (gold + draw.normal(size=EXAMPLES))[:, None])


def _limit(make: Callable[[Draw], Counts]) -> float:
    """The value that a score has on very many examples, from the sums over many draws."""
    draw = np.random.default_rng(99)
    many = [make(draw) for _ in range(3000)]
    return float(many[0].value(np.sum([each.rows_NS.sum(0) for each in many], axis=0)))


KINDS = {
    "accuracy": (accuracy, 0.7),
    "span F1": (span_f1, 2 * 0.7 * 2 / (2 + 0.7 * 2 + 0.5)),
    "macro-F1": (macro_f1, np.mean([2 * p * 0.8 / (p + p * 0.8 + (1 - p) * 0.1) for p in (0.4, 0.3)])),
    "sensitivity": (sensitivity, 0.75),
    # For two normal variables, Spearman's is 6/pi · arcsin(r/2).
    "Spearman": (spearman, 6 / np.pi * np.arcsin(0.3)),
    "area": (pr_area, None),
}


def coverage(name: str, times: int) -> float:
    make, truth = KINDS[name]
    truth = _limit(make) if truth is None else truth
    draw = np.random.default_rng(7)
    scores = [make(draw).score(seed=number) for number in range(times)]
    return float(np.mean([score.low <= truth <= score.high for score in scores]))


def type_1_error(make: Callable[[Draw], Counts], times: int) -> float:
    """How often two systems of one kind are called different, as `diptych compare` says it."""
    draw = np.random.default_rng(8)
    different = 0
    for _number in range(times):
        both = make(draw), make(draw)
        verdict = paired(("A", "B"), (Scores(), Scores()), both, 0).verdict()
        different += not verdict.startswith("No difference")
    return different / times


@pytest.mark.parametrize("name", ["accuracy", "span F1"])
def test_an_interval_holds_the_truth_about_95_times_in_100(name: str) -> None:
    assert 0.93 - 0.02 < coverage(name, FEW) < 0.97 + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_an_interval_holds_the_truth_93_to_97_times_in_100(name: str) -> None:
    assert 0.93 < coverage(name, MANY) < 0.97


@pytest.mark.parametrize("make", [accuracy, pytest.param(span_f1, marks=pytest.mark.slow)])
def test_of_equal_systems_about_5_in_100_are_called_different(make: Callable[[Draw], Counts]) -> None:
    assert 0.02 < type_1_error(make, FEW) < 0.08


@pytest.mark.slow
@pytest.mark.parametrize("make", [accuracy, span_f1, macro_f1])
def test_of_equal_systems_4_to_6_in_100_are_called_different(make: Callable[[Draw], Counts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 2000)
    assert 0.04 < type_1_error(make, MANY) < 0.06


@pytest.mark.slow
def test_a_ratio_of_sums_and_a_table_of_confusions_keep_the_promise_too() -> None:
    draw = np.random.default_rng(9)
    ratios, tables = [], []
    for number in range(2000):
        counts = draw.lognormal(3, 0.6, EXAMPLES).round() + 1
        ratios.append(ratio_score("loss", counts * draw.normal(3.0, 0.5, EXAMPLES), counts, seed=number))
        gold = draw.integers(0, 3, EXAMPLES)
        said = np.where(draw.random(EXAMPLES) < 0.7, gold, draw.integers(0, 3, EXAMPLES))
        tables.append(classification_scores(gold, said, 3, seed=number)["accuracy"])
    for truth, scores in ((3.0, ratios), (0.8, tables)):
        assert 0.93 < np.mean([score.low <= truth <= score.high for score in scores]) < 0.97
