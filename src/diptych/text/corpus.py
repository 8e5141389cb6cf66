"""A corpus: documents from files, folders, patterns, archives or Python, in whatever encoding they are.

It is read as a stream, so a corpus may be larger than memory, and it can be read again. A byte that cannot be read is
counted, never fatal, never silent.
"""

import glob
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.text.files import LONGEST_LINE, TEXT_SUFFIXES, UNREADABLE, Source, find_sources, read_lines, whole
from diptych.text.tables import Row, guess_text_column, read_table, row_of, rows_of

SECTION_CHARS = 65_536
FEWEST_TO_SPLIT = 5
"""Of fewer documents none is held out: they are too few to learn from as it is."""
SAMPLE_ROWS = 100
"""So many rows are looked at to guess what they hold."""
STAGE = mark("corpus")
Moment = tuple[tuple[int, float, str], ...]
"""When something was, so that times can be compared, whether they are numbers or text."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text, where it was found, and what else stood beside it."""

    text: str
    where: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> int:
        """64 bits of the text as people see it: NFC, white space folded. Two files with the same words have the same one."""
        return fingerprint(self.text)


class Corpus:
    """Documents from a source, read as often as one likes.

    Args:
        source: a path, a folder, a glob pattern, a list of those, or an iterable of strings or of dictionaries, or a data frame.
        text: the column of a table, or the key of a JSON object, that holds the text; guessed where it is not named.
        encoding: read every file in this encoding instead of detecting it.
        group: a column whose groups stay on one side of `split`.
        time: a column by which `split` holds out the latest documents.
        section_chars: a longer text file is read as sections, cut at the next empty line, or at the end of a line where
            none comes before twice as many characters.

    Attributes:
        ledger: what the last complete pass read and could not read.
        text_column: the column that was named or guessed, for tables.

    Raises:
        DataError E101, E102: there is no such file, or no text in it. E107: this object holds no texts.
    """

    def __init__(
        self,
        source: Any,
        *,
        text: str | None = None,
        encoding: str | None = None,
        group: str | None = None,
        time: str | None = None,
        section_chars: int = SECTION_CHARS,
    ) -> None:
        self.text_column, self.encoding, self.group, self.time = text, encoding, group, time
        self._named_column = text
        self.section_chars = section_chars
        self.ledger = Ledger()
        self._items: list[Any] | None = None
        self._sources: list[Source] = []
        paths = _as_paths(source)
        if paths is None:
            is_plain = hasattr(source, "__iter__") and not hasattr(source, "columns") and not isinstance(source, Mapping | bytes)
            self._items = list(source) if is_plain else [row.fields for row in read_table(source)]
        else:
            skipped = Ledger()
            self._sources = find_sources(paths, skipped)
            self._skipped = skipped
            if not self._sources:
                raise DataError("E102", path=", ".join(map(str, paths)), kinds=" ".join(TEXT_SUFFIXES))

    def __iter__(self) -> Iterator[Document]:
        ledger = Ledger()
        if self._items is not None:
            documents = self._from_items(self._items, ledger)
        else:
            ledger.merge(self._skipped)
            documents = self._from_files(ledger)
        count = 0
        for document in documents:
            count += 1
            yield document
        ledger.add(STAGE, "documents read", count)
        self.ledger = ledger

    def fingerprint(self) -> str:
        """A digest of names and contents: the same for the same corpus, another when anything in it changed."""
        digest = hashlib.blake2b(digest_size=16)
        if self._items is not None:
            for item in self._items:
                digest.update(repr(item).encode("utf-8", "surrogatepass") + b"\0")
        for source in self._sources:
            digest.update(source.name.encode("utf-8", "surrogatepass") + b"\0")
            with suppress(*UNREADABLE), source.open() as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        digest.update(repr((self._named_column, self.encoding, self.section_chars)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def split(self, held_out: float = 0.05) -> tuple["View", "View"]:
        """(training, held out): a document never moves from one to the other, however the corpus grows.

        By fingerprint, by the hash of its `group`, or by `time`, where documents of one time stay together. With fewer than
        five different ones nothing is held out. Where the share would leave a side of a small corpus empty, the one with
        the smallest fingerprint is held out, or the one with the largest trained on; that one may move when others come.

        Raises:
            DataError E103: a document has no such column as `group` or `time`.
        """
        if held_out <= 0:
            return View(self, lambda document: True), View(self, lambda document: False)
        if self.time is not None:
            border = self._latest(held_out)
            return (
                View(self, lambda document: border is None or self._moment(document) < border),
                View(self, lambda document: border is not None and self._moment(document) >= border),
            )
        few: set[int] = set()
        smallest, largest = 2**64, 0
        for document in self:
            key = self._key(document)
            smallest, largest = min(smallest, key), max(largest, key)
            if len(few) < FEWEST_TO_SPLIT:
                few.add(key)
        threshold = 0
        if len(few) == FEWEST_TO_SPLIT:
            threshold = min(max(int(held_out * 2**64), smallest + 1), largest)
        return (
            View(self, lambda document: self._key(document) >= threshold),
            View(self, lambda document: self._key(document) < threshold),
        )

    def _key(self, document: Document) -> int:
        owner = None if self.group is None else self._field(document, self.group)
        return fingerprint(str(owner)) if _text(owner).strip() else document.fingerprint

    def _latest(self, share: float) -> "Moment | None":
        """The time from which on documents are held out; None where they are too few, or all of one time."""
        times = sorted(self._moment(document) for document in self)
        if len(times) < FEWEST_TO_SPLIT:
            return None
        border = times[min(len(times) - 1, int(len(times) * (1 - share)))]
        return border if border > times[0] else next((time for time in times if time > border), None)

    def _moment(self, document: Document) -> "Moment":
        assert self.time is not None
        text = _text(self._field(document, self.time)).strip()
        if not text:
            return ()
        with suppress(ValueError):
            return ((0, float(text), ""),)
        # 2024/1/9 comes before 2024/1/10.
        parts = re.findall(r"\d+|\D+", text)
        return ((1, 0.0, ""), *((0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in parts))

    def _field(self, document: Document, column: str) -> Any:
        if column not in document.fields:
            columns = ", ".join(map(str, document.fields)) or _("none")
            raise DataError("E103", where=document.where, column=column, columns=columns)
        return document.fields[column]

    def _from_items(self, items: list[Any], ledger: Ledger) -> Iterator[Document]:
        sample = [item for item in items[:SAMPLE_ROWS] if isinstance(item, Mapping)]
        for number, item in enumerate(items, 1):
            where = _("item {number}").format(number=number)
            if isinstance(item, Document):
                yield item
            elif item is None or isinstance(item, str | int | float):
                yield Document(whole(_text(item), ledger, where), where)
            else:
                row = row_of(item, where, ledger)
                yield self._from_row(row, sample or [row.fields])

    def _from_files(self, ledger: Ledger) -> Iterator[Document]:
        for source in self._sources:
            if source.is_table:
                rows = rows_of(source, ledger, self.encoding)
                head = list(islice(rows, SAMPLE_ROWS))
                sample = [row.fields for row in head]
                for row in chain(head, rows):
                    yield self._from_row(row, sample)
            else:
                yield from self._sections(source, ledger)

    def _from_row(self, row: Row, sample: list[Mapping[str, Any]]) -> Document:
        """The text of a row; which column holds it is guessed for each table anew, from its first rows."""
        self.text_column = self._named_column or guess_text_column(sample, row.where)
        if self.text_column not in row.fields:
            names = ", ".join(map(str, row.fields))
            raise DataError("E103", where=row.where, column=self.text_column, columns=names)
        return Document(_text(row.fields[self.text_column]), row.where, row.fields)

    def _sections(self, source: Source, ledger: Ledger) -> Iterator[Document]:
        """A text file as one document, or as several where it is long."""
        lines: list[str] = []
        size, number = 0, 0
        for line in read_lines(source, ledger, self.encoding, longest=LONGEST_LINE):
            is_long = size + len(line) > self.section_chars
            if lines and is_long and (not line.strip() or size + len(line) > 2 * self.section_chars):
                number += 1
                yield Document("".join(lines), f"{source.name}#{number}")
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            yield Document("".join(lines), f"{source.name}#{number + 1}" if number else source.name)
        if number:
            ledger.add(STAGE, "long files read as sections", where=source.name)


class View:
    """The documents of a corpus that fulfil a condition, read as often as one likes."""

    def __init__(self, corpus: Corpus, accepts: Any) -> None:
        self.corpus = corpus
        self._accepts = accepts

    def __iter__(self) -> Iterator[Document]:
        return (document for document in self.corpus if self._accepts(document))


def fingerprint(text: str) -> int:
    """64 bits of a text as people see it: NFC, with white space folded."""
    folded = " ".join(unicodedata.normalize("NFC", text).split())
    return int.from_bytes(hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _text(value: Any) -> str:
    """A cell as text; None and NaN are none."""
    return "" if value is None or (isinstance(value, float) and value != value) else str(value)


def _as_paths(source: Any) -> list[Path] | None:
    """The files that `source` names, or None where it holds texts.

    A list of strings is one of files where most look like it, so that one that is not there is missed, not learnt by heart.
    """
    if isinstance(source, str | Path):
        return _expand(str(source))
    if not isinstance(source, list | tuple) or not all(isinstance(item, str | Path) for item in source):
        return None
    head = source[:SAMPLE_ROWS]
    num_paths = sum(isinstance(item, Path) or _looks_like_path(item) for item in head)
    if any(isinstance(item, Path) for item in head) or 2 * num_paths >= max(1, len(head)):
        return [path for item in source for path in _expand(str(item))]
    return None


def _looks_like_path(text: str) -> bool:
    if len(text) > 500 or "\n" in text or not text.strip():
        return False
    if text.endswith("/") or text.lower().endswith((*TEXT_SUFFIXES, ".gz", ".zip")):
        return True
    try:
        return Path(text).exists() or (any(sign in text for sign in "*?[") and bool(glob.glob(text, recursive=True)))
    except (OSError, ValueError):
        return False


def _expand(name: str) -> list[Path]:
    """The paths that a name or a pattern stands for."""
    try:
        if Path(name).exists():
            return [Path(name)]
        found = [Path(path) for path in sorted(glob.glob(name, recursive=True))]
    except (OSError, ValueError):
        found = []
    if not found:
        raise DataError("E101", path=name if len(name) < 200 else name[:200] + "…")
    return found


__all__ = ["Corpus", "Document", "Row", "View", "fingerprint", "read_table"]
