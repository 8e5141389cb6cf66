"""95 % intervals by the bootstrap (Efron 1979): how far a score could have fallen otherwise with another sample as large.

Ratios of sums are resampled by example or document; scores of a classifier by drawing tables of confusions, which is the
same bootstrap and a hundred times faster.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diptych.evaluation.metrics import TABLE_METRICS, bits_per_byte, confusion, perplexity
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.streams import stream

RESAMPLES = 2000
LEVEL = 0.95
FEW_KINDS = 10
"""Where there are so many times fewer different examples than examples, as of right and wrong ones, kinds of them are drawn."""


@dataclass(frozen=True)
class Score:
    """A number, the interval that holds it with 95 % confidence, and how many examples or documents it rests on."""

    name: str
    value: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        """Whether there was more than one example to resample; without, the interval is infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        span = f"[{self.low:.3f}, {self.high:.3f}]" if self.has_interval else f"({_('no interval')})"
        return f"{self.value:.3f} {span}"


class Scores(dict[str, Score]):
    """Scores by name; `scores["accuracy"].value`.

    Attributes:
        ledger: what was cut, dropped or could not be right while they were taken.
        parts: the scores of parts of the examples, by name, where there are such.
    """

    def __init__(self, scores: Iterable[Score] = ()) -> None:
        super().__init__({score.name: score for score in scores})
        self.ledger = Ledger()
        self.parts: dict[str, Scores] = {}

    def to_json(self) -> dict[str, dict[str, float | int | str | None]]:
        """Plain values; what is infinite or not a number is null, since JSON has neither."""
        return {name: {key: _finite(value) for key, value in asdict(score).items()} for name, score in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping]) -> "Scores":
        blank: dict[str, Any] = {"value": math.nan, "low": -math.inf, "high": math.inf}
        return cls(Score(**{**row, **{key: blank[key] for key, value in row.items() if value is None}}) for row in data.values())


@dataclass(frozen=True)
class Counts:
    """What a score is made of: some counts of each example, and how their sums over a set of examples make its value.

    Accuracy is (right, 1), span F1 is (hits, found, gold), BLEU has its n-grams and lengths. Two systems that judged the same
    examples are compared by resampling these examples for both at once.
    """

    name: str
    rows_NS: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    """[..., S] sums -> [...] values."""

    def total(self) -> float:
        """The value over all examples; NaN where there are none."""
        return float(self.value(self.rows_NS.sum(0, dtype=float))) if len(self.rows_NS) else math.nan

    def score(self, *, seed: int = 0) -> Score:
        """The value over all examples, with its interval."""
        return _score(self.name, self.total(), self.value(_resampled_sums(self.rows_NS, seed)), len(self.rows_NS))

    def less(self, other: "Counts", *, seed: int = 0) -> Score:
        """This score less another one of the same examples, with the interval of the paired difference."""
        assert len(self.rows_NS) == len(other.rows_NS)
        value = self.value(self.rows_NS.sum(0, dtype=float)) - other.value(other.rows_NS.sum(0, dtype=float))
        # One sample of examples for both: what is drawn for the one is drawn for the other.
        sums = _resampled_sums(np.concatenate([self.rows_NS, other.rows_NS], axis=1), seed)
        width = self.rows_NS.shape[1]
        samples = self.value(sums[:, :width]) - other.value(sums[:, width:])
        return _score("difference", float(value), samples, len(self.rows_NS))


def mean_of(name: str, values_N: np.ndarray) -> Counts:
    """The mean of one number for each example."""
    rows = np.stack([np.asarray(values_N, dtype=float), np.ones(len(values_N))], axis=1)
    return Counts(name, rows, lambda sums: sums[..., 0] / np.maximum(1, sums[..., 1]))


def f1_of(name: str, hits_N: np.ndarray, found_N: np.ndarray, gold_N: np.ndarray) -> Counts:
    """Micro-averaged F1: 2 hits / (found + gold)."""
    rows = np.stack([np.asarray(hits_N, dtype=float), np.asarray(found_N, dtype=float) + np.asarray(gold_N, dtype=float)], axis=1)
    return Counts(name, rows, lambda sums: np.divide(2 * sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0))


def macro_f1_of(name: str, hits_NC: np.ndarray, found_NC: np.ndarray, gold_NC: np.ndarray) -> Counts:
    """The mean of each label's F1 over the labels that occur, in the gold or in what was found."""
    num_labels = hits_NC.shape[1]
    rows = np.concatenate([np.asarray(hits_NC, dtype=float), np.asarray(found_NC, dtype=float) + np.asarray(gold_NC, dtype=float)], axis=1)

    def value(sums: np.ndarray) -> np.ndarray:
        hits, both = sums[..., :num_labels], sums[..., num_labels:]
        each = np.divide(2 * hits, both, out=np.zeros(both.shape), where=both > 0)
        return each.sum(-1) / np.maximum(1, (both > 0).sum(-1))

    return Counts(name, rows, value)


def ratio_score(name: str, totals: np.ndarray, counts: np.ndarray, *, seed: int = 0) -> Score:
    """sum(totals) / sum(counts), resampled by entry: one entry a document."""
    values = _ratio_samples(totals, counts, seed)
    return _score(name, float(totals.sum() / counts.sum()) if counts.sum() else math.nan, values, len(totals))


def language_scores(nats: np.ndarray, counts: np.ndarray, num_bytes: np.ndarray | None, *, seed: int = 0) -> Scores:
    """Nats per token, perplexity and bits per byte of a model that writes, each resampled by document.

    Args:
        nats, counts: the loss and the number of predicted tokens of each document.
        num_bytes: the UTF-8 bytes of each document, or None where they are not known.
    """
    loss = ratio_score(mark("nats per token"), nats, counts, seed=seed)
    low, high = (perplexity(loss.low, 1), perplexity(loss.high, 1)) if loss.has_interval else (loss.low, loss.high)
    perplexities = Score(mark("perplexity"), perplexity(loss.value, 1), low, high, loss.n)
    scores = Scores([loss, perplexities])
    if num_bytes is not None and num_bytes.sum():
        per_byte = ratio_score(mark("bits per byte"), nats / math.log(2), num_bytes, seed=seed)
        assert math.isclose(per_byte.value, bits_per_byte(nats.sum(), num_bytes.sum()), rel_tol=1e-9)
        scores[per_byte.name] = per_byte
    return scores


def classification_scores(gold: np.ndarray, predicted: np.ndarray, num_classes: int, *, seed: int = 0) -> Scores:
    """Accuracy, macro-F1 and MCC with their intervals.

    Args:
        gold: class numbers; -1, a label that the model does not know, counts as a class of its own that is always missed.
    """
    if not len(gold):
        return Scores()
    shifted = np.where(gold < 0, num_classes, gold)
    table = confusion(shifted, predicted, num_classes + 1)
    draw = stream(seed, "bootstrap")
    cells = table.flatten()
    samples = draw.multinomial(len(gold), cells / cells.sum(), size=RESAMPLES).reshape(-1, *table.shape)
    scores = []
    for name, metric in TABLE_METRICS.items():
        scores.append(_score(name, float(metric(table[None])[0]), metric(samples), len(gold)))
    return Scores(scores)


def difference(right_a: np.ndarray, right_b: np.ndarray, *, seed: int = 0) -> Score:
    """Accuracy of A less that of B on the same examples, with the interval of the paired difference.

    Where the interval holds 0, no difference can be claimed.
    """
    gap = right_a.astype(float) - right_b.astype(float)
    return ratio_score("difference", gap, np.ones(len(gap)), seed=seed)


def _finite(value: float | int | str) -> float | int | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ratio_samples(totals: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    size = len(totals)
    if not size:
        return np.full(RESAMPLES, math.nan)
    draw = stream(seed, "bootstrap")
    values = np.empty(RESAMPLES)
    # In parts, so that a million documents do not make a matrix of two thousand million.
    step = max(1, 4_000_000 // size)
    for start in range(0, RESAMPLES, step):
        stop = min(RESAMPLES, start + step)
        rows = draw.integers(0, size, (stop - start, size))
        below = counts[rows].sum(1)
        values[start:stop] = np.divide(totals[rows].sum(1), below, out=np.full(stop - start, math.nan), where=below > 0)
    return values


def _resampled_sums(rows_NS: np.ndarray, seed: int) -> np.ndarray:
    """The sums over `RESAMPLES` samples of as many examples, drawn with replacement: [R, S]. The same seed draws the same."""
    size = len(rows_NS)
    if not size:
        return np.zeros((RESAMPLES, rows_NS.shape[1]))
    draw = stream(seed, "bootstrap")
    rows = rows_NS.astype(float)
    kinds, how_often = np.unique(rows, axis=0, return_counts=True)
    if FEW_KINDS * len(kinds) <= size:
        # The same bootstrap: how often each kind of example is drawn, in place of which examples.
        return draw.multinomial(size, how_often / size, size=RESAMPLES) @ kinds
    sums = np.empty((RESAMPLES, rows_NS.shape[1]))
    for number in range(RESAMPLES):
        sums[number] = np.bincount(draw.integers(0, size, size), minlength=size) @ rows
    return sums


def _score(name: str, value: float, samples: np.ndarray, n: int) -> Score:
    """The percentile interval; with one example there is nothing to resample, and the interval says so by being infinite."""
    samples = samples[np.isfinite(samples)]
    if n < 2 or not len(samples):
        return Score(name, value, -math.inf, math.inf, n)
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(name, value, float(low), float(high), n)
