"""Files that hold text: found in folders and archives, opened packed or plain, decoded in the encoding they are in."""

import codecs
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark

TEXT_SUFFIXES = (".txt", ".md", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
STAGE = mark("corpus")
READ_AS = {
    "gb18030": mark("files read as gb18030"),
    "big5": mark("files read as big5"),
    "utf-16": mark("files read as utf-16"),
    "utf-16-le": mark("files read as utf-16-le"),
    "utf-16-be": mark("files read as utf-16-be"),
}
"""What the ledger says of a file that is not UTF-8."""
SAMPLE_BYTES = 1 << 18
LONGEST_LINE = 1 << 22
"""A line longer than this many characters is given in parts, so that no file has to fit in memory."""
COMMON = frozenset(
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
    "這為來個們說國時會對後過學還當種將經發樣點開問間門無見長東車馬語話請讓誰認識"
    "，。！？、：；“”（）《》「」『』"
)
"""Characters that fill Chinese text in either script; a wrong decoding hits rare ones instead."""
FIRST_LEVEL = {"gb18030": ("gb2312", range(0xB0, 0xD8)), "big5": ("big5", range(0xA4, 0xC7))}
"""Where an encoding keeps the characters of daily use: (its oldest part, first bytes)."""
SHORT = 100
"""A text of fewer wide characters may well have none of the common ones."""
UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What opening or reading a damaged, locked or encrypted file raises."""


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
            return _archive(self.path, self.path.stat().st_mtime_ns).open(self.member)
        return gzip.open(self.path) if self.is_gzip else self.path.open("rb")  # type: ignore[return-value]


def find_sources(paths: Sequence[Path], ledger: Ledger, *, is_any_kind: bool = False) -> list[Source]:
    """The readable files below `paths`, each once, in the order of their names; the others are counted.

    Args:
        is_any_kind: take a file that is named whatever its ending: tagged text has no usual one.

    Raises:
        DataError E101: a path does not exist. E104: a file is of a kind that is not read. E110: an archive is damaged.
    """
    found: list[Source] = []
    seen: set[str] = set()
    for path in paths:
        if not path.exists():
            raise DataError("E101", path=path)
        is_named = not path.is_dir()
        for file in [path] if is_named else _files_below(path, ledger):
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                found += _sources_of(file, str(file), ledger, is_named=is_named, is_any_kind=is_any_kind)
    return found


def read_lines(source: Source, ledger: Ledger, encoding: str | None = None, *, longest: int | None = None) -> Iterator[str]:
    """The lines of a text file with their ends as \\n; a binary or empty file has none, and is counted.

    Undecodable bytes become U+FFFD and are counted.

    Args:
        longest: give a line of more characters in parts; None keeps every line whole, as a table needs it.
    """
    try:
        file = source.open()
    except UNREADABLE:
        ledger.add(STAGE, "files that cannot be opened, skipped", where=source.name)
        return
    with file:
        sample = _read(file, SAMPLE_BYTES, source, ledger)
        if not sample:
            ledger.add(STAGE, "files that are empty, skipped", where=source.name)
            return
        chosen = encoding or detect_encoding(sample)
        if chosen is None:
            ledger.add(STAGE, "files that hold no text, skipped", where=source.name)
            return
        if chosen not in ("utf-8", "utf-8-sig"):
            ledger.add(STAGE, READ_AS.get(chosen, mark("files read in the encoding that was named")), where=source.name)
        decoder = _Decoder(_with_order(chosen, sample))
        ends = io.IncrementalNewlineDecoder(None, translate=True)
        unfinished: list[str] = []
        size, block, is_start = 0, sample, True
        while True:
            text = ends.decode(decoder.decode(block, final=not block), final=not block)
            lines = (text.removeprefix("\ufeff") if is_start else text).split("\n")
            is_start = is_start and not text
            for line in lines[:-1]:
                yield "".join([*unfinished, line, "\n"])
                unfinished, size = [], 0
            unfinished.append(lines[-1])
            size += len(lines[-1])
            if longest and size > longest:
                yield "".join(unfinished)
                unfinished, size = [], 0
            if not block:
                break
            block = _read(file, 1 << 20, source, ledger)
        if size:
            yield "".join(unfinished)
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
        return _two_byte_encoding(sample)
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


def _two_byte_encoding(sample: bytes) -> str | None:
    """UTF-16 without a mark: Latin text has zero bytes on one side of its pairs, Chinese text the common characters."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for name, here, there in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        text = _Decoder(name).decode(sample)
        is_latin = here > 4 * (there + 1)
        if (is_latin or (_commonness(sample, name) > 0.05 and _chinese(text) > 0.9)) and _printable(text) > 0.9:
            return name
    return None


def _with_order(encoding: str, sample: bytes) -> str:
    """UTF-16 that was named but has no mark says nothing of the order of its bytes."""
    if encoding.lower().replace("_", "-") not in ("utf-16", "utf16") or sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return encoding
    return _two_byte_encoding(sample) or "utf-16-le"


def _commonness(sample: bytes, encoding: str) -> float:
    """The share of common characters among the wide ones, less what cannot be decoded."""
    decoder = _Decoder(encoding)
    wide = [character for character in decoder.decode(sample) if character > "\x7f"]
    if not wide:
        return 0.0
    common = float(sum(character in COMMON for character in wide))
    if len(wide) < SHORT and encoding in FIRST_LEVEL:
        oldest, first_bytes = FIRST_LEVEL[encoding]
        common += sum((character.encode(oldest, "ignore") or b"\0")[0] in first_bytes for character in wide) / 4
    return (common - 2 * decoder.num_bad) / len(wide)


def _chinese(text: str) -> float:
    """The share of Chinese characters and punctuation and of ASCII."""
    usual = sum(character <= "\x7f" or "\u3000" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef" for character in text)
    return usual / max(1, len(text))


def _printable(text: str) -> float:
    """The share of characters that can be seen and were not replaced."""
    good = sum(character != "\ufffd" and (character.isprintable() or character in "\n\r\t\f") for character in text)
    return good / max(1, len(text))


def has_halves(text: str) -> bool:
    """Whether a text holds halves of characters (lone surrogates), which a cut \\ud83d in JSON leaves and no file can hold."""
    return _HALF.search(text) is not None


def whole(text: str, ledger: Ledger | None = None, where: str | None = None) -> str:
    """`text` with each half of a character replaced by U+FFFD and counted."""
    text, count = _HALF.subn("\ufffd", text)
    if count and ledger is not None:
        ledger.add(STAGE, "halves of characters, replaced", count, where=where)
    return text


class _Decoder:
    """An incremental decoder that replaces what is not valid and counts it."""

    def __init__(self, encoding: str) -> None:
        self.num_bad = 0
        try:
            self._decoder = codecs.getincrementaldecoder(encoding)(errors="diptych-mark")
        except LookupError:
            raise DataError("E105", encoding=encoding) from None

    def decode(self, block: bytes, *, final: bool = False) -> str:
        text = self._decoder.decode(block, final)
        num_first = text.count(_BAD)
        if not num_first:
            return text
        self.num_bad += num_first + text.count(_MORE)
        return text.replace(_MORE, "").replace(_BAD, "\ufffd")


_BAD, _MORE = "\udffe", "\udfff"
"""Stand for the first and each further byte of what is not valid; no strict decoder gives them."""


def _mark_bad(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _BAD + _MORE * (error.end - error.start - 1), error.end


codecs.register_error("diptych-mark", _mark_bad)
_HALF = re.compile("[\ud800-\udfff]")


@lru_cache(maxsize=1)
def _archive(path: Path, _changed_ns: int) -> zipfile.ZipFile:
    """An archive stays open while its members are read, since opening one reads the names of all."""
    return zipfile.ZipFile(path)


def _files_below(folder: Path, ledger: Ledger) -> list[Path]:
    """The files in a folder and in those below it; links are followed, but for those that lead in a circle."""
    found: list[Path] = []
    seen: set[str] = set()

    def report(error: OSError) -> None:
        ledger.add(STAGE, "folders that cannot be opened, skipped", where=str(error.filename))

    for root, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _sources_of(path: Path, name: str, ledger: Ledger, *, is_named: bool, is_any_kind: bool = False) -> list[Source]:
    lowered = path.name.lower()
    is_gzip = lowered.endswith(".gz")
    suffix = Path(lowered.removesuffix(".gz")).suffix
    if not path.is_file():
        ledger.add(STAGE, "files that cannot be opened, skipped", where=name)
        return []
    if suffix == ".zip":
        return _members(path, name, ledger, is_named=is_named)
    if suffix in TEXT_SUFFIXES or (is_named and is_any_kind):
        return [Source(path, name, suffix, is_gzip=is_gzip)]
    if is_named:
        raise DataError("E104", path=path, kinds=" ".join(TEXT_SUFFIXES))
    ledger.add(STAGE, "files of a kind that is not read, skipped", where=name)
    return []


def _members(path: Path, name: str, ledger: Ledger, *, is_named: bool) -> list[Source]:
    """The text files in an archive; their names are labels, never paths on the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
    except UNREADABLE as error:
        if is_named:
            raise DataError("E110", path=name, problem=error) from None
        ledger.add(STAGE, "archives that are damaged, skipped", where=name)
        return []
    sources = []
    for member in sorted(members):
        if any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in member.split("/")):
            continue
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
    except UNREADABLE:
        ledger.add(STAGE, "packed files that are damaged, read as far as they go", where=source.name)
        return b""
