"""Reading questions on texts: SQuAD's JSON, CMRC's and DRCD's, and plain tables of question, context and answer.

An answer is a stretch of its context. Where it does not lie at the character that the data names, it is looked for: where it
occurs exactly once it is repaired, otherwise nothing is learnt from it; both are counted. It counts as a right answer all the
same, as the official scripts of these sets have it, which compare texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from diptych.config import nearest
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.tables import Row, read_table

NAMES = {
    "question": ("question", "query", "question_text", "query_text", "问题"),
    "context": ("context", "passage", "paragraph", "context_text", "paragraph_text", "document", "text", "正文", "文章", "段落", "文本"),
    "answer": ("answers", "answer", "answer_text", "答案", "回答"),
    "start": ("answer_start", "start", "start_position", "answer_offset"),
}
"""What the columns of a table are usually called."""


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question on a text."""

    texts: tuple[str, str]
    """The question and the context."""
    gold: tuple[str, ...] | None
    """Every right answer, none where the text does not answer the question; None where it is not known."""
    place: tuple[int, int] | None
    """From which to which character of the context the answer to learn from reaches."""
    where: str
    group: str | None = None
    stratum: None = None

    @property
    def is_unanswerable(self) -> bool:
        return self.gold == ()


def read_questions(source: Any, ledger: Ledger, names: Mapping[str, str | None]) -> tuple[list[QuestionRow], dict[str, str | None]]:
    """The questions of a file or a table, and the columns that were found in it.

    Questions that are asked twice of the same text become one, with the answers of both. A context keeps its questions on one
    side of a split, unless a column says what belongs together.

    Args:
        names: the columns of the question, the context, the answer, its start and the group; None finds one by its name.

    Raises:
        DataError E132: there are no questions. E133, E147: a column is missing. E149: an answer is of no known form.
    """
    rows = read_table(source, ledger)
    first = list(islice(rows, 1))
    name = str(source) if isinstance(source, str | Path) else _("the table")
    if not first:
        raise DataError("E132", name=name)
    rows = chain(first, rows)
    found: dict[str, str | None] = {}
    if is_nested(first[0].fields):
        found["format"] = "SQuAD"
        asked = _from_articles(rows)
    else:
        found = _columns(first[0], name, names)
        asked = _from_table(rows, found)
    merged: dict[tuple[str, str], QuestionRow] = {}
    for each in asked:
        row = _settle(each, ledger)
        if row is None:
            continue
        old = merged.get(row.texts)
        if old is not None:
            ledger.add("table", "questions asked twice of the same text, taken as one", where=row.where)
            gold = row.gold if old.gold is None else old.gold if row.gold is None else tuple(dict.fromkeys((*old.gold, *row.gold)))
            row = QuestionRow(row.texts, gold, old.place or row.place, old.where, old.group)
        merged[row.texts] = row
    if not merged:
        raise DataError("E132", name=name)
    ledger.add("table", "questions read", len(merged))
    ledger.add("table", "questions without an answer in their text", sum(row.is_unanswerable for row in merged.values()))
    return list(merged.values()), found


def is_nested(fields: Mapping[str, Any]) -> bool:
    """Whether a row is an article with its paragraphs, or a paragraph with its questions."""
    return isinstance(fields.get("paragraphs"), list) or isinstance(fields.get("qas"), list)


def has_questions(fields: Mapping[str, Any]) -> bool:
    """Whether a row is of this task: an article with questions, or a question, a context and an answer."""
    lowered = {str(name).strip().lower() for name in fields}
    return is_nested(fields) or all(lowered & (set(NAMES[part]) - {"text"}) for part in ("question", "context", "answer"))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as the data has it."""

    question: str
    context: str
    answers: Sequence[tuple[str, int | None]] | None
    where: str
    group: str | None


def _settle(asked: _Asked, ledger: Ledger) -> QuestionRow | None:
    """The question with its answer at its place."""
    texts = (asked.question, asked.context)
    if not asked.question.strip() or not asked.context.strip():
        ledger.add("table", "questions without a question or a text, dropped", where=asked.where)
        return None
    group = asked.group or asked.context
    if asked.answers is None:
        return QuestionRow(texts, None, None, asked.where, group)
    places = []
    for text, start in asked.answers:
        place, is_repaired = _find(asked.context, text, start)
        if place is None:
            ledger.add("table", "answers that are not in their text, or more than once: not learnt from", where=asked.where)
        elif is_repaired:
            ledger.add("table", "answers that do not lie where the data says, found where they occur", where=asked.where)
        places += [place] if place else []
    gold = tuple(dict.fromkeys(text for text, _start in asked.answers))
    return QuestionRow(texts, gold, places[0] if places else None, asked.where, group)


def _find(context: str, text: str, start: int | None) -> tuple[tuple[int, int] | None, bool]:
    """(from which to which character the answer reaches without white space around it, whether the data had it elsewhere)."""
    is_repaired = False
    if start is None or start < 0 or not context.startswith(text, start):
        is_repaired = start is not None
        start = context.find(text)
        if start < 0 or start != context.rfind(text):
            return None, False
    core = text.strip()
    start += text.find(core)
    return (start, start + len(core)), is_repaired


def _from_articles(rows: Iterator[Row]) -> Iterator[_Asked]:
    for row in rows:
        paragraphs = row.fields.get("paragraphs", [row.fields])
        for number, paragraph in enumerate(paragraphs, 1):
            where = row.where if len(paragraphs) < 2 else _("{where}, paragraph {number}").format(where=row.where, number=number)
            if not isinstance(paragraph, Mapping) or not isinstance(paragraph.get("qas", []), list):
                raise DataError("E149", where=where, item=repr(paragraph)[:60])
            context = _text(paragraph.get("context", paragraph.get("context_text")))
            for asked in paragraph.get("qas", []):
                if not isinstance(asked, Mapping):
                    raise DataError("E149", where=where, item=repr(asked)[:60])
                here = f"{where}, {asked.get('id', asked.get('query_id', '?'))}"
                # The text of what cannot be answered may hold plausible answers under another name; they are none.
                answers = _answers([] if asked.get("is_impossible") else asked.get("answers", asked.get("answer")), None, here)
                yield _Asked(_text(asked.get("question", asked.get("query_text"))), context, answers, here, None)


def _columns(row: Row, name: str, names: Mapping[str, str | None]) -> dict[str, str | None]:
    lowered = {str(column).strip().lower(): str(column) for column in reversed(list(row.fields))}
    found: dict[str, str | None] = {}
    for part, usual in NAMES.items():
        chosen = names.get(part)
        if chosen is not None and chosen not in row.fields:
            raise DataError("E133", name=name, column=chosen, hint=nearest(chosen, map(str, row.fields)))
        found[part] = chosen or next((lowered[each] for each in usual if each in lowered and lowered[each] not in found.values()), None)
    if found["question"] is None or found["context"] is None:
        raise DataError("E147", where=row.where, columns=", ".join(map(str, row.fields)))
    if (group := names.get("group")) is not None:
        if group not in row.fields:
            raise DataError("E133", name=name, column=group, hint=nearest(group, map(str, row.fields)))
        found["group"] = group
    return found


def _from_table(rows: Iterator[Row], found: Mapping[str, str | None]) -> Iterator[_Asked]:
    for row in rows:
        question, context = (_text(row.fields.get(found[part] or "")) for part in ("question", "context"))
        value = row.fields.get(found["answer"]) if found["answer"] else None
        start = row.fields.get(found["start"]) if found["start"] else None
        answers = _answers([] if found["answer"] and value is None else value, start, row.where)
        group = row.fields.get(found.get("group") or "")
        yield _Asked(question, context, answers, row.where, None if group is None else str(group))


def _answers(value: Any, start: Any, where: str) -> list[tuple[str, int | None]] | None:
    """(text, first character) of each answer, in any of the usual spellings; None where nothing was said of answers.

    A text, a list of texts, {text, answer_start}, a list of these, or {"text": […], "answer_start": […]} as Hugging Face has it.
    """
    if value is None:
        return None
    if isinstance(value, Mapping) and isinstance(value.get("text"), list | tuple):
        starts = value.get("answer_start") or [None] * len(value["text"])
        value = [{"text": text, "answer_start": each} for text, each in zip(value["text"], starts, strict=False)]
    found = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, Mapping) and isinstance(item.get("text"), str):
            text, at = item["text"], item.get("answer_start", item.get("start"))
        elif isinstance(item, str | int | float):
            text, at = _text(item), start
        else:
            raise DataError("E149", where=where, item=repr(item)[:60])
        try:
            at = None if at in (None, "") or at != at else int(at)
        except (TypeError, ValueError):
            raise DataError("E149", where=where, item=repr(item)[:60]) from None
        if text.strip():
            found.append((text, at))
    return found


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
