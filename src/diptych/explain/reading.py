"""A text as the model reads it, with the way back: which characters each token stands for, and which tokens make one unit.

Everything in this room takes tokens away, never characters: a text that is decoded, cut and tokenized again is another text than
the one that the model was asked about.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.errors import UsageError
from diptych.messages import mark
from diptych.tasks.spans import encode_places
from diptych.tasks.windows import runs_of, shorten
from diptych.text.tokenizer import Tokenizer
from diptych.text.word_pieces import WordFinder
from diptych.text.words import sentences

UnitKind = Literal["words", "tokens", "sentences"]
Marked = Sequence[str | tuple[int, int]]
KINDS: dict[str, str] = {"words": mark("words"), "tokens": mark("tokens"), "sentences": mark("sentences")}


@dataclass(frozen=True)
class Reading:
    """Tokens of a text, or of several that are read together.

    Attributes:
        ids, types: int64 [T], as the network is given them.
        spans: for each token (part, start, stop), the characters of `texts[part]` that it stands for; None for a special token.
    """

    texts: tuple[str, ...]
    ids: np.ndarray
    types: np.ndarray
    spans: tuple[tuple[int, int, int] | None, ...]

    def tokens_of(self, part: int, start: int, stop: int) -> tuple[int, ...]:
        """The tokens that hold a character of a stretch."""
        found = ((place, span) for place, span in enumerate(self.spans) if span is not None)
        return tuple(place for place, (owner, first, last) in found if owner == part and first < stop and last > start)

    def only(self, places: Sequence[int]) -> "Reading":
        """Some of the tokens."""
        chosen = list(places)
        return Reading(self.texts, self.ids[chosen], self.types[chosen], tuple(self.spans[place] for place in chosen))


@dataclass(frozen=True)
class Unit:
    """What is taken away together: `texts[part][start:stop]`, and the places of its tokens."""

    part: int
    start: int
    stop: int
    tokens: tuple[int, ...]


def read_framed(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> Reading:
    """A text or a pair with the special tokens around it.

    Raises:
        UsageError E801: there is no text. E803: it has more tokens than the model reads at once.
    """
    encoded = encode_places(texts, tokenizer)
    # Numbers that no token has show where the special tokens were put.
    known = [(token, (part, *place)) for part, (ids, places) in enumerate(encoded) for token, place in zip(ids, places, strict=True)]
    sizes = [len(ids) for ids, _places in encoded]
    marks = [[-1 - sum(sizes[:part]) - number for number in range(size)] for part, size in enumerate(sizes)]
    framed, types = tokenizer.frame(*marks)
    ids = [known[-1 - each][0] if each < 0 else each for each in framed]
    spans = tuple(known[-1 - each][1] if each < 0 else None for each in framed)
    return checked(Reading(tuple(texts), np.asarray(ids, np.int64), np.asarray(types, np.int64), spans), limit)


def read_long(
    texts: Sequence[str], tokenizer: Tokenizer, limit: int, *, is_cut: bool = False
) -> tuple[Reading, tuple[tuple[int, ...], ...]]:
    """A text or a pair of any length, and the tokens of each window in which a classifier reads it; no window where it fits.

    Args:
        is_cut: whether the classifier reads the beginning alone, which is one window then.

    Raises:
        UsageError E801: there is no text.
    """
    reading = read_framed(texts, tokenizer, sys.maxsize)
    if len(reading.ids) <= limit:
        return reading, ()
    owners = [None if span is None else span[0] for span in reading.spans]
    parts = [[place for place, owner in enumerate(owners) if owner == part] for part in range(len(texts))]
    room = max(1, limit - owners.count(None))
    if is_cut:
        kept = [shorten(parts, room)]
    else:
        runs = runs_of([len(part) for part in parts], room)
        kept = [[part[first:stop] for part, (first, stop) in zip(parts, each, strict=True)] for each in runs]
    special = [place for place, owner in enumerate(owners) if owner is None]
    return reading, tuple(tuple(sorted([*special, *(place for part in each for place in part)])) for each in kept)


def checked(reading: Reading, limit: int) -> Reading:
    """`reading`, which has text and fits.

    Raises:
        UsageError E801: there is no text. E803: it has more tokens than the model reads at once.
    """
    if all(span is None for span in reading.spans):
        raise UsageError("E801")
    if len(reading.ids) > limit:
        raise UsageError("E803", length=len(reading.ids), limit=limit)
    return reading


def units_of(reading: Reading, kind: UnitKind | Marked) -> list[Unit]:
    """The units of a text, in its order.

    Args:
        kind: words (Chinese by its segmenter), tokens or sentences; or the stretches that count, each as text or as
            (first character, character after the last), all else staying where it is.

    Raises:
        UsageError E805: a marked stretch is not in the text, or two of them overlap. DataError E207: there is no segmenter.
    """
    if not isinstance(kind, str):
        return _marked(reading, kind)
    if kind not in KINDS:
        raise UsageError("E806", kind=kind, known=", ".join(KINDS))
    runs: list[list[int]] = []
    for part, text in enumerate(reading.texts):
        places = [place for place, span in enumerate(reading.spans) if span is not None and span[0] == part]
        offsets = [reading.spans[place][1:] for place in places]  # type: ignore[index]
        for place, is_inside in zip(places, _continues(text, offsets, kind), strict=True):
            _part, start, stop = reading.spans[place]  # type: ignore[misc]
            # A token without a character (a space of its own) goes with the unit before.
            if is_inside or (start >= stop and place != places[0]):
                runs[-1].append(place)
            else:
                runs.append([place])
    return [_unit(reading, run) for run in runs]


def _continues(text: str, offsets: Sequence[tuple[int, int]], kind: str) -> np.ndarray:
    """Whether each token belongs to the unit of the token before."""
    if kind == "words":
        return WordFinder().continues(text, offsets)
    if kind == "tokens":
        return np.zeros(len(offsets), dtype=bool)
    starts = [start for start, _stop in sentences(text)]
    owner = np.searchsorted(starts, [start for start, _stop in offsets], side="right")
    # What stands before the first sentence belongs to it.
    owner = np.maximum(owner, 1)
    return np.concatenate([[False], owner[1:] == owner[:-1]])[: len(offsets)]


def _marked(reading: Reading, stretches: Marked) -> list[Unit]:
    found = []
    for stretch in stretches:
        part, start, stop = find_stretch(reading, stretch)
        found.append(Unit(part, start, stop, reading.tokens_of(part, start, stop)))
    found.sort(key=lambda unit: unit.tokens)
    taken = [place for unit in found for place in unit.tokens]
    if not found or len(taken) != len(set(taken)):
        raise UsageError("E805", stretch=", ".join(map(str, stretches)))
    return found


def find_stretch(reading: Reading, stretch: str | tuple[int, int]) -> tuple[int, int, int]:
    """(part, start, stop) of a stretch, where it first occurs.

    Raises:
        UsageError E804: it is not in the text.
    """
    if isinstance(stretch, str):
        for part, text in enumerate(reading.texts):
            start = text.find(stretch)
            if stretch and start >= 0 and reading.tokens_of(part, start, start + len(stretch)):
                return part, start, start + len(stretch)
    else:
        start, stop = stretch
        if 0 <= start < stop <= len(reading.texts[-1]):
            return len(reading.texts) - 1, start, stop
    raise UsageError("E804", stretch=stretch)


def _unit(reading: Reading, tokens: Sequence[int]) -> Unit:
    spans = [span for place in tokens if (span := reading.spans[place]) is not None]
    found = [span for span in spans if span[1] < span[2]] or spans
    return Unit(found[0][0], min(span[1] for span in found), max(span[2] for span in found), tuple(tokens))
