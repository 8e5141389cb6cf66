"""Word and character error rate: the least number of words to insert, delete or replace, over the words of the reference."""

from collections.abc import Sequence

import numpy as np

from diptych.evaluation.intervals import Counts
from diptych.messages import mark


def error_counts(found: Sequence[str], gold: Sequence[str], *, is_chinese: bool) -> Counts:
    """The error rate of texts, by words, or by characters of Chinese: the sum of all errors over that of all lengths."""
    pairs = [(units(ours, is_chinese=is_chinese), units(theirs, is_chinese=is_chinese)) for ours, theirs in zip(found, gold, strict=True)]
    rows = np.array([(distance(ours, theirs), len(theirs)) for ours, theirs in pairs], dtype=float).reshape(-1, 2)
    name = mark("character error rate") if is_chinese else mark("word error rate")
    return Counts(name, rows, lambda sums: sums[..., 0] / np.maximum(1, sums[..., 1]))


def units(text: str, *, is_chinese: bool) -> list[str]:
    """What errors are counted in: words between white space as they are written, or every character but white space."""
    return list("".join(text.split())) if is_chinese else text.split()


def distance(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The least number of insertions, deletions and replacements that make one of the other (Levenshtein 1966)."""
    numbers = {unit: number for number, unit in enumerate({*ours, *theirs})}
    other = np.array([numbers[unit] for unit in theirs], dtype=np.int64)
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for number, unit in enumerate(ours, 1):
        # From above and from the corner first; then from the left, which is a running minimum once the slope is taken out.
        best = np.minimum(row[1:] + 1, row[:-1] + (other != numbers[unit]))
        row = np.minimum.accumulate(np.concatenate([[number], best]) - steps) + steps
    return int(row[-1])
