"""Two systems on the same examples: the paired difference, and whether there is one."""

from dataclasses import dataclass

from diptych.evaluation.intervals import Counts, Score, Scores
from diptych.messages import _


@dataclass(frozen=True)
class Paired:
    """How two systems did on the same examples, and how much more the first has of the score that they are compared by."""

    names: tuple[str, str]
    scores: tuple[Scores, Scores]
    watched: str
    difference: Score
    num_alike: int
    """Examples to which both gave the same answer."""

    def verdict(self) -> str:
        """The comparison in one sentence; "no difference" where the interval holds 0."""
        gap, (first, second) = self.difference, self.names
        values = {"score": _(self.watched), "gap": abs(gap.value), "low": gap.low, "high": gap.high, "n": gap.n}
        span = _("difference in {score} {low:+.3f} to {high:+.3f}, n = {n:,}").format(**values)
        if not gap.has_interval or gap.low <= 0 <= gap.high:
            return _("No difference between {first} and {second} can be claimed ({span}).").format(first=first, second=second, span=span)
        better, worse = (first, second) if gap.value > 0 else (second, first)
        return _("{better} is better than {worse} ({span}).").format(better=better, worse=worse, span=span)

    def to_json(self) -> dict[str, object]:
        both = {name: scores.to_json() for name, scores in zip(self.names, self.scores, strict=True)}
        difference = Scores([self.difference]).to_json()["difference"]
        return {
            "scores": both,
            "compared by": self.watched,
            "difference": difference,
            "same answers": self.num_alike,
            "verdict": self.verdict(),
        }


def paired(names: tuple[str, str], scores: tuple[Scores, Scores], counts: tuple[Counts, Counts], num_alike: int) -> Paired:
    """The comparison of two systems by what their watched scores are made of."""
    return Paired(names, scores, counts[0].name, counts[0].less(counts[1]), num_alike)
