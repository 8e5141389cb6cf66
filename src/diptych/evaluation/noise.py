"""Texts with the mistakes that people make while they type, to see how much of a score is lost to them.

English goes wrong by the key beside the right one, Chinese by a character that sounds alike, which is what a pinyin keyboard offers. The
3,755 characters of GB 2312's first level stand in the order of their sounds, so the character before or behind one there nearly always
sounds the same: no dictionary is needed. Rarer and traditional characters are left alone by that mistake, and by no other.
"""

from collections.abc import Callable

import numpy as np

from diptych.messages import mark
from diptych.streams import stream
from diptych.text.words import is_wide

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_FIRST, _WIDTH, _COUNT = (0xB0, 0xA1), 94, 3755
"""Where the characters of the first level begin in GB 2312, how many stand in a row, and how many there are."""


def disturbed(text: str, kind: str, rate: float, seed: int, position: int) -> str:
    """A text in which about a share `rate` of the letters and Chinese characters is wrong.

    Args:
        kind: a key of `MISTAKES`.
        position: the number of the text: its mistakes follow from (seed, position) and nothing else.
    """
    characters = list(text)
    can_be = np.array([_can_be_wrong(character) for character in characters], dtype=bool)
    draw = stream(seed, "noise", kind, position)
    wrong = (draw.random(len(characters)) < rate) & can_be
    picks = draw.random(len(characters))
    free = 0
    for place in np.flatnonzero(wrong).tolist():
        if place >= free:
            free = place + MISTAKES[kind](characters, place, float(picks[place]))
    return "".join(characters)


def neighbours(character: str) -> str:
    """What is typed by mistake: the keys around a letter, or the characters that stand beside one in the order of sounds."""
    if is_wide(character):
        return _alike(character)
    lower = character.lower()
    for number, row in enumerate(_KEYS):
        if (place := row.find(lower)) >= 0:
            # Each row of keys stands half a key to the right of the one above it.
            above = _KEYS[number - 1][place : place + 2] if number else ""
            below = _KEYS[number + 1][max(0, place - 1) : place + 1] if number + 1 < len(_KEYS) else ""
            found = row[max(0, place - 1) : place] + row[place + 1 : place + 2] + above + below
            return found.upper() if character.isupper() else found
    return ""


def _alike(character: str) -> str:
    try:
        first, second = character.encode("gb2312")
    except UnicodeEncodeError:
        return ""
    number = (first - _FIRST[0]) * _WIDTH + second - _FIRST[1]
    if not 0 <= number < _COUNT:
        return ""
    beside = [each for each in (number - 1, number + 1) if 0 <= each < _COUNT]
    return "".join(bytes([_FIRST[0] + each // _WIDTH, _FIRST[1] + each % _WIDTH]).decode("gb2312") for each in beside)


def _can_be_wrong(character: str) -> bool:
    return (character.isascii() and character.isalpha()) or is_wide(character)


def _mistype(characters: list[str], place: int, pick: float) -> int:
    found = neighbours(characters[place])
    if found:
        characters[place] = found[int(pick * len(found))]
    return 1


def _swap(characters: list[str], place: int, pick: float) -> int:
    if place + 1 < len(characters) and _can_be_wrong(characters[place + 1]):
        characters[place], characters[place + 1] = characters[place + 1], characters[place]
    return 2


def _drop(characters: list[str], place: int, pick: float) -> int:
    characters[place] = ""
    return 1


MISTAKES: dict[str, Callable[[list[str], int, float], int]] = {
    mark("mistyped"): _mistype,
    mark("swapped"): _swap,
    mark("dropped"): _drop,
}
"""What can happen to a character: another in its place, its place changed with the next one's, or nothing left of it. Each says how many
characters it has seen to, so that one is not carried along by swap after swap."""
