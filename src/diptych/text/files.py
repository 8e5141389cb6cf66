"""Files that hold text: found in folders and archives, opened packed or plain, decoded in the encoding they are in."""

import codecs
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diptych.errors import DataError
from diptych.ledger import Ledger

TEXT_SUFFIXES = (".txt", ".md", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
STAGE = "corpus"
SAMPLE_BYTES = 1 << 18
LONGEST_LINE = 1 << 22
"""A line longer than this many characters is given in parts, so that no file has to fit in memory."""
COMMON = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
    "這為來個們說國時會對後過學還當種將經發樣點開問間門無見長東車馬語話請讓誰認識"
    "，。！？、：；“”（）《》「」『』"
)
"""Characters that fill Chinese text in either script; a wrong decoding hits rare ones instead."""


@dataclass(frozen=True)
class Source:
    """One file, or one member of a zip archive."""

    path: Path
    name: str
    """How to call it in messages: its path as the user gave it, with the member behind a `!`."""
    suffix: str
    member: str | None = None
    is_gzip: bool = False

    @property
    def is_table(self) -> bool:
        return self.suffix in TABLES

    def open(self) -> IO[bytes]:
        """Its bytes, unpacked."""
        if self.member is not None:
            return zipfile.ZipFile(self.path).open(self.member)
        return gzip.open(self.path) if self.is_gzip else self.path.open("rb")  # type: ignore[return-value]


def find_sources(paths: Sequence[Path], ledger: Ledger) -> list[Source]:
    """The readable files below `paths`, in the order of their names; the others are counted.

    Raises:
        DataError E101: a path does not exist. E104: a file is of a kind that is not read.
    """
    found: list[Source] = []
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                    found += _sources_of(file, str(file), ledger, is_named=False)
        elif path.is_file():
            found += _sources_of(path, str(path), ledger, is_named=True)
        else:
            raise DataError("E101", path=path)
    return found


def read_lines(source: Source, ledger: Ledger, encoding: str | None = None) -> Iterator[str]:
    """The lines of a text file with their ends as \\n; a binary file has none, and is counted.

    Undecodable bytes become U+FFFD and are counted.
    """
    with source.open() as file:
        sample = _read(file, SAMPLE_BYTES, source, ledger)
        chosen = encoding or detect_encoding(sample)
        if chosen is None:
            ledger.add(STAGE, "files that hold no text, skipped", where=source.name)
            return
        if chosen not in ("utf-8", "utf-8-sig"):
            ledger.add(STAGE, f"files read as {chosen}", where=source.name)
        decoder = _Decoder(chosen)
        rest = ""
        block = sample
        while block:
            text = rest + decoder.decode(block)
            is_cut = text.endswith("\r")
            lines = (text[:-1] if is_cut else text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
            rest = lines.pop() + ("\r" if is_cut else "")
            for line in lines:
                yield line + "\n"
            if len(rest) > LONGEST_LINE:
                yield rest
                rest = ""
            block = _read(file, 1 << 20, source, ledger)
        rest += decoder.decode(b"", final=True)
        if rest:
            yield rest.replace("\r\n", "\n").replace("\r", "\n")
        if decoder.num_bad:
            ledger.add(STAGE, "bytes that were not valid text, replaced", decoder.num_bad, where=source.name)


def detect_encoding(sample: bytes) -> str | None:
    """The encoding of the beginning of a file: UTF-8, UTF-16, GB18030 or Big5; None for what is not text.

    UTF-8 that is damaged in places stays UTF-8. Between the Chinese encodings, which accept nearly any bytes, the one whose
    characters are the common ones wins.
    """
    for bom, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if sample.startswith(bom):
            return name
    if b"\0" in sample:
        return _wide_encoding(sample)
    utf8 = _Decoder("utf-8")
    text = utf8.decode(sample)
    if utf8.num_bad == 0:
        return "utf-8"
    num_wide = sum(character > "\x7f" for character in text)
    if utf8.num_bad * 10 <= num_wide - utf8.num_bad:
        return "utf-8"
    scores = {name: _commonness(sample, name) for name in ("gb18030", "big5")}
    best = max(scores, key=scores.__getitem__)
    if scores[best] > 0.05:
        return best
    return "utf-8" if _printable(text) > 0.7 else None


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 without a mark has zero bytes on one side of its pairs."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for name, here, there in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if here > 4 * (there + 1) and _printable(sample.decode(name, "replace")) > 0.9:
            return name
    return None


def _commonness(sample: bytes, encoding: str) -> float:
    """The share of common characters among the wide ones, less what cannot be decoded."""
    decoder = _Decoder(encoding)
    wide = [character for character in decoder.decode(sample) if character > "\x7f"]
    if not wide:
        return 0.0
    return (sum(character in COMMON for character in wide) - 2 * decoder.num_bad) / len(wide)


def _printable(text: str) -> float:
    good = sum(character.isprintable() or character in "\n\r\t\f" for character in text)
    return good / max(1, len(text))


class _Decoder:
    """An incremental decoder that replaces what is not valid and counts it."""

    def __init__(self, encoding: str) -> None:
        self.num_bad = 0
        try:
            self._decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
        except LookupError:
            raise DataError("E105", encoding=encoding) from None
        self._pending = b""

    def decode(self, block: bytes, *, final: bool = False) -> str:
        parts = []
        block = self._pending + block
        self._pending = b""
        while True:
            state = self._decoder.getstate()
            try:
                parts.append(self._decoder.decode(block, final))
                return "".join(parts)
            except UnicodeDecodeError as error:
                # The decoder may hold bytes of its own before this block, so positions count from those.
                whole = state[0] + block
                self._decoder.reset()
                self._decoder.setstate((b"", state[1]))
                good = whole[: error.start]
                if good:
                    parts.append(self._decoder.decode(good))
                parts.append("\ufffd")
                self.num_bad += max(1, error.end - error.start)
                block = whole[max(error.end, error.start + 1) :]
                if not block:
                    return "".join(parts)


def _sources_of(path: Path, name: str, ledger: Ledger, *, is_named: bool) -> list[Source]:
    lowered = path.name.lower()
    is_gzip = lowered.endswith(".gz")
    suffix = Path(lowered.removesuffix(".gz")).suffix
    if suffix == ".zip":
        return _members(path, name, ledger)
    if suffix in TEXT_SUFFIXES:
        return [Source(path, name, suffix, is_gzip=is_gzip)]
    if is_named:
        raise DataError("E104", path=path, kinds=" ".join(TEXT_SUFFIXES))
    ledger.add(STAGE, "files of a kind that is not read, skipped", where=name)
    return []


def _members(path: Path, name: str, ledger: Ledger) -> list[Source]:
    """The text files in an archive; their names are labels, never paths on the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError):
        ledger.add(STAGE, "archives that are damaged, skipped", where=name)
        return []
    sources = []
    for member in sorted(members):
        suffix = Path(member.lower()).suffix
        if suffix in TEXT_SUFFIXES:
            sources.append(Source(path, f"{name}!{member}", suffix, member=member))
        else:
            ledger.add(STAGE, "files of a kind that is not read, skipped", where=f"{name}!{member}")
    return sources


def _read(file: IO[bytes], size: int, source: Source, ledger: Ledger) -> bytes:
    """The next bytes of a file; a packed one that ends too early is counted and read as far as it goes."""
    try:
        return file.read(size)
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, io.UnsupportedOperation):
        ledger.add(STAGE, "packed files that are damaged, read as far as they go", where=source.name)
        return b""
