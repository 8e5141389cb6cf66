"""Marked stretches of a text: their schemes, and the way from characters to tokens and back.

Everything outside the model speaks of character offsets into the original text, ends exclusive, as Python slices. The model
chooses for each token among O, B-x and I-x; what it may choose after what is part of the choice (`best_path`).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import DataError
from diptych.text.tokenizer import Tokenizer

OUTSIDE = "O"
BARE_LABEL = "word"
"""What is marked by tags without a label, as in word segmentation."""
_BEGINS, _SINGLE = ("B",), ("S", "U")
_GOES_ON = ("I", "M", "E", "L")
JOINER = "\u200d"
"""Stands between the parts of one emoji."""


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:stop]` is a `label`."""

    start: int
    stop: int
    label: str
    probability: float = 1.0

    @property
    def key(self) -> tuple[int, int, str]:
        return self.start, self.stop, self.label

    def to_json(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.stop, "label": self.label, "probability": round(self.probability, 6)}


def spans_of_tags(tags: Sequence[str], where: str) -> list[tuple[int, int, str]]:
    """(first token, token after the last, label) of each stretch, in IOB1, BIO, BIOES, BILOU or BMES.

    A tag that goes on with nothing, or with another label, begins a stretch, as in IOB1 and as conlleval counts.

    Raises:
        DataError E141: a tag is of none of these schemes.
    """
    found: list[tuple[int, int, str]] = []
    start, label = -1, ""
    for number, tag in enumerate([*tags, OUTSIDE]):
        place, kind = split_tag(tag, where)
        goes_on = place in _GOES_ON and start >= 0 and kind == label
        if start >= 0 and not goes_on:
            found.append((start, number, label))
            start = -1
        if place != OUTSIDE and not goes_on:
            start, label = number, kind
        if place in (*_SINGLE, "E", "L") and start >= 0:
            found.append((start, number + 1, label))
            start = -1
    return found


def split_tag(tag: str, where: str) -> tuple[str, str]:
    """("B", "PER") of B-PER, B_PER or PER-B; a bare B, M, E, S or I is of the one label `BARE_LABEL`."""
    tag = tag.strip()
    if tag in (OUTSIDE, "", "_", "-"):
        return OUTSIDE, ""
    match = re.fullmatch(r"([BIMELSU])[-_](.+)", tag) or re.fullmatch(r"([BIMELSU])", tag)
    if match is None:
        raise DataError("E141", where=where, tag=tag)
    return match[1], match[2] if match.re.groups == 2 else BARE_LABEL


def is_tag(tag: str) -> bool:
    """Whether this is a tag of a scheme, and not a class of a single token, such as a part of speech."""
    return tag in (OUTSIDE, "_") or re.fullmatch(r"[BIMELSU]([-_].+)?", tag) is not None


def tag_set(labels: Sequence[str]) -> tuple[str, ...]:
    """The tags that the model chooses among."""
    return (OUTSIDE, *(f"{place}-{label}" for label in labels for place in "BI"))


def encode_places(texts: Sequence[str], tokenizer: Tokenizer) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """The tokens of each text with the characters that they stand for.

    The space that a piece of BPE begins with is not one of them; the marks that a letter or an emoji carries are, even where the
    tokenizer takes them off.
    """
    encoded = []
    for text in texts:
        ids, offsets = tokenizer.encode_offsets(text)
        places = []
        for number, (start, stop) in enumerate(offsets):
            start += len(text[start:stop]) - len(text[start:stop].lstrip())
            limit = offsets[number + 1][0] if number + 1 < len(offsets) else len(text)
            while stop > start and stop < limit and _clings(text, stop):
                stop += 1
            places.append((start, stop))
        encoded.append((ids, places))
    return encoded


def tags_of_spans(spans: Sequence[Span], offsets: Sequence[tuple[int, int]], tags: dict[str, int]) -> tuple[np.ndarray, int]:
    """The number of each token's tag, and how many spans no token begins or ends with.

    Args:
        offsets: from which to which character each token reaches; empty tokens are outside.
    """
    found = np.zeros(len(offsets), dtype=np.int64)
    starts = np.array([start for start, _stop in offsets], dtype=np.int64)
    stops = np.array([stop for _start, stop in offsets], dtype=np.int64)
    torn = 0
    for span in spans:
        inside = np.flatnonzero((stops > span.start) & (starts < span.stop) & (stops > starts))
        if not len(inside) or f"B-{span.label}" not in tags:
            torn += 1
            continue
        torn += bool(starts[inside[0]] < span.start or stops[inside[-1]] > span.stop)
        found[inside] = tags[f"I-{span.label}"]
        found[inside[0]] = tags[f"B-{span.label}"]
    return found, torn


def best_path(log_chances_TC: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """The most probable tags of which none goes on with what did not begin (Viterbi 1967): int64 [T]."""
    T, C = log_chances_TC.shape
    if not T:
        return np.empty(0, dtype=np.int64)
    allowed_CC = np.array([[_may_follow(before, after) for after in tags] for before in tags])
    cost_CC = np.where(allowed_CC, 0.0, -np.inf)
    first = np.array([0.0 if _may_follow(OUTSIDE, tag) else -np.inf for tag in tags])
    score_C = log_chances_TC[0] + first
    back_TC = np.zeros((T, C), dtype=np.int64)
    for place in range(1, T):
        through_CC = score_C[:, None] + cost_CC
        back_TC[place] = through_CC.argmax(0)
        score_C = through_CC.max(0) + log_chances_TC[place]
    path = np.empty(T, dtype=np.int64)
    path[-1] = score_C.argmax()
    for place in range(T - 1, 0, -1):
        path[place - 1] = back_TC[place, path[place]]
    return path


def spans_of_path(path_T: np.ndarray, chances_TC: np.ndarray, offsets: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[Span]:
    """The stretches of a path of tags, in characters; the probability of one is that of its least sure token."""
    found = []
    for first, last, label in spans_of_tags([tags[int(number)] for number in path_T], ""):
        chance = min(float(chances_TC[place, path_T[place]]) for place in range(first, last))
        found.append(Span(offsets[first][0], offsets[last - 1][1], label, chance))
    return found


def _may_follow(before: str, after: str) -> bool:
    return not after.startswith("I-") or before[2:] == after[2:]


def _clings(text: str, at: int) -> bool:
    """Whether a character belongs to the one before it: a combining mark, or what a joiner ties to it."""
    return unicodedata.category(text[at]).startswith("M") or text[at] == JOINER or text[at - 1] == JOINER
