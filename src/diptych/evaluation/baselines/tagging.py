"""Tagging without reading: every stretch is what it was most often, the longest first."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from diptych.messages import mark
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import TaggedRow
from diptych.tasks.tagging import Tagged
from diptych.text.words import atoms

UNMARKED = ""
"""What a stretch is where nothing is said of it."""
COVERED = 0.95
"""Where more than this is marked, as parts of speech are, every word has some label, an unknown one too."""
Places = list[tuple[int, int]]


class Dictionary:
    """What each stretch was most often, words as a whole: "art" is not found in "party".

    For segmented Chinese this is forward maximum matching; for parts of speech the most frequent tag of each word, and of one that
    was never seen what words are that were seen once.
    """

    name = mark("dictionary")

    def __init__(self, rows: Sequence[TaggedRow]) -> None:
        start = time.perf_counter()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            for span in row.spans:
                counts[row.texts[0][span.start : span.stop]][span.label] += 1
        self._lengths = _lengths(counts)
        num_atoms = num_marked = 0
        for row in rows:
            text, places = row.texts[0], atoms(row.texts[0])
            marked = {(span.start, span.stop) for span in row.spans}
            num_atoms, num_marked = num_atoms + len(places), num_marked + _num_within(places, row.spans)
            for first, last in self._seen(text, places):
                if (first, last) not in marked:
                    counts[text[first:last]][UNMARKED] += 1
        usual = {word: labels.most_common(1)[0][0] for word, labels in counts.items()}
        self._labels = {word: label for word, label in usual.items() if label != UNMARKED}
        once = Counter(next(iter(labels)) for labels in counts.values() if labels.total() == 1)
        self._unknown = once.most_common(1)[0][0] if once and num_marked > COVERED * num_atoms else None
        self.seconds = time.perf_counter() - start
        self.size_bytes = sum(len(word.encode()) + len(label.encode()) for word, label in self._labels.items())

    def answers(self, inputs: Sequence[str]) -> list[Tagged]:
        return [Tagged(text, tuple(self._spans(text))) for text in inputs]

    def _spans(self, text: str) -> Iterator[Span]:
        places = atoms(text)
        longest: dict[int, int] = {}
        for first, last in self._seen(text, places):
            if text[first:last] in self._labels:
                longest[first] = max(last, longest.get(first, 0))
        end = 0
        for first, last in places:
            if first < end:
                continue
            if first in longest:
                end = longest[first]
                yield Span(first, end, self._labels[text[first:end]])
            elif self._unknown is not None and re.search(r"\w", text[first:last]):
                yield Span(first, last, self._unknown)

    def _seen(self, text: str, places: Places) -> Iterator[tuple[int, int]]:
        """Where in a text there is a stretch that was marked anywhere, from the beginning of an atom to the end of one."""
        ends = {last for _first, last in places}
        for first, last in places:
            for length in self._lengths.get(text[first:last], ()):
                if first + length in ends:
                    yield first, first + length


def _lengths(words: Iterable[str]) -> dict[str, list[int]]:
    """How long the stretches are that begin with an atom, by that atom."""
    found: dict[str, set[int]] = defaultdict(set)
    for word in words:
        if places := atoms(word):
            found[word[slice(*places[0])]].add(len(word))
    return {first: sorted(lengths) for first, lengths in found.items()}


def _num_within(places: Places, spans: Sequence[Span]) -> int:
    """How many atoms lie in a stretch."""
    inside, found = iter(sorted(spans, key=lambda span: span.start)), 0
    span = next(inside, None)
    for first, last in places:
        while span is not None and span.stop <= first:
            span = next(inside, None)
        found += span is not None and span.start <= first and last <= span.stop
    return found
