"""Labelled tables: which column is the text and which the label, what cannot be used, and fair splits.

The guess is always shown, and one flag corrects it. Rows without a label, repeated texts and texts that carry two labels
are counted in the ledger; a repeated text never lies on both sides of a split.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from diptych.config import nearest
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.streams import seed_for
from diptych.tasks.labels import Kind, Label, find_separator, guess_kind, is_missing, label_name, label_of
from diptych.tasks.task import Row as TaskRow
from diptych.text.corpus import Document, Row, read_table

TEXT_NAMES = ("text", "sentence", "review", "content", "comment", "body", "message", "title", "正文", "文本", "内容", "评论", "句子")
TEXT_NAMES += ("text1", "sentence1", "text_a", "premise", "question1", "文本1", "句子1")
PAIR_NAMES = ("text2", "sentence2", "text_b", "hypothesis", "question2", "文本2", "句子2")
LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "stars", "rating", "target", "intent", "标签", "类别", "情感", "分类")
LABEL_NAMES += ("gold_label", "score", "similarity", "分数", "评分")


@dataclass(frozen=True)
class Columns:
    """Which columns are used; `is_guess` where the user did not name them."""

    text: str
    label: str
    pair: str | None = None
    kind: Kind = "single"
    is_guess: bool = True


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One example of a table: a text or a pair, its label (None where it is not known) and its group."""

    texts: tuple[str, ...]
    label: Label | None
    where: str
    group: str | None = None

    @property
    def gold(self) -> Label | None:
        return self.label

    @property
    def stratum(self) -> str | None:
        return self.label if isinstance(self.label, str) else None


def read_labelled(
    source: Any,
    ledger: Ledger,
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    group: str | None = None,
    kind: str | None = None,
    empty_labels: str = "error",
) -> tuple[list[LabelledRow], Columns]:
    """Read a table of texts and labels.

    Raises:
        DataError E132: the table is empty. E133: a named column does not exist. E134: no column can be the text or the
        label. E121: a label is empty and `empty_labels` is "error". E122: a grade is no number.
    """
    rows = list(read_table(source, ledger))
    name = str(source) if isinstance(source, str | Path) else _("the table")
    if not rows:
        raise DataError("E132", name=name)
    columns = choose_columns(rows, name, text=text, pair=pair, label=label)
    if group is not None and group not in rows[0].fields:
        raise DataError("E133", name=name, column=group, hint=nearest(group, rows[0].fields))
    cells = [row.fields.get(columns.label) for row in rows]
    guessed, separator = guess_kind(cells)
    columns = replace(columns, kind=kind or guessed)
    if columns.kind == "several" and separator is None:
        separator = find_separator([cell for cell in cells if isinstance(cell, str)])
    labels = [label_of(cell, columns.kind, separator, row.where) for cell, row in zip(cells, rows, strict=True)]
    labelled = []
    num_empty = sum(label is None for label in labels)
    for row, value in zip(rows, labels, strict=True):
        if value == ():
            ledger.add("table", "rows to which no label applies", total=len(rows), where=row.where)
        if value is None:
            if empty_labels == "error":
                raise DataError("E121", where=row.where, column=columns.label, count=num_empty, total=len(rows))
            ledger.add("table", "rows without a label, dropped", total=len(rows), where=row.where)
            continue
        texts = tuple(_text(row.fields.get(column)) for column in (columns.text, columns.pair) if column)
        if not any(part.strip() for part in texts):
            ledger.add("table", "rows without a text, dropped", total=len(rows), where=row.where)
            continue
        if all(_is_number(part) for part in texts):
            ledger.add("table", "texts that are nothing but a number", total=len(rows), where=row.where)
        owner = None if group is None else label_name(row.fields.get(group))
        labelled.append(LabelledRow(texts, value, row.where, owner))
    ledger.add("table", "rows read", len(rows))
    return labelled, columns


def choose_columns(rows: Sequence[Row], name: str, *, text: str | None, pair: str | None, label: str | None) -> Columns:
    """The columns that were named, and a guess for those that were not: known names first, then what the values look like."""
    known = list(rows[0].fields)
    for column in (text, pair, label):
        if column is not None and column not in known:
            raise DataError("E133", name=name, column=column, hint=nearest(column, known))
    sample = rows[:1000]
    found = {column: [row.fields.get(column) for row in sample] for column in known}
    if label is None:
        free = [column for column in known if column not in (text, pair)]
        label = _named(LABEL_NAMES, free) or _fewest_values(found, free)
    if text is None:
        free = [column for column in known if column not in (label, pair)]
        text = _named(TEXT_NAMES, free) or _longest_text(found, free)
    if pair is None:
        pair = _named(PAIR_NAMES, [column for column in known if column not in (label, text)])
    if text is None or label is None:
        raise DataError("E134", name=name, missing=_("label") if label is None else _("text"), columns=", ".join(map(str, known)))
    if label in (text, pair):
        raise DataError("E136", name=name, column=label)
    return Columns(text, label, pair)


R = TypeVar("R", bound=TaskRow)


def drop_duplicates(rows: Sequence[R], ledger: Ledger, *, has_one_answer: bool = True) -> list[R]:
    """Each text once, and none that was given two answers: it would teach both and test neither.

    Where a text may have several answers, each pair of the two once.
    """
    if not has_one_answer:
        first = {(_fingerprint(row), row.gold): row for row in reversed(rows)}
        kept = [row for row in rows if first[(_fingerprint(row), row.gold)] is row]
        ledger.add("table", "rows dropped because the text occurred before", len(rows) - len(kept), total=len(rows))
        return kept
    labels: dict[int, set[Any]] = defaultdict(set)
    prints = [_fingerprint(row) for row in rows]
    for row, key in zip(rows, prints, strict=True):
        labels[key].add(row.gold)
    kept, seen = [], set()
    for row, key in zip(rows, prints, strict=True):
        if len(labels[key]) > 1:
            ledger.add("table", "rows dropped because the same text has several labels", total=len(rows), where=row.where)
        elif key in seen:
            ledger.add("table", "rows dropped because the text occurred before", total=len(rows), where=row.where)
        else:
            seen.add(key)
            kept.append(row)
    ledger.add("table", "texts with several labels", sum(len(found) > 1 for found in labels.values()))
    return kept


def split_rows(rows: Sequence[R], share: float, seed: int, purpose: str) -> tuple[list[R], list[R]]:
    """(the rest, a `share` held out), each label in its proportion; rows of one group or one text stay together.

    With so few rows that a label would be missing from either side, the held-out part is empty.
    """
    units: dict[tuple[str | None, Any], list[R]] = defaultdict(list)
    first_label: dict[int, str | None] = {}
    for row in rows:
        text = _fingerprint(row)
        units[(None, row.group) if row.group is not None else (first_label.setdefault(text, row.stratum), text)].append(row)
    by_label: dict[str | None, list[tuple[str | None, Any]]] = defaultdict(list)
    for key in units:
        by_label[key[0]].append(key)
    held_keys: set[tuple[str | None, Any]] = set()
    for keys in by_label.values():
        if len(keys) * share < 1 and len(by_label) > 1:
            continue
        ordered = sorted(keys, key=lambda key: seed_for(seed, purpose, str(key[1])))
        held_keys.update(ordered[: round(len(ordered) * share)])
    held = [row for key, unit in units.items() if key in held_keys for row in unit]
    labels = Counter(row.stratum for row in rows)
    if len({row.stratum for row in held}) < min(2, len(labels)):
        return list(rows), []
    return [row for key, unit in units.items() if key not in held_keys for row in unit], held


def digest(rows: Sequence[TaskRow]) -> str:
    """What tells these rows, in this order, from any others."""
    state = hashlib.blake2b(digest_size=16)
    for row in rows:
        state.update(repr((row.texts, row.gold)).encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def _text(value: Any) -> str:
    return "" if is_missing(value) else str(value)


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _fingerprint(row: TaskRow) -> int:
    # White space is folded, and a control character such as \x1f is white space; this stands between texts alone.
    return Document(" \0 ".join(row.texts), row.where, {}).fingerprint


def _named(names: Iterable[str], columns: Sequence[str]) -> str | None:
    lowered = {str(column).strip().lower(): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), None)


def _fewest_values(found: dict[str, list[Any]], columns: Sequence[str]) -> str | None:
    """The column whose values repeat most, if it has at most half as many values as rows."""
    counts = {column: len({label_name(value) for value in found[column]} - {None}) for column in columns}
    fitting = {column: count for column, count in counts.items() if 1 <= count <= max(2, len(found[column]) // 2)}
    return min(fitting, key=fitting.__getitem__) if fitting else None


def _longest_text(found: dict[str, list[Any]], columns: Sequence[str]) -> str | None:
    texts = {column: [value for value in found[column] if isinstance(value, str) and not _is_number(value)] for column in columns}
    lengths = {column: sum(map(len, values)) for column, values in texts.items()}
    return max(lengths, key=lengths.__getitem__) if lengths and max(lengths.values()) else None


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last one shorter."""
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
