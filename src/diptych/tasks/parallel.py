"""Texts and what is to be written from them: two files line by line, or a table of two columns.

`train.{en,de}` names two files by what differs in their names, packed (`.gz`) or not. Of a table the columns are guessed by
their usual names, and the guess is shown. Pairs that lack a side are dropped and counted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from diptych.config import nearest
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.files import TABLES, find_sources, read_lines
from diptych.text.tables import LANGUAGES, SOURCE_NAMES, TARGET_NAMES, Row, read_table

_PATTERN = re.compile(r"\{([^{},]+),([^{},]+)\}")


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A source, and what is to be written from it (None where it is not known)."""

    source: str
    target: str | None
    where: str
    group: str | None = None
    to: str = ""
    """The language that is written, where it has a name."""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def gold(self) -> str | None:
        return self.target

    @property
    def stratum(self) -> None:
        return None


@dataclass(frozen=True)
class Sides:
    """The two sides of some pairs, and what they are called."""

    pairs: list[Row]
    """Rows with the fields "source" and "target", and the group where there is one."""
    names: tuple[str, str]
    are_files: bool = False

    @property
    def languages(self) -> tuple[str, str] | None:
        """The names of the sides where they are languages."""
        return self.names if all(name.lower() in LANGUAGES for name in self.names) else None


def is_pattern(source: Any) -> bool:
    """Whether `source` names two files by what differs in their names: train.{en,de}."""
    return isinstance(source, str | Path) and _PATTERN.search(str(source)) is not None


def read_sides(source: Any, ledger: Ledger, *, columns: tuple[str | None, str | None] = (None, None), group: str | None = None) -> Sides:
    """The pairs of two files, or of a table.

    Raises:
        DataError E101: no such file. E155: the files differ in length. E132, E133, E156: the table is empty, a named column does not
        exist, or no two columns can be the sides.
    """
    files = _two_files(source)
    if files is not None:
        return _of_files(files, ledger)
    name = str(source) if isinstance(source, str | Path) else _("the table")
    rows = list(map(_flat, read_table(source, ledger)))
    if not rows:
        raise DataError("E132", name=name)
    if list(rows[0].fields) == ["text"] and all("\t" in str(row.fields["text"]) for row in rows[:100]):
        # A text file of pairs with a tab between them, with what it says of their origin behind another.
        rows = [Row(row.where, dict(zip(("source", "target"), f"{row.fields['text']}\t".split("\t"), strict=False))) for row in rows]
    names = _choose(rows, name, *columns)
    if group is not None and group not in rows[0].fields:
        raise DataError("E133", name=name, column=group, hint=nearest(group, rows[0].fields))
    fields = {"source": names[0], "target": names[1], **({"group": group} if group else {})}
    pairs = [Row(row.where, {key: row.fields.get(column) for key, column in fields.items()}) for row in rows]
    return Sides(pairs, names)


def complete(sides: Sides, ledger: Ledger) -> Iterator[tuple[str, str, str, str | None]]:
    """(source, target, where, group) of the pairs that have both sides."""
    for row in sides.pairs:
        source, target = _text(row.fields.get("source")), _text(row.fields.get("target"), first=True)
        if not source.strip() or not target.strip():
            ledger.add("pairs", "pairs that lack a side, dropped", total=len(sides.pairs), where=row.where)
            continue
        owner = row.fields.get("group")
        yield source.strip(), target.strip(), row.where, None if owner is None else str(owner)
    ledger.add("pairs", "pairs read", len(sides.pairs))


def _two_files(source: Any) -> tuple[Path, Path] | None:
    if is_pattern(source):
        found = _PATTERN.search(str(source))
        assert found is not None
        return tuple(_packed(Path(str(source).replace(found[0], side))) for side in found.groups())  # type: ignore[return-value]
    is_two = isinstance(source, list | tuple) and len(source) == 2 and all(isinstance(each, Path) for each in source)
    if is_two and not any(_suffix(path) in TABLES for path in source):
        return _packed(source[0]), _packed(source[1])
    return None


def _of_files(files: tuple[Path, Path], ledger: Ledger) -> Sides:
    readers = [read_lines(find_sources([path], ledger, is_any_kind=True)[0], ledger) for path in files]
    pairs, counts = [], [0, 0]
    for number, lines in enumerate(zip_longest(*readers), 1):
        for side, line in enumerate(lines):
            counts[side] += line is not None
        if None not in lines:
            where = _("{name}, line {number}").format(name=files[0].name, number=number)
            pairs.append(Row(where, {"source": lines[0].rstrip("\r\n"), "target": lines[1].rstrip("\r\n")}))
    if counts[0] != counts[1]:
        raise DataError("E155", first=files[0], second=files[1], lines=f"{counts[0]:,}", other=f"{counts[1]:,}")
    if not pairs:
        raise DataError("E132", name=files[0])
    names = [_suffix(path).lstrip(".") for path in files]
    return Sides(pairs, (names[0], names[1]) if names[0] != names[1] else ("source", "target"), are_files=True)


def _choose(rows: Sequence[Row], name: str, source: str | None, target: str | None) -> tuple[str, str]:
    """The columns of the two sides: those named, those with usual names, two languages, or the two that there are."""
    known = list(rows[0].fields)
    for column in (source, target):
        if column is not None and column not in known:
            raise DataError("E133", name=name, column=column, hint=nearest(column, known))
    languages = [column for column in known if column.strip().lower() in LANGUAGES]
    if source is None and target is None and len(languages) == 2:
        return languages[0], languages[1]
    target = target or _named(TARGET_NAMES, known, but=source)
    source = source or _named(SOURCE_NAMES, known, but=target)
    if (source is None or target is None) and len(known) == 2:
        rest = [column for column in known if column not in (source, target)]
        source = source or rest.pop(0)
        target = target or rest.pop(0)
    if source is None or target is None or source == target:
        raise DataError("E156", name=name, columns=", ".join(map(str, known)))
    return source, target


def _named(names: Iterable[str], columns: Sequence[str], *, but: str | None) -> str | None:
    lowered = {str(column).strip().lower(): column for column in columns if column != but}
    return next((lowered[name] for name in names if name in lowered), None)


def _flat(row: Row) -> Row:
    """A pair that is kept as one column of two, as translations are on the hub: {"translation": {"en": …, "de": …}}."""
    inner = next((value for value in row.fields.values() if isinstance(value, Mapping) and len(value) >= 2), None)
    return row if inner is None else Row(row.where, {**{str(key): value for key, value in inner.items()}})


def _text(value: Any, *, first: bool = False) -> str:
    """A cell as text; a list of sentences is joined, and of several targets the first is taken."""
    if isinstance(value, list | tuple):
        return str(value[0]) if first and value else " ".join(map(str, value))
    return "" if value is None or value != value else str(value)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _packed(path: Path) -> Path:
    """The file, or the packed one of its name where that alone is there."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if not path.exists() and packed.exists() else path
