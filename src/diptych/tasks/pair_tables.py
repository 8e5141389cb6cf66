"""Tables of texts that belong together: pairs, triplets with one that does not belong, and pairs with a grade."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.config import nearest
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.tasks.tables import label_name
from diptych.text.corpus import Row, read_table

NAMES = {
    "text": (
        "text",
        "text1",
        "sentence",
        "sentence1",
        "text_a",
        "anchor",
        "query",
        "question",
        "question1",
        "文本",
        "文本1",
        "句子",
        "问题",
    ),
    "pair": ("pair", "text2", "sentence2", "text_b", "positive", "passage", "answer", "question2", "hypothesis", "文本2", "句子2", "答案"),
    "negative": ("negative", "text3", "sentence3", "反例"),
    "score": ("score", "similarity", "grade", "relatedness", "label", "分数", "相似度", "标签"),
}
"""What columns are called that hold the one text, the other, one that does not belong, and the grade."""
Columns = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two texts that belong together, or that are alike to a degree."""

    texts: tuple[str, ...]
    """The two, and a third that does not belong to the first where there is one."""
    gold: float | None
    """How alike they are, the larger the more; None where they simply belong together."""
    where: str
    group: str | None = None

    @property
    def stratum(self) -> None:
        return None


def read_pairs(source: Any, ledger: Ledger, named: Mapping[str, str | None]) -> tuple[list[PairRow], Columns]:
    """The pairs of a table, and which columns they were found in.

    Args:
        source: a table; or a list of (text, text), (text, text, grade) or (text, text, one that does not belong).
        named: columns by what they hold: "text", "pair", "negative", "score", "group"; None is guessed, but for the group.

    Raises:
        DataError E132: the table is empty. E133: a named column does not exist. E166: there are no two texts. E168: a grade
        is no number.
    """
    rows = list(read_table(source, ledger))
    name = str(source) if isinstance(source, str | Path) else _("the table")
    if not rows:
        raise DataError("E132", name=name)
    columns = _columns(rows, name, named)
    found = []
    for row in rows:
        parts = [_text(row, columns[part]) for part in ("text", "pair", "negative") if columns[part] is not None]
        if not all(part.strip() for part in parts[:2]):
            ledger.add("table", "rows without a text, dropped", total=len(rows), where=row.where)
            continue
        grade = None if columns["score"] is None else _grade(row, columns["score"])
        if columns["score"] is not None and grade is None:
            ledger.add("table", "rows without a grade, dropped", total=len(rows), where=row.where)
            continue
        owner = None if columns["group"] is None else label_name(row.fields.get(columns["group"]))
        found.append(PairRow(tuple(part for part in parts if part.strip()), grade, row.where, owner))
    ledger.add("table", "rows read", len(rows))
    return found, columns


def _columns(rows: Sequence[Row], name: str, named: Mapping[str, str | None]) -> Columns:
    known = list(rows[0].fields)
    for column in named.values():
        if column is not None and column not in known:
            raise DataError("E133", name=name, column=column, hint=nearest(column, known))
    chosen: Columns = {part: named.get(part) for part in (*NAMES, "group")}
    lowered = {str(column).strip().lower(): column for column in known}
    for part, usual in NAMES.items():
        taken = set(chosen.values())
        free = (lowered[word] for word in usual if word in lowered and lowered[word] not in taken)
        chosen[part] = chosen[part] or next(free, None)
    if chosen["score"] is not None and named.get("score") is None and not _holds_numbers(rows, chosen["score"]):
        # A tuple's last part goes by the name of a label: in a pair it is the other text, in a triplet the one that does not belong.
        part = "pair" if chosen["pair"] is None else "negative"
        chosen["score"], chosen[part] = None, chosen[part] or chosen["score"]
    if chosen["text"] is None or chosen["pair"] is None:
        raise DataError("E166", name=name, columns=", ".join(map(str, known)))
    return chosen


def _holds_numbers(rows: Sequence[Row], column: str) -> bool:
    sample = [label_name(row.fields.get(column)) for row in rows[:100]]
    return any(sample) and all(_number(value) is not None for value in sample if value)


def _grade(row: Row, column: str) -> float | None:
    value = label_name(row.fields.get(column))
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise DataError("E168", where=row.where, value=value)
    return number


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(row: Row, column: str | None) -> str:
    value = row.fields.get(column) if column is not None else None
    return "" if value is None or value != value else str(value)
