"""The paired test and the intervals in simulation: how often they claim what is not there, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score

import diptych as dt
from diptych.evaluation.correlation import pearson_of, spearman_of
from diptych.evaluation.intervals import Scores, f1_of, macro_f1_of, mean_of
from diptych.evaluation.paired import paired

SIZE = 300


@pytest.mark.slow
def test_a_difference_is_claimed_where_there_is_none_in_five_of_a_hundred() -> None:
    """Two systems that are right equally often and mostly on the same examples: type I error of the paired test."""
    draw, claimed, runs = np.random.default_rng(0), 0, 2000
    for _run in range(runs):
        base = draw.random(SIZE) < 0.8
        first, second = (np.where(draw.random(SIZE) < 0.3, draw.random(SIZE) < 0.8, base) for _system in range(2))
        gap = mean_of("accuracy", first).less(mean_of("accuracy", second))
        claimed += not gap.low <= 0 <= gap.high
    assert 0.04 <= claimed / runs <= 0.06


@pytest.mark.parametrize("kind", ["accuracy", "f1", pytest.param("correlation", marks=pytest.mark.slow)])
def test_the_interval_holds_the_truth_in_ninety_five_of_a_hundred(kind: str) -> None:
    draw, held, runs = np.random.default_rng(1), 0, 1500 if kind == "accuracy" else 500
    for _run in range(runs):
        if kind == "accuracy":
            score, truth = mean_of(kind, draw.random(SIZE) < 0.8).score(), 0.8
        elif kind == "f1":
            gold, found = draw.random(SIZE) < 0.4, draw.random(SIZE)
            found = np.where(gold, found < 0.7, found < 0.2)
            # hits 0.28, found 0.28 + 0.12, gold 0.4
            score, truth = f1_of(kind, gold & found, found, gold).score(), 2 * 0.28 / (0.4 + 0.4)
        else:
            x = draw.normal(size=SIZE)
            y = 0.6 * x + 0.8 * draw.normal(size=SIZE)
            score, truth = pearson_of(kind, x, y).score(), 0.6
        held += score.low <= truth <= score.high
    assert 0.93 <= held / runs <= 0.97


def test_a_real_difference_is_found_by_pairing_where_the_intervals_overlap() -> None:
    right = np.arange(SIZE) < 0.8 * SIZE
    better = right | (np.arange(SIZE) >= SIZE - 8)
    a, b = mean_of("accuracy", better), mean_of("accuracy", right)
    assert a.score().low < b.score().high, "apart the two intervals overlap"
    result = paired(("一号", "two"), (Scores([a.score()]), Scores([b.score()])), (a, b), 292)
    assert "一号 is better than two" in result.verdict() and result.difference.value == pytest.approx(8 / SIZE)
    turned = paired(("one", "two"), (Scores([b.score()]), Scores([a.score()])), (b, a), 292)
    assert "two is better than one" in turned.verdict()
    same = paired(("one", "two"), (Scores([a.score()]), Scores([a.score()])), (a, a), SIZE)
    assert "No difference" in same.verdict() and same.to_json()["verdict"] == same.verdict()


def test_drawing_kinds_of_examples_is_the_same_bootstrap() -> None:
    """The standard error over kinds agrees with the closed form, and with that over single examples."""
    values = np.repeat([0.0, 1.0, 1.0, 1.0], 100)
    few = mean_of("accuracy", values).score()
    many = mean_of("accuracy", values + 1e-9 * np.arange(400)).score()
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    for score in (few, many):
        assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.06)


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_correlations_and_f1_are_scipys_and_scikit_learns_on_many_inputs(count: int) -> None:
    draw = np.random.default_rng(2)
    for number in range(count):
        size = int(draw.integers(3, 40))
        x, y = draw.integers(0, 6, size).astype(float), draw.normal(size=size) * 10.0 ** draw.integers(-3, 6) + 10.0 ** draw.integers(0, 6)
        if len(set(x)) > 1:
            for ours, theirs in ((pearson_of, pearsonr), (spearman_of, spearmanr)):
                counts = ours("correlation", x, y)
                assert float(counts.value(counts.rows_NS.sum(0))) == pytest.approx(float(theirs(x, y)[0]), abs=1e-6), number
        gold, found = draw.random((2, size, 4)) < 0.4
        micro = f1_of("micro", (gold & found).sum(1), found.sum(1), gold.sum(1))
        macro = macro_f1_of("macro", gold & found, found, gold)
        present = (gold | found).any(0)
        assert float(micro.value(micro.rows_NS.sum(0))) == pytest.approx(f1_score(gold, found, average="micro", zero_division=0))
        expected = f1_score(gold[:, present], found[:, present], average="macro", zero_division=0) if present.sum() > 1 else None
        if expected is not None:
            assert float(macro.value(macro.rows_NS.sum(0))) == pytest.approx(expected)


ROWS = [
    (f"{word} {place} {number}", label)
    for number in range(4)
    for word, label in (("good", "好评"), ("bad", "差评"))
    for place in ("food", "房间")
]
TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}


def test_two_models_are_compared_on_the_same_rows(tmp_path) -> None:
    common = {"sizes": TINY, "tokenizer": {"vocab_size": 200}, "precision": "float32"}
    good = dt.finetune("bert-tiny", ROWS, steps=40, lr=5e-3, **common)
    weak = dt.finetune("bert-tiny", ROWS, steps=1, lr=1e-6, **common)
    result = dt.compare(good, weak, ROWS * 3)
    assert result.difference.value == pytest.approx(result.scores[0]["accuracy"].value - result.scores[1]["accuracy"].value)
    assert result.difference.n == len(ROWS) * 3 and result.names == ("A", "B")
    assert "No difference" in dt.compare(good, good, ROWS).verdict() and dt.compare(good, good, ROWS).num_alike == len(ROWS)
    tagger = dt.finetune("bert-tiny", [("good food", [(0, 4, "X")]), ("bad 房间", [(0, 3, "X")])] * 4, steps=1, **common)
    with pytest.raises(dt.DiptychError) as caught:
        dt.compare(good, tagger, ROWS)
    assert caught.value.code == "E614"
