"""Reading which of two answers to the same conversation people prefer.

`prompt`, `chosen` and `rejected` as texts or lists of messages; ShareGPT's conversations with the two answers beside them; or two
whole conversations that part at the last answer. What teaches nothing is dropped and counted: an empty answer, or two that are equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.tasks.conversations import LISTS, QUESTIONS, Message, as_dicts, turn_of
from diptych.tasks.groups import group_of
from diptych.text.tables import Row, read_table

CHOSEN, REJECTED = ("chosen", "preferred", "better", "更好"), ("rejected", "dispreferred", "worse", "更差")


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """What was said, the answer that is preferred and the one that is not."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    where: str
    group: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(f"{role}: {content}" for role, content in self.messages)

    @property
    def gold(self) -> tuple[str, str]:
        return self.chosen, self.rejected

    @property
    def stratum(self) -> None:
        return None

    @property
    def question(self) -> dict[str, Any]:
        """The two answers with what they answer, as a table has them."""
        return {"prompt": as_dicts(self.messages), "chosen": self.chosen, "rejected": self.rejected}


def looks_like_preferences(fields: Any) -> bool:
    """Whether a row holds two answers of which one is preferred."""
    return isinstance(fields, Mapping) and _named(fields, CHOSEN) is not None and _named(fields, REJECTED) is not None


def read_preferences(source: Any, ledger: Ledger, *, group: str | None = None) -> list[PreferenceRow]:
    """The pairs of a file or a table.

    Raises:
        DataError E132: it is empty. E133: there is no such field to group by. E181: a row has not two answers and what they answer.
    """
    rows = list(read_table(source, ledger))
    kept = []
    for row in rows:
        messages, chosen, rejected = _parts(row)
        if not chosen.strip() or not rejected.strip():
            ledger.add("pairs", "pairs that lack a side, dropped", total=len(rows), where=row.where)
        elif chosen.strip() == rejected.strip():
            ledger.add("pairs", "pairs of equal answers, of which none is preferred, dropped", total=len(rows), where=row.where)
        else:
            kept.append(PreferenceRow(tuple(messages), chosen, rejected, row.where, group_of(row.fields, group, row.where)))
    if not kept:
        raise DataError("E132", name=str(source) if isinstance(source, str | Path) else _("the table"))
    ledger.add("pairs", "pairs read", len(rows))
    return kept


def _parts(row: Row) -> tuple[list[Message], str, str]:
    """(what was said, the preferred answer, the other)"""
    fields = row.fields
    names = _named(fields, CHOSEN), _named(fields, REJECTED)
    if None in names:
        raise DataError("E181", where=row.where, columns=", ".join(map(str, fields)))
    (before, chosen), (other, rejected) = (_answer(fields[name], row) for name in names if name is not None)
    messages = _said(row) or before
    if not messages or (before and other and before != other):
        raise DataError("E181", where=row.where, columns=", ".join(map(str, fields)))
    system = fields.get("system")
    if isinstance(system, str) and system.strip() and messages[0][0] != "system":
        messages = [("system", system), *messages]
    return messages, chosen, rejected


def _answer(value: Any, row: Row) -> tuple[list[Message], str]:
    """(what comes before an answer where it is the last of a conversation, the answer)"""
    if isinstance(value, list | tuple) and value:
        turns = [turn_of(turn, number, row) for number, turn in enumerate(value)]
        return turns[:-1], turns[-1][1]
    if isinstance(value, Mapping):
        return [], turn_of(value, 1, row)[1]
    return [], "" if value is None or value != value else str(value)


def _said(row: Row) -> list[Message]:
    """The conversation that both answers answer; empty where the row has it only as part of them."""
    fields = row.fields
    found = next((fields[name] for name in (*LISTS, "prompt") if isinstance(fields.get(name), list)), None)
    if found is not None:
        return [turn_of(turn, number, row) for number, turn in enumerate(found)]
    name = _named(fields, QUESTIONS)
    if name is None or not str(fields[name] or "").strip():
        return []
    more = fields.get("input") if name != "input" else None
    return [("user", "\n".join(str(part) for part in (fields[name], more) if part not in (None, "")))]


def _named(fields: Mapping[str, Any], usual: tuple[str, ...]) -> str | None:
    lowered = {str(name).strip().lower(): name for name in fields}
    return next((lowered[name] for name in usual if name in lowered), None)
