"""Items that can be recommended, and who chose which of them when, as tables have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from diptych.config import nearest
from diptych.errors import DataError, UsageError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.tables import guess_text_column, read_table

ID_NAMES = ("id", "item", "item_id", "itemid", "sku", "asin", "编号", "商品", "商品编号")
USER_NAMES = ("user", "user_id", "userid", "customer", "reader", "用户", "用户编号", "顾客")
TIME_NAMES = ("time", "timestamp", "date", "datetime", "created_at", "时间", "日期")


@dataclass(frozen=True)
class Items:
    """What there is to recommend; an item without an identity of its own is called by its number, from 1."""

    ids: list[str]
    texts: list[str]

    def number(self, item: Any) -> int:
        """Where an item stands.

        Raises:
            UsageError E628: there is none of this name.
        """
        try:
            return self.ids.index(str(item))
        except ValueError:
            raise UsageError("E628", item=item, hint=nearest(str(item), self.ids[:5000])) from None


@dataclass(frozen=True)
class Choice:
    """A user chose an item, at some time or simply after the choice before."""

    user: str
    item: int
    time: float


def read_items(source: Any, ledger: Ledger, *, text: str | None = None, identity: str | None = None) -> Items:
    """The items of a file or a table; a list of texts is one as well.

    Args:
        text, identity: the columns of what an item says and of what it is called; None guesses them.

    Raises:
        DataError E103: there is no such column. E108, E132: there is no text, or nothing at all.
    """
    rows = list(read_table(source, ledger))
    if not rows:
        raise DataError("E132", name=str(source) if isinstance(source, str | Path) else _("the table"))
    known = list(rows[0].fields)
    for column in (text, identity):
        if column is not None and column not in known:
            raise DataError("E103", where=rows[0].where, column=column, columns=", ".join(map(str, known)))
    text = text or guess_text_column([row.fields for row in rows[:100]], rows[0].where)
    identity = identity or _named(known, ID_NAMES)
    ids, texts = [], []
    for number, row in enumerate(rows, 1):
        said = row.fields.get(text)
        if said is None or not str(said).strip():
            ledger.add("items", "items without a text, left out", total=len(rows), where=row.where)
            continue
        ids.append(str(number if identity is None else row.fields.get(identity)))
        texts.append(str(said))
    ledger.add("items", "items read", len(ids))
    return Items(ids, texts)


def read_choices(source: Any, items: Items, ledger: Ledger) -> tuple[list[Choice], bool]:
    """The choices in the order of time, and whether the table says when they were made; without, they are in the order of the table.

    Args:
        source: a table with columns for the user, the item and the time; or (user, item) and (user, item, time) in a list.

    Raises:
        DataError E132: there are none. UsageError E629: a column is missing, or a time is none.
    """
    name = str(source) if isinstance(source, str | Path) else _("the table")
    if isinstance(source, list) and source and isinstance(source[0], list | tuple):
        source = [dict(zip(("user", "item", "time"), row, strict=False)) for row in source]
    rows = list(read_table(source, ledger))
    if not rows:
        raise DataError("E132", name=name)
    user, item, time = (_named(list(rows[0].fields), names) for names in (USER_NAMES, ID_NAMES, TIME_NAMES))
    if user is None or item is None:
        raise UsageError("E629", path=name, problem=", ".join(map(str, rows[0].fields)))
    numbers = {identity: number for number, identity in enumerate(items.ids)}
    found = []
    for place, row in enumerate(rows):
        number = numbers.get(str(row.fields.get(item)))
        if number is None or row.fields.get(user) is None:
            ledger.add("items", "choices of items that there are not, left out", total=len(rows), where=row.where)
            continue
        when = float(place) if time is None else _seconds(row.fields.get(time), name)
        found.append(Choice(str(row.fields[user]), number, when))
    ledger.add("items", "choices read", len(rows))
    # Stable: choices of one second stay as they were written down.
    return sorted(found, key=lambda choice: choice.time), time is not None


def histories(choices: Sequence[Choice]) -> dict[str, list[int]]:
    """The items that each user chose, the latest last."""
    found: dict[str, list[int]] = {}
    for choice in choices:
        found.setdefault(choice.user, []).append(choice.item)
    return found


def _seconds(value: Any, name: str) -> float:
    """A time as a number: a number is one already, and a date is seconds."""
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(str(value).strip()).timestamp()
    except ValueError:
        raise UsageError("E629", path=name, problem=repr(value)[:40]) from None


def _named(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    lowered: Mapping[str, str] = {str(column).strip().lower(): column for column in columns}
    return next((lowered[name] for name in usual if name in lowered), None)
