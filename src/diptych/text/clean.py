"""Tidying a text before it is cut into tokens: one way to write each character, and nothing that nobody sees.

Emoji keep their joiners, Chinese its full-width punctuation, code its indentation. Everything that is dropped is counted.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import ne
from typing import Literal

from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.corpus import Document

STAGE = mark("cleaning")
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff\u00ad\u180e\u202a-\u202e\u2066-\u2069]")
# A joiner stays after an emoji or its modifiers and inside words of scripts that need it (Indic, Persian).
_LOOSE_JOINER = re.compile("(?<![\u0600-\u0dff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\xa0\u00ad\u180e\u2000-\u200d\u2028-\u202f\u205f\u2060\u2066-\u2069\ufeff]")
"""Every character that one of the patterns here looks for, but for plain spaces and line ends."""
_WIDE_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")


@dataclass(frozen=True)
class Cleaning:
    """What is done to a text."""

    normalize: Literal["NFC", "NFKC"] | None = "NFC"
    control: bool = True
    """Drop control characters; \\r\\n and every other way to end a line or a page becomes \\n."""
    zero_width: bool = True
    """Drop characters without a width, but for the joiners of emoji and of scripts that need them."""
    white_space: bool = True
    """Drop spaces at the ends of lines and more than one empty line; odd spaces become plain ones."""
    repeated_lines: int = 3
    """Keep at most this many equal lines in a row; 0 keeps all."""
    min_chars: int = 1
    """Drop shorter documents."""


def clean_text(text: str, cleaning: Cleaning, ledger: Ledger, where: str | None = None) -> str:
    """`text` tidied; the ledger counts what was dropped."""
    if cleaning.normalize and not unicodedata.is_normalized(cleaning.normalize, text):
        text = unicodedata.normalize(cleaning.normalize, text)
        ledger.add(STAGE, "documents with characters written another way, normalized", where=where)
    # Most texts hold nothing of what follows: one look instead of six.
    if _ODD.search(text):
        text = _without_odd(text, cleaning, ledger, where)
    if cleaning.white_space:
        text = _EMPTY_LINES.sub("\n\n", "\n".join(map(str.rstrip, text.split("\n")))).strip()
    if cleaning.repeated_lines:
        text = _without_repeats(text, cleaning.repeated_lines, ledger, where)
    return text


def _without_odd(text: str, cleaning: Cleaning, ledger: Ledger, where: str | None) -> str:
    """`text` without control characters, odd line ends and spaces, and characters without a width, as far as `cleaning` asks."""
    if cleaning.control:
        text = _BREAKS.sub("\n", text)
        text = _drop(_CONTROL, text, mark("control characters dropped"), ledger, where)
    if cleaning.zero_width:
        text = _drop(_ZERO_WIDTH, text, mark("characters without a width dropped"), ledger, where)
        text = _drop(_LOOSE_JOINER, text, mark("characters without a width dropped"), ledger, where)
    if cleaning.normalize:
        # What stood apart may meet now: a letter and its accent.
        text = unicodedata.normalize(cleaning.normalize, text)
    return _WIDE_SPACES.sub(" ", text) if cleaning.white_space else text


def clean(documents: Iterable[Document], cleaning: Cleaning, ledger: Ledger) -> Iterator[Document]:
    """Each document tidied; those that are empty or too short afterwards are dropped and counted."""
    for document in documents:
        text = clean_text(document.text, cleaning, ledger, document.where)
        if len(text.strip()) < cleaning.min_chars:
            ledger.add(STAGE, "documents dropped because they are empty or too short", where=document.where)
            continue
        yield document if text == document.text else Document(text, document.where, document.fields)


def _drop(pattern: re.Pattern[str], text: str, what: str, ledger: Ledger, where: str | None) -> str:
    cleaned, count = pattern.subn("", text)
    if count:
        ledger.add(STAGE, what, count, where=where)
    return cleaned


def _without_repeats(text: str, most: int, ledger: Ledger, where: str | None) -> str:
    """At most `most` equal lines in a row; empty lines are left to the white space."""
    lines = text.split("\n")
    if all(map(ne, lines, islice(lines, 1, None))):
        return text
    kept: list[str] = []
    run = 0
    for line in lines:
        run = run + 1 if kept and line == kept[-1] else 1
        if run <= most or not line.strip():
            kept.append(line)
    if len(kept) < len(lines):
        ledger.add(STAGE, "repeated lines dropped", len(lines) - len(kept), where=where)
    return "\n".join(kept)
