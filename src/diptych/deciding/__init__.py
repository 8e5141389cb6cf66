"""Which classifier to ship: simple and trained ones beside each other on the same examples, within a few minutes."""

from diptych.deciding.decide import decide
from diptych.deciding.decision import Decision

__all__ = ["Decision", "decide"]
