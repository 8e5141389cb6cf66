"""Conversations in the forms that they are kept in, as one: [{"role": "user", "content": "…"}, …].

`messages` (OpenAI), `conversations` with from and value (ShareGPT), instruction, input and output (Alpaca), or a question and an
answer. What cannot be learnt from is dropped and counted: a turn without text ends its conversation, and one in which the
assistant says nothing is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.tables import SOURCE_NAMES, TARGET_NAMES, Row, read_table

Message = tuple[str, str]
"""(role, what is said)."""
ROLES = {"system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant", "bot": "assistant"}
ROLES |= {"prompter": "user", "chatgpt": "assistant", "model": "assistant", "bing": "assistant", "用户": "user", "助手": "assistant"}
LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog")
QUESTIONS = ("question", "prompt", "query", "instruction", "user", "问题", "提问", *SOURCE_NAMES)
ANSWERS = ("answer", "response", "reply", "assistant", "completion", "回答", "答案", "回复", *TARGET_NAMES)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said, up to the last turn of the assistant."""

    messages: tuple[Message, ...]
    where: str
    group: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(f"{role}: {content}" for role, content in self.messages[:-1])

    @property
    def gold(self) -> str:
        return self.messages[-1][1]

    @property
    def stratum(self) -> None:
        return None

    @property
    def question(self) -> list[dict[str, str]]:
        """All before the last turn, as a template takes it."""
        return as_dicts(self.messages[:-1])


def as_dicts(messages: tuple[Message, ...] | list[Message]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def looks_like_talk(fields: Any) -> bool:
    """Whether a row holds a conversation: a list of turns, or Alpaca's instruction and output."""
    if not isinstance(fields, Mapping):
        return False
    return any(isinstance(fields.get(name), list) for name in LISTS) or {"instruction", "output"} <= set(fields)


def read_conversations(source: Any, ledger: Ledger, *, group: str | None = None) -> list[Conversation]:
    """The conversations of a file or a table.

    Raises:
        DataError E132: it is empty. E133: there is no such column to group by. E157: a row is no conversation. E160: none has a turn
        of the assistant.
    """
    rows = list(read_table(source, ledger))
    if not rows:
        raise DataError("E132", name=str(source) if isinstance(source, str | Path) else _("the table"))
    kept = []
    for row in rows:
        if group is not None and group not in row.fields:
            raise DataError("E133", name=row.where, column=group, hint="")
        messages = _usable(list(_turns(row)), row, len(rows), ledger)
        if messages:
            owner = None if group is None or row.fields[group] is None else str(row.fields[group])
            kept.append(Conversation(tuple(messages), row.where, owner))
    if not kept:
        raise DataError("E160", count=len(rows))
    ledger.add("conversations", "conversations read", len(rows))
    return kept


def _turns(row: Row) -> Iterator[Message]:
    fields = row.fields
    found = next((fields[name] for name in LISTS if isinstance(fields.get(name), list)), None)
    if found is not None:
        if isinstance(fields.get("system"), str) and fields["system"].strip():
            yield "system", fields["system"]
        for number, turn in enumerate(found):
            yield turn_of(turn, number, row)
        return
    lowered = {str(name).strip().lower(): name for name in fields}
    question = next((lowered[name] for name in QUESTIONS if name in lowered), None)
    answer = next((lowered[name] for name in ANSWERS if name in lowered and lowered[name] != question), None)
    if question is None or answer is None:
        raise DataError("E157", where=row.where, found=", ".join(map(str, fields)))
    if isinstance(fields.get("system"), str) and fields["system"].strip():
        yield "system", fields["system"]
    for pair in fields.get("history") or ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            yield "user", str(pair[0])
            yield "assistant", str(pair[1])
    more = fields.get(lowered.get("input", "")) if question != lowered.get("input") else None
    said = [str(part) for part in (fields[question], more) if part not in (None, "")]
    yield "user", "\n".join(said)
    yield "assistant", "" if fields[answer] is None else str(fields[answer])


def turn_of(turn: Any, number: int, row: Row) -> Message:
    """(role, what is said) of one turn in any of the usual spellings; without a role the user begins and the two take turns.

    Raises:
        DataError E157: it is none.
    """
    if isinstance(turn, str):
        return ("assistant" if number % 2 else "user"), turn
    if not isinstance(turn, Mapping):
        raise DataError("E157", where=row.where, found=type(turn).__name__)
    content = next((turn[name] for name in ("content", "value", "text", "message") if isinstance(turn.get(name), str)), None)
    named = next((turn[name] for name in ("role", "from", "speaker") if isinstance(turn.get(name), str)), None)
    role = ("assistant" if number % 2 else "user") if named is None else ROLES.get(named.strip().lower())
    if content is None or role is None:
        raise DataError("E157", where=row.where, found=str(dict(turn))[:80])
    return role, content


def _usable(turns: list[Message], row: Row, total: int, ledger: Ledger) -> list[Message]:
    """The turns up to the assistant's last, if every one says something; several in a row by one speaker are one turn."""
    messages: list[Message] = []
    for role, content in turns:
        if not content.strip() and role != "system":
            ledger.add("conversations", "conversations that end at a turn without text", total=total, where=row.where)
            break
        if not content.strip():
            continue
        if messages and messages[-1][0] == role:
            messages[-1] = (role, f"{messages[-1][1]}\n{content}")
        else:
            messages.append((role, content))
    while messages and messages[-1][0] != "assistant":
        messages.pop()
    head = 1 if messages and messages[0][0] == "system" else 0
    if messages and messages[head][0] == "assistant":
        # Most templates, and every service, begin with the user.
        ledger.add("conversations", "turns of the assistant before the first question, left out", where=row.where)
        del messages[head]
    if not any(role == "user" for role, _content in messages):
        ledger.add("conversations", "conversations without a question and an answer, dropped", total=total, where=row.where)
        return []
    return messages
