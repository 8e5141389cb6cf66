"""One stretch of a text that is somebody's own, how sure that is, and which of two that overlap stays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VALIDATED = 1.0
"""Its digits check, or it is written as nothing else is."""
NAMED = 0.9
"""The words before it say what it is."""
USUAL = 0.8
"""It is written in a way that little else is."""
LIKELY = 0.6
"""It looks like it; a number of another kind may look the same."""


@dataclass(frozen=True, slots=True)
class Personal:
    """`text[start:stop]` is of this kind."""

    start: int
    stop: int
    kind: str
    certainty: float = VALIDATED
    is_kept: bool = False
    """It was recognized as something that is nobody's own, such as an ISBN: nothing inside it is taken for personal."""

    def to_json(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.stop, "kind": self.kind, "certainty": self.certainty}


def resolve(found: Iterable[Personal]) -> list[Personal]:
    """Those that stay where some overlap, in the order of the text: the most certain first, then the longest.

    What was recognized as nobody's own takes part, and is left out at the end.
    """
    ranked = sorted(set(found), key=lambda one: (-one.certainty, one.start - one.stop, one.start, one.kind))
    # One byte a character says what is taken: asking it costs no more than the stretches are long, however many there are.
    covered = bytearray(max((each.stop for each in ranked), default=0))
    taken = []
    for each in ranked:
        if covered.find(1, each.start, each.stop) < 0:
            covered[each.start : each.stop] = b"\x01" * (each.stop - each.start)
            taken.append(each)
    return sorted((each for each in taken if not each.is_kept), key=lambda one: one.start)
