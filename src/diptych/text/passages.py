"""Passages: pieces of a text short enough to be found, embedded and cited, each with the line where it begins.

A passage is made of whole lines, of whole sentences where a line is too long, and of parts of a sentence only where that is
too long itself. Nothing is left out but white space.
"""

from collections.abc import Iterable, Iterator

from diptych.text.words import is_wide, sentences

WIDE_WEIGHT = 4
"""A Chinese character says, and takes, about as much as four letters."""


def passages(lines: Iterable[str], limit: int = 800) -> Iterator[tuple[int, str]]:
    """(line, text) of each passage, of at most `limit` letters; a paragraph that fills half of one ends it."""
    parts: list[str] = []
    size, start = 0, 1
    for number, line in enumerate(lines, 1):
        for part in _parts(line, limit):
            weight = _weight(part)
            if parts and size + weight > limit:
                yield start, "\n".join(parts)
                parts, size = [], 0
            start = start if parts else number
            parts.append(part)
            size += weight
        if not line.strip() and 2 * size >= limit:
            yield start, "\n".join(parts)
            parts, size = [], 0
    if parts:
        yield start, "\n".join(parts)


def _parts(line: str, limit: int) -> Iterator[str]:
    """A line, or as few parts of it as fit."""
    if _weight(line.strip()) <= limit:
        if line.strip():
            yield line.strip()
        return
    start = stop = 0
    for first, last in sentences(line):
        if stop > start and _weight(line[start:last]) > limit:
            yield line[start:stop]
            start = first
        start = start if stop > start else first
        stop = last
        while _weight(line[start:stop]) > limit:
            cut = start + _fitting(line[start:stop], limit)
            yield line[start:cut].strip()
            start = cut
    if line[start:stop].strip():
        yield line[start:stop].strip()


def _fitting(text: str, limit: int) -> int:
    """How many characters of a text fit, up to the last space among them where there is one."""
    size = 0
    for place, character in enumerate(text):
        size += WIDE_WEIGHT if is_wide(character) else 1
        if size > limit:
            space = text.rfind(" ", 1, place)
            return max(1, space if 2 * space > place else place)
    return len(text)


def _weight(text: str) -> int:
    return len(text) + (WIDE_WEIGHT - 1) * (0 if text.isascii() else sum(map(is_wide, text)))
