"""A corpus: documents from files, folders, patterns, archives or Python, in whatever encoding they are.

It is read as a stream, so a corpus may be larger than memory, and it can be read again. A byte that cannot be read is
counted, never fatal, never silent.
"""

import glob
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.text.files import TEXT_SUFFIXES, Source, find_sources, read_lines
from diptych.text.tables import Row, guess_text_column, read_table, rows_of

SECTION_CHARS = 65_536
FEWEST_TO_SPLIT = 5
"""Of fewer documents none is held out: they are too few to learn from as it is."""
STAGE = "corpus"


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
        source: a path, a folder, a glob pattern, a list of those, or an iterable of strings or of dictionaries.
        text: the column of a table, or the key of a JSON object, that holds the text; guessed where it is not named.
        encoding: read every file in this encoding instead of detecting it.
        group: a column whose groups stay on one side of `split`.
        time: a column by which `split` holds out the latest documents.
        section_chars: a longer text file is read as sections, cut at an empty line or at the end of a line.

    Attributes:
        ledger: what the last complete pass read and could not read.
        text_column: the column that was named or guessed, for tables.

    Raises:
        DataError E101, E102: there is no such file, or no text in it.
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
        self.section_chars = section_chars
        self.ledger = Ledger()
        self._items: list[Any] | None = None
        self._sources: list[Source] = []
        paths = _as_paths(source)
        if paths is None:
            self._items = list(source)
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
            with source.open() as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        digest.update(repr((self.text_column, self.encoding, self.section_chars)).encode())
        return digest.hexdigest()

    def split(self, held_out: float = 0.05) -> tuple["View", "View"]:
        """(training, held out): a document never moves from one to the other, however the corpus grows.

        By fingerprint, by the hash of its `group`, or by `time`. Where the share would hold out nothing and there are at
        least five different documents, the one with the smallest fingerprint is held out; with fewer nothing is.
        """
        if held_out <= 0:
            return View(self, lambda document: True), View(self, lambda document: False)
        if self.time is not None:
            times = sorted(str(document.fields.get(self.time) or "") for document in self)
            border = times[min(len(times) - 1, int(len(times) * (1 - held_out)))] if times else ""
            column = self.time
            return (
                View(self, lambda document: str(document.fields.get(column) or "") < border),
                View(self, lambda document: str(document.fields.get(column) or "") >= border),
            )
        threshold = int(held_out * 2**64)
        keys = {self._key(document) for document in self}
        if len(keys) < FEWEST_TO_SPLIT:
            threshold = 0
        elif min(keys) >= threshold:
            threshold = min(keys) + 1
        return (
            View(self, lambda document: self._key(document) >= threshold),
            View(self, lambda document: self._key(document) < threshold),
        )

    def _key(self, document: Document) -> int:
        if self.group is None:
            return document.fingerprint
        return fingerprint(str(document.fields.get(self.group)))

    def _from_items(self, items: Iterable[Any], ledger: Ledger) -> Iterator[Document]:
        for number, item in enumerate(items, 1):
            where = f"item {number}"
            if isinstance(item, Document):
                yield item
            elif isinstance(item, Mapping):
                yield from self._from_row(Row(where, item), [item])
            else:
                yield Document(str(item), where)

    def _from_files(self, ledger: Ledger) -> Iterator[Document]:
        for source in self._sources:
            if source.is_table:
                rows = rows_of(source, ledger, self.encoding)
                sample: list[Row] = []
                for row in rows:
                    sample.append(row)
                    if len(sample) == 100:
                        break
                for row in sample:
                    yield from self._from_row(row, [each.fields for each in sample])
                for row in rows:
                    yield from self._from_row(row, [row.fields])
            else:
                yield from self._sections(source, ledger)

    def _from_row(self, row: Row, sample: list[Mapping[str, Any]]) -> Iterator[Document]:
        if self.text_column is None:
            self.text_column = guess_text_column(sample, row.where)
        if self.text_column not in row.fields:
            names = ", ".join(map(str, row.fields))
            raise DataError("E103", where=row.where, column=self.text_column, columns=names)
        value = row.fields[self.text_column]
        yield Document("" if value is None else str(value), row.where, row.fields)

    def _sections(self, source: Source, ledger: Ledger) -> Iterator[Document]:
        """A text file as one document, or as several where it is long."""
        lines: list[str] = []
        size, number = 0, 0
        for line in read_lines(source, ledger, self.encoding):
            is_break = not line.strip() or size > 2 * self.section_chars
            if size + len(line) > self.section_chars and lines and (is_break or size > self.section_chars):
                number += 1
                yield Document("".join(lines), f"{source.name}#{number}")
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if number == 0:
            yield Document("".join(lines), source.name)
        elif lines:
            yield Document("".join(lines), f"{source.name}#{number + 1}")
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


def _as_paths(source: Any) -> list[Path] | None:
    """The files that `source` names, or None where it holds texts."""
    if isinstance(source, Path):
        return _expand(str(source))
    if isinstance(source, str):
        return _expand(source)
    if not isinstance(source, list | tuple) or not source:
        return None
    if all(isinstance(item, Path) or (isinstance(item, str) and _looks_like_path(item)) for item in source):
        return [path for item in source for path in _expand(str(item))]
    return None


def _looks_like_path(text: str) -> bool:
    if len(text) > 500 or "\n" in text or not text.strip():
        return False
    try:
        return Path(text).exists() or (any(mark in text for mark in "*?[") and bool(glob.glob(text, recursive=True)))
    except OSError:
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
