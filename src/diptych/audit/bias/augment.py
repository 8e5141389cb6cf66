"""Counterfactual augmentation (Zhao et al. 2018; Lu et al. 2020): every text about one group again about another, with the same label.

What a label has to do with a group in the examples cancels then, and a classifier that learns from them has no reason to look at the group.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diptych.text.people import Table


def counterfactual_rows(rows: Sequence[Any], tables: Sequence[Table]) -> list[Any]:
    """A row more for each row and each table by which all its texts are about one and the same group.

    Other groups take turns by the row's number, so that none is favoured.
    """
    found = []
    for number, row in enumerate(rows):
        for table in tables:
            mentions = [table.mentions(text) for text in row.texts]
            groups = {mention.group for few in mentions for mention in few}
            if len(groups) != 1:
                continue
            others = [group for group in range(len(table.groups)) if group not in groups]
            other = others[number % len(others)]
            found.append(replace(row, texts=tuple(table.about(text, other) for text in row.texts)))
    return found
