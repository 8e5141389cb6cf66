"""What people hand to an estimator, as the lists and tables that a task reads; nothing of it is changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import DataError
from diptych.messages import _
from diptych.text.tables import guess_text_column, is_columnar, read_table


def as_source(table: Any) -> Any:
    """A whole table as `dt.finetune` takes it: a path as a path, a table in memory as its rows."""
    if isinstance(table, str | Path):
        return str(table)
    if isinstance(table, Mapping):
        # No rows: reading it says so.
        return table
    if is_columnar(table):
        return [row.fields for row in read_table(table)]
    return [_plain(item) for item in table]


def as_list(items: Any, columns: Sequence[str], width: int, *, are_texts: bool = True) -> list[Any]:
    """Inputs, or answers, one after the other.

    A single text is one input, not its letters. Of a table the named columns are taken; where none is, its only ones, or the column
    that holds the most text.

    Args:
        columns: the columns of the table that was learnt from, as far as they are known.
        width: of how many parts an input is: 2 for a question and its text.
        are_texts: False for answers, where a text is none of its own.

    Raises:
        DataError E103: a table has no such column.
    """
    if isinstance(items, str):
        return [items]
    if isinstance(items, Path) or is_columnar(items) or _are_rows(items):
        rows = [row.fields for row in read_table(items)]
        known = list(rows[0]) if rows else []
        chosen = [column for column in columns if column in known]
        if len(chosen) < len(columns) or not chosen:
            if columns and len(known) > 1:
                raise DataError("E103", where=_("the table"), column=columns[len(chosen)], columns=", ".join(map(str, known)))
            chosen = known if len(known) <= width else [guess_text_column(rows[:100], _("the table"))]
        return [_of_fields(row, chosen) for row in rows]
    if hasattr(items, "to_numpy"):
        items = items.to_numpy()
    found = [_plain(item) for item in items]
    if are_texts and isinstance(items, np.ndarray) and items.ndim == 2:
        # A column of a table, as a ColumnTransformer hands it on.
        return [item[0] if len(item) == 1 else tuple(item) for item in found]
    return found


def _of_fields(fields: Mapping[str, Any], columns: Sequence[str]) -> Any:
    found = tuple("" if fields.get(column) is None else fields[column] for column in columns)
    return found[0] if len(found) == 1 else found


def _are_rows(items: Any) -> bool:
    """Whether this is a list of dictionaries that are no turns of a conversation."""
    first = items[0] if isinstance(items, list | tuple) and items else None
    return isinstance(first, Mapping) and not {"role", "messages"} & set(first)


def _plain(item: Any) -> Any:
    """An item without numpy around it."""
    if isinstance(item, np.ndarray):
        return item.tolist()
    return item.item() if isinstance(item, np.generic) else item
