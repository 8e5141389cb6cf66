"""What an audit of memory found, in numbers, in sentences, and beside what was promised."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diptych.audit.memory.extraction import Extraction
from diptych.audit.memory.guessing import Guessing
from diptych.ledger import Ledger
from diptych.messages import _, mark

WAYS = {
    "loss": mark("its loss"),
    "ratio": mark("its loss beside another model's"),
    "min-k": mark("its hardest tokens"),
}
NOTICEABLE = 0.55
"""An area below this is close to guessing."""


@dataclass
class MemoryAudit:
    """What was found.

    Attributes:
        claimed: what the training promised, as the regime kept it; None where it promised nothing.
        exposures: of each canary, in bits; `candidates`: among how many.
        at_risk: of the rows that the training itself found most at risk, where each stands.
    """

    guesses: Sequence[Guessing]
    claimed: Mapping[str, Any] | None = None
    exposures: Sequence[float] = ()
    candidates: int = 0
    extraction: Extraction | None = None
    at_risk: Sequence[Mapping[str, Any]] = ()
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def best(self) -> Guessing:
        """The way of guessing that finds most."""
        return max(self.guesses, key=lambda each: each.area.value)

    @property
    def epsilon(self) -> float:
        """The largest ε that every promise must have, by what was measured."""
        return max(each.epsilon for each in self.guesses)

    @property
    def is_broken(self) -> bool:
        """Whether the measurement contradicts the promise."""
        if self.claimed is None or self.claimed.get("epsilon") is None:
            return False
        return self.epsilon > self.claimed["epsilon"] or any(self._exceeds(each) for each in self.guesses)

    def _exceeds(self, each: Guessing) -> bool:
        assert self.claimed is not None
        allowed = math.exp(min(700.0, self.claimed["epsilon"])) * each.alarms.high + self.claimed["delta"]
        return each.found.low > allowed

    def to_json(self) -> dict[str, Any]:
        return {
            "claimed": None if self.claimed is None else dict(self.claimed),
            "epsilon_at_least": round(self.epsilon, 4),
            "contradicts_the_promise": self.is_broken,
            "membership": {each.way: each.to_json() for each in self.guesses},
            "canaries": {"exposures": [round(each, 3) for each in self.exposures], "candidates": self.candidates},
            "extraction": None if self.extraction is None else self.extraction.to_json(),
            "at_risk": [dict(each) for each in self.at_risk],
        }

    def lines(self) -> list[str]:
        """The same in sentences, the verdict first."""
        lines = [self.verdict()]
        for each in self.guesses:
            text = _(
                "Who was trained on, told by {way}: right of two {area}; found at 1 % false alarms {found} ({members:,} and {others:,})."
            )
            counts = {"members": each.num_members, "others": each.num_others}
            lines.append(text.format(way=_(WAYS[each.way]), area=each.area, found=each.found, **counts))
        if self.exposures:
            text = _("Canaries: {count} were planted; exposure {mean:.1f} bits on average, {most:.1f} at most, of {all:.1f}.")
            numbers = {"mean": sum(self.exposures) / len(self.exposures), "most": max(self.exposures), "all": math.log2(self.candidates)}
            lines.append(text.format(count=len(self.exposures), **numbers))
        if self.extraction is not None:
            text = _("Gone on with word for word: {members} of the texts trained on, {others} of others; {longest} tokens at most.")
            found = self.extraction
            lines.append(text.format(members=found.members, others=found.others, longest=found.longest))
        if self.at_risk:
            places = ", ".join(str(each.get("where", each["example"])) for each in self.at_risk[:5])
            lines.append(_("Most at risk by how their loss moved while training: {places}.").format(places=places))
        return lines

    def verdict(self) -> str:
        claimed = None if self.claimed is None else self.claimed.get("epsilon")
        if self.is_broken:
            text = _("The promise ε = {claimed:.2f} does not hold: what was measured needs at least {measured:.2f}.")
            return text.format(claimed=claimed, measured=max(self.epsilon, 0.0))
        if claimed is not None:
            text = _("Promised is ε = {claimed:.2f}; what was measured shows at least {measured:.2f}, which does not contradict it.")
            return text.format(claimed=claimed, measured=self.epsilon)
        if self.best.area.value < NOTICEABLE and self.best.area.low <= 0.5:
            return _("Nothing is promised, and these ways of guessing find next to nothing; others may find more.")
        text = _("Nothing is promised, and it shows: told by {way}, the right one of two texts is picked in {share:.0%} of cases.")
        return text.format(way=_(WAYS[self.best.way]), share=self.best.area.value)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def write(self, path: Any) -> None:
        path.write_text(json.dumps(self.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
