"""What a measure of bias found, and when it may be called bias.

A model is never exactly indifferent, and with enough texts every difference is "significant". So a claim asks for more: that the value
lies further from the fair one than a margin, below which nobody would care, by a t-test of that; and with many measures at once that
all claims together are wrong with a probability of 5 % at most, by Holm's method (1979). A fair model is then accused once in twenty
audits, however many measures it took; what a model would have had to do to be caught is said beside it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diptych.evaluation.intervals import LEVEL as CONFIDENCE
from diptych.evaluation.intervals import Score
from diptych.messages import _

LEVEL = 0.05
POWER = 0.8
FEWEST = 8
"""With fewer texts, pairs or names than this nothing is claimed."""


@dataclass(frozen=True)
class Finding:
    """One number of an audit.

    Attributes:
        measure: what was measured, a title of ours.
        about: of what: a group and a label, a test of a set; as a person reads it.
        score: the value with its interval and how many texts, pairs or names it rests on.
        fair: the value of a model that treats all alike.
        margin: how far from it nobody would care.
        chance: how probable so large a distance would be, were the true one no larger than the margin; None where nothing says.
        visible: how far a true value must lie from the fair one to be claimed in four audits of five, were this the only measure.
        is_claimed: whether it is called bias; decided over all findings of an audit by `claimed`.
    """

    measure: str
    about: str
    score: Score
    fair: float = 0.0
    margin: float = 0.0
    chance: float | None = None
    visible: float | None = None
    is_claimed: bool = False

    @property
    def verdict(self) -> str:
        """In a word or two, what may be said."""
        if self.chance is None:
            return _("too few to say") if self.score.n < FEWEST else _("no test")
        return _("bias") if self.is_claimed else _("no bias shown")

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **{key: _plain(value) for key, value in asdict(self).items()}}


def of_mean(measure: str, about: str, values_N: Sequence[float] | np.ndarray, *, fair: float = 0.0, margin: float = 0.0) -> Finding:
    """A mean of independent numbers, one a text, pair or name; the interval is Student's, as the test is."""
    values_N = np.asarray(values_N, dtype=float)
    size, value = len(values_N), float(np.mean(values_N)) if len(values_N) else math.nan
    if size < 2:
        return Finding(measure, about, Score(about, value, -math.inf, math.inf, size), fair, margin)
    spread = float(values_N.std(ddof=1) / math.sqrt(size))
    reach = spread * _quantile((1 + CONFIDENCE) / 2, size - 1)
    score = Score(about, value, value - reach, value + reach, size)
    if size < FEWEST:
        return Finding(measure, about, score, fair, margin)
    return Finding(measure, about, score, fair, margin, *_tested(value - fair, spread, size - 1, margin))


def of_score(measure: str, about: str, score: Score, *, fair: float = 0.0, margin: float = 0.0) -> Finding:
    """A score whose spread is known by its interval alone, taken for that of a normal distribution."""
    if score.n < FEWEST or not score.has_interval:
        return Finding(measure, about, score, fair, margin)
    return Finding(measure, about, score, fair, margin, *_tested(score.value - fair, (score.high - score.low) / 3.92, score.n - 1, margin))


def claimed(findings: Iterable[Finding], level: float = LEVEL) -> list[Finding]:
    """The findings, with those called bias that may be, together: Holm (1979) over every test that was made."""
    findings = list(findings)
    tested = sorted((number for number, each in enumerate(findings) if each.chance is not None), key=lambda n: findings[n].chance or 0.0)
    for place, number in enumerate(tested):
        if (findings[number].chance or 0.0) > level / (len(tested) - place):
            break
        findings[number] = replace(findings[number], is_claimed=True)
    return findings


def _quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _tested(distance: float, spread: float, freedom: int, margin: float) -> tuple[float, float]:
    """(how probable so large a distance is where the true one is the margin, how far a true one must lie to be seen)."""
    from scipy.special import stdtr

    beyond = abs(distance) - margin
    if spread <= 0:
        return (0.0 if beyond > 0 else 1.0), margin
    # On the margin, which is the worst that still is fair, either side would have been claimed.
    chance = float(min(1.0, stdtr(freedom, -beyond / spread) + stdtr(freedom, -(beyond + 2 * margin) / spread)))
    sides = 1 if margin > 2 * spread else 2
    return chance, margin + spread * (_quantile(1 - LEVEL / sides, freedom) + _quantile(POWER, freedom))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
