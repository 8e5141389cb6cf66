"""Reading sentences with semantic roles: who does what to whom, in columns or in JSON.

A column file has a line for each token, and behind the words one column for each predicate of the sentence. In CoNLL-2005
(PropBank) brackets stand there around what plays a role for it: `(ARG0*)`, or `(ARG1*` to `*)`; `(V*)` is the predicate itself. A
part that goes on with another is C-ARG1, as there.

In CoNLL-2009 and in the Universal Propositions (CoNLL-U with more columns) a role stands at the head word of what plays it alone, and
a Y at each predicate. Such a role is a stretch of one word, and is learnt, found and judged as any other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.groups import CommentGroup, group_of
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import join_tokens, span_of, untangled
from diptych.text.files import Source, find_sources, read_lines
from diptych.text.tables import is_columnar, name_of, read_table

PREDICATE = "predicate"
"""The label of a predicate among the roles."""
FLAG_COLUMNS = (8, 12)
"""Where the Universal Propositions and CoNLL-2009 mark predicates, counted from 0."""
_BRACKETS = re.compile(r"((?:\([^*()\s]+)*)\*(\)*)")


@dataclass(frozen=True, slots=True)
class Frame:
    """A predicate and what plays which role for it."""

    predicate: Span
    roles: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A sentence and its predicates with their roles."""

    texts: tuple[str]
    frames: tuple[Frame, ...]
    where: str
    group: str | None = None
    stratum: None = None

    @property
    def gold(self) -> tuple[Any, ...]:
        return tuple((frame.predicate.key, tuple(role.key for role in frame.roles)) for frame in self.frames)


def read_roles(source: Any, ledger: Ledger, *, group: str | None = None) -> list[RoleRow]:
    """The sentences of a file, or of a list of {"text", "frames": [{"predicate": [start, end], "roles": [[start, end, label], …]}]}.

    Args:
        group: what belongs together: a field of the rows in JSON, or the name in the comments `# NAME = value` of a column file.

    Raises:
        DataError E101, E132: there is nothing. E133, E180: there is no such group. E151: brackets that do not close. E144, E145: JSON
        without roles, or with broken ones.
    """
    rows: list[RoleRow] = []
    items = [Path(source)] if isinstance(source, str | Path) else source if is_columnar(source) else list(source)
    if isinstance(items, list) and items and all(isinstance(each, Path) for each in items):
        for each in find_sources(items, ledger, is_any_kind=True):
            is_json = each.suffix in (".json", ".jsonl")
            rows += _from_json(list(read_table(each.path, ledger)), ledger, group) if is_json else _from_columns(each, ledger, group)
    else:
        rows = _from_json(list(read_table(items, ledger)), ledger, group)
    rows = [row for row in rows if row.texts[0].strip()]
    if not rows:
        raise DataError("E132", name=name_of(source))
    ledger.add("table", "sentences read", len(rows))
    ledger.add("table", "predicates read", sum(len(row.frames) for row in rows))
    return rows


def has_head_roles(path: str | Path) -> bool:
    """Whether a file with a tagger's ending holds roles at head words."""
    (source,) = find_sources([Path(path)], Ledger(), is_any_kind=True)
    sentences = (list(lines) for is_token, lines in groupby(islice(read_lines(source, Ledger()), 2000), _is_token) if is_token)
    return any(_predicate_column([line.rstrip("\n").split("\t") for line in lines]) is not None for lines in sentences)


def _is_token(line: str) -> bool:
    """Whether a line of columns stands for a word; "4-5" is a spelling of two words, and "8.1" a word that is not written."""
    return re.match(r"\d+\s", line) is not None


def _from_columns(source: Source, ledger: Ledger, group: str | None) -> Iterator[RoleRow]:
    owner = CommentGroup(group, source.name)
    lines: list[list[str]] = []
    first = 1
    for number, line in enumerate([*read_lines(source, ledger), ""], 1):
        cells = line.split("\t") if "\t" in line else line.split()
        if line.startswith("#"):
            owner.see(line)
        if re.fullmatch(r"\d+[-.]\d+", cells[0] if cells else ""):
            continue
        if line.strip() and not (line.startswith("#") and len(cells) < 3) and not line.startswith("# "):
            lines.append([cell.strip() for cell in cells])
        elif not line.strip():
            if lines:
                yield _sentence(lines, ledger, f"{source.name}, line {first}", owner.now())
            lines, first = [], number + 1


def _sentence(lines: list[list[str]], ledger: Ledger, where: str, group: str | None) -> RoleRow:
    width = min(map(len, lines))
    flags_at = _predicate_column(lines)
    if flags_at is not None:
        return _of_heads(lines, flags_at, ledger, where, group)
    token_at = 1 if width > 1 and all(cells[0].isdigit() for cells in lines) else 0
    columns = []
    for at in range(width - 1, token_at, -1):
        column = [cells[at] for cells in lines]
        if not all(_BRACKETS.fullmatch(cell) for cell in column):
            break
        columns.append(column)
    text, offsets = join_tokens([cells[token_at] for cells in lines])
    frames = []
    for column in reversed(columns):
        spans = _spans(column, offsets, where)
        verbs = [span for span in spans if span.label == "V"]
        if not verbs:
            ledger.add("table", "predicates whose place is not said, dropped", where=where)
            continue
        roles = untangled([span for span in spans if span.label not in ("V", "C-V")], ledger, where)
        frames.append(Frame(Span(verbs[0].start, verbs[0].stop, PREDICATE), roles))
    return RoleRow((text,), tuple(frames), where, group)


def _predicate_column(lines: Sequence[Sequence[str]]) -> int | None:
    """The column with a Y at each predicate, behind which its sense stands and a column of roles for each; None where there is none."""
    width = min(map(len, lines))
    for at in FLAG_COLUMNS:
        flags = [cells[at] for cells in lines] if at < width else []
        if "Y" in flags and set(flags) <= {"Y", "_"} and flags.count("Y") == width - at - 2:
            return at
    return None


def _of_heads(lines: list[list[str]], flags_at: int, ledger: Ledger, where: str, group: str | None) -> RoleRow:
    """A sentence whose roles stand at head words: the columns of roles are those of the predicates, in their order."""
    text, offsets = join_tokens([cells[1] for cells in lines])
    predicates = [place for place, cells in zip(offsets, lines, strict=True) if cells[flags_at] == "Y"]
    frames = []
    for number, predicate in enumerate(predicates):
        roles = [(place, cells[flags_at + 2 + number]) for place, cells in zip(offsets, lines, strict=True)]
        frames.append(Frame(Span(*predicate, PREDICATE), tuple(Span(*place, label) for place, label in roles if label != "_")))
    ledger.add("table", "sentences whose roles stand at head words", where=where)
    return RoleRow((text,), tuple(frames), where, group)


def _spans(column: Sequence[str], offsets: Sequence[tuple[int, int]], where: str) -> list[Span]:
    spans = []
    begun: list[tuple[int, str]] = []
    for number, cell in enumerate(column):
        match = _BRACKETS.fullmatch(cell)
        assert match is not None
        begun += [(number, label) for label in match[1].split("(")[1:]]
        for _close in match[2]:
            if not begun:
                raise DataError("E151", where=where, cell=cell)
            first, label = begun.pop()
            spans.append(Span(offsets[first][0], offsets[number][1], label))
    if begun:
        raise DataError("E151", where=where, cell=f"({begun[-1][1]}*")
    return spans


def _from_json(rows: Sequence[Any], ledger: Ledger, group: str | None) -> list[RoleRow]:
    found = []
    for row in rows:
        text, frames = row.fields.get("text"), row.fields.get("frames")
        if not isinstance(text, str) or not isinstance(frames, list | tuple):
            raise DataError("E144", where=row.where, columns=", ".join(map(str, row.fields)))
        kept = []
        for frame in frames:
            if not isinstance(frame, Mapping) or "predicate" not in frame:
                raise DataError("E145", where=row.where, item=repr(frame)[:60])
            start, stop = place_of(frame["predicate"], text, row.where)
            roles = [Span(*span_of(role, row.where)[:3]) for role in frame.get("roles") or ()]
            for role in roles:
                place_of((role.start, role.stop), text, row.where)
            kept.append(Frame(Span(start, stop, PREDICATE), untangled(roles, ledger, row.where)))
        found.append(RoleRow((text,), tuple(kept), row.where, group_of(row.fields, group, row.where)))
    return found


def place_of(item: Any, text: str, where: str) -> tuple[int, int]:
    """(start, stop) of a place in a text: a pair, a span, or {start, end}.

    Raises:
        DataError E145: it is none of these, or does not lie in the text.
    """
    if isinstance(item, Span):
        item = (item.start, item.stop)
    if isinstance(item, Mapping):
        item = (item.get("start"), item.get("end"))
    start, stop = item[:2] if isinstance(item, list | tuple) and len(item) >= 2 else (None, None)
    if not isinstance(start, int) or not isinstance(stop, int) or not 0 <= start < stop <= len(text):
        raise DataError("E145", where=where, item=repr(item)[:60])
    return start, stop
