"""Roles without reading: what a word was most often, by what it is, where it stands and for which predicate (naive Bayes)."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.evaluation.baselines.tagging import Dictionary
from diptych.messages import mark
from diptych.tasks.role_texts import PREDICATE, Frame, RoleRow
from diptych.tasks.roles import Framed
from diptych.tasks.spans import Span, best_path, spans_of_path, tag_set, tags_of_spans
from diptych.tasks.tagged_texts import TaggedRow
from diptych.text.words import atoms

NUM_FRAMES = 20_000
"""Predicates that are learnt from: more of them change the counts of frequent words little."""
FURTHEST = 12
"""Words further from the predicate than this stand alike."""
SMOOTHING = 0.1


class RoleCounts:
    """Tags each word of a sentence for a predicate, by counts of four things that are taken to be independent.

    They are the word, the word before it, how many words it stands before or behind the predicate, and which side of which
    predicate. Predicates that are not given are the words that mostly were one.
    """

    name = mark("words and places")

    def __init__(self, rows: Sequence[RoleRow]) -> None:
        start = time.perf_counter()
        frames = [(row, frame) for row in rows for frame in row.frames][:NUM_FRAMES]
        self._tags = tag_set(sorted({role.label for _row, frame in frames for role in frame.roles}))
        numbers = {tag: number for number, tag in enumerate(self._tags)}
        seen: dict[tuple[int, Any], np.ndarray] = defaultdict(lambda: np.zeros(len(self._tags), dtype=np.float32))
        total_C = np.zeros(len(self._tags))
        for row, frame in frames:
            places = atoms(row.texts[0])
            gold_T, _torn = tags_of_spans(frame.roles, places, numbers)
            for tag, facts in zip(gold_T.tolist(), _facts(row.texts[0], places, frame.predicate), strict=True):
                total_C[tag] += 1
                for fact in facts:
                    seen[fact][tag] += 1
        kinds = Counter(kind for kind, _value in seen)
        self._usual_C = np.log(total_C + SMOOTHING)
        self._log_C = {fact: np.log(counts_C + SMOOTHING) - np.log(total_C + SMOOTHING * kinds[fact[0]]) for fact, counts_C in seen.items()}
        self._predicates = Dictionary([TaggedRow(row.texts, tuple(frame.predicate for frame in row.frames), "") for row in rows])
        self.seconds = time.perf_counter() - start
        self.size_bytes = self._predicates.size_bytes + 4 * len(self._tags) * len(self._log_C)

    def answers(self, inputs: Sequence[Any]) -> list[Framed]:
        found = []
        for item in inputs:
            if isinstance(item, str):
                text, places = item, [(span.start, span.stop) for span in self._predicates.answers([item])[0].spans]
            else:
                text, places = item
            found.append(Framed(text, tuple(self._frame(text, Span(place[0], place[1], PREDICATE)) for place in places)))
        return found

    def _frame(self, text: str, predicate: Span) -> Frame:
        places = atoms(text)
        scores_TC = np.tile(self._usual_C, (len(places), 1))
        for scores_C, facts in zip(scores_TC, _facts(text, places, predicate), strict=True):
            for fact in facts:
                if fact in self._log_C:
                    scores_C += self._log_C[fact]
        scores_TC -= np.logaddexp.reduce(scores_TC, axis=1, keepdims=True)
        roles = spans_of_path(best_path(scores_TC, self._tags), np.exp(scores_TC), places, self._tags)
        return Frame(predicate, tuple(role for role in roles if role.stop <= predicate.start or role.start >= predicate.stop))


def _facts(text: str, places: Sequence[tuple[int, int]], predicate: Span) -> list[tuple[tuple[int, Any], ...]]:
    """What is known of each word: (which kind of fact, what it is)."""
    words = [text[first:last].lower() for first, last in places]
    inside = [at for at, (first, last) in enumerate(places) if first < predicate.stop and last > predicate.start] or [0]
    said = text[predicate.start : predicate.stop].lower()
    found = []
    for at, word in enumerate(words):
        gap = min(0, max(at - inside[0], -FURTHEST)) + max(0, min(at - inside[-1], FURTHEST))
        side = (gap > 0) - (gap < 0)
        found.append(((0, word), (1, words[at - 1] if at else ""), (2, gap), (3, (side, said))))
    return found
