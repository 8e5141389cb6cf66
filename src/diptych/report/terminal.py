"""Tables for the terminal, with Chinese characters counted as the two columns they take."""

import unicodedata
from collections.abc import Sequence

from diptych.evaluation.intervals import Scores
from diptych.messages import _

MOST_ACROSS = 4
"""So many scores with their intervals stand in a line of a terminal."""


def print_table(systems: Sequence[tuple[str, Scores]]) -> None:
    """Systems down and scores across, each with its interval; the other way round where there are more scores than a line holds."""
    if not systems or not systems[0][1]:
        return
    names = list(systems[0][1])
    rows = [["", *(_(name) for name in names)]]
    for system, scores in systems:
        rows.append([_(system), *(str(scores[name]) if name in scores else "–" for name in names)])
    print_rows(list(zip(*rows, strict=True)) if len(names) > MOST_ACROSS and len(systems) <= MOST_ACROSS else rows)


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Cells in columns that are as wide as their widest."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip())


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
