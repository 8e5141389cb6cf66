"""How far an explanation can be trusted: whether the units that it names first are the ones that the answer hangs on.

Comprehensiveness is how much less probable the answer is without the units that come first, sufficiency how much less with nothing but
them (DeYoung et al. 2020), each averaged over the first 1, 5, 10, 20 and 50 % of the units. Raw numbers cannot be compared between
models or texts: one answer hangs on a word and another on none (Edin et al. 2024, "Normalized AOPC"). So both are put on a scale of
this text and this model: 0 is what a random order gives, 1 the best order that a beam search over the numbers themselves finds (Zhou
and Shah 2023), which no method can beat by more than the search misses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from diptych.explain.perturb import Subject
from diptych.streams import stream

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
NUM_RANDOM = 24
BEAM, FEW_UNITS = 3, 24
"""So many orders are followed at once; with more units than this a single one, or the search would take a minute."""
MOST_STEPS = 12
"""Where a text has many units the search adds several at once."""
INDIFFERENT = 0.01
"""With less than this between a random order and the best one there is nothing to be right about."""


@dataclass(frozen=True)
class Faithfulness:
    """How good an order of the units is.

    Attributes:
        comprehensiveness, sufficiency: by how much the answer becomes less probable, without the first units and with them alone;
            good is a large one of the first and a small one of the second.
        normalized: the mean of both on the scale from a random order to the best that was found; None where these are alike.
    """

    comprehensiveness: float
    sufficiency: float
    normalized: float | None
    parts: tuple[float | None, float | None]
    """Of each of the two for itself."""


class Yardstick:
    """The scale of one text and one answer: what a random order gives, and what the best does.

    Attributes:
        levels: how many of the units are taken at each look.
        best: the largest comprehensiveness and the smallest sufficiency that were found, by the search or by any order that was
            considered.
    """

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        self.subject = subject
        size = subject.num_units
        self.levels = sorted({min(size, max(1, ceil(share * size))) for share in SHARES})
        draw = stream(seed, "random order")
        few = [self.raw(draw.permutation(size)) for _each in range(NUM_RANDOM)]
        self.random = np.mean(few, axis=0)
        best = [self.raw(self._search(is_kept=is_kept)) for is_kept in (False, True)]
        self.best = np.array([max(best[0][0], self.random[0]), min(best[1][1], self.random[1])])

    def consider(self, *orders: np.ndarray) -> None:
        """Let the orders of some values raise the scale: none that is judged by it shall be better than its best."""
        for values in orders:
            with_less, with_few = self.raw(_order(values))
            self.best = np.array([max(self.best[0], with_less), min(self.best[1], with_few)])

    def raw(self, order: Sequence[int] | np.ndarray) -> tuple[float, float]:
        """(comprehensiveness, sufficiency) of an order, on the scale of the answer."""
        subject = self.subject
        gone = np.ones((len(self.levels), subject.num_units), dtype=bool)
        for row, level in zip(gone, self.levels, strict=True):
            row[list(order[:level])] = False
        scores = subject.question.chance(subject(np.concatenate([gone, ~gone])))
        full, half = float(subject.question.chance(subject.full)), len(gone)
        return float(full - scores[:half].mean()), float(full - scores[half:].mean())

    def judge(self, values: np.ndarray) -> Faithfulness:
        """How good the order is that `values` give, the largest first."""
        self.consider(values)
        raw = self.raw(_order(values))
        parts = []
        for number in (0, 1):
            low, high = self.random[number], self.best[number]
            parts.append(None if abs(high - low) < INDIFFERENT else float((raw[number] - low) / (high - low)))
        known = [part for part in parts if part is not None]
        return Faithfulness(*raw, float(np.mean(known)) if known else None, (parts[0], parts[1]))

    def _search(self, *, is_kept: bool) -> list[int]:
        """An order whose beginnings lower the answer most when they are gone, or keep it most when nothing else is there."""
        size, last = self.subject.num_units, self.levels[-1]
        width = BEAM if size <= FEW_UNITS else 1
        step = max(1, ceil(last / MOST_STEPS))
        # (what the levels so far have given, the units in their order)
        beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        at = 0
        while at < last:
            until = min([at + step, *(level for level in self.levels if level > at)])
            tried = [(gained, order, unit) for gained, order in beam for unit in range(size) if unit not in order]
            scores = self._good([(*order, unit) for _gained, order, unit in tried], is_kept=is_kept)
            grown: dict[frozenset[int], tuple[float, tuple[int, ...]]] = {}
            for gained, order in beam:
                own = [(score, unit) for score, (_gained, before, unit) in zip(scores, tried, strict=True) if before == order]
                ranked = [unit for _score, unit in sorted(own, key=lambda pair: (-pair[0], pair[1]))]
                count = until - at
                # The best together, and those with the last of them left for the next best.
                for swap in range(min(BEAM, len(ranked) - count + 1)):
                    longer = (*order, *ranked[: count - 1], ranked[count - 1 + swap])
                    grown.setdefault(frozenset(longer), (gained, longer))
            orders = [order for _gained, order in grown.values()]
            found = self._good(orders, is_kept=is_kept)
            counts = until in self.levels
            ranked_beam = sorted(
                ((gained + score, gained + counts * score, order) for score, (gained, order) in zip(found, grown.values(), strict=True)),
                key=lambda entry: (-entry[0], entry[2]),
            )
            beam = [(gained, order) for _rank, gained, order in ranked_beam[:width]]
            at = until
        order = max(beam, key=lambda entry: entry[0])[1]
        return [*order, *(unit for unit in range(size) if unit not in order)]

    def _good(self, orders: Sequence[Sequence[int]], *, is_kept: bool) -> np.ndarray:
        kept = np.zeros((len(orders), self.subject.num_units), dtype=bool)
        for row, order in zip(kept, orders, strict=True):
            row[list(order)] = True
        chances = self.subject.question.chance(self.subject(kept if is_kept else ~kept))
        return chances if is_kept else -chances


def _order(values: np.ndarray) -> np.ndarray:
    """The units, the largest value first; of equals the one that comes first in the text."""
    return np.argsort(-values, kind="stable")


def agreement(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two lists of values; None where one of them is all alike, or there is one value only."""
    from scipy.stats import rankdata

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
