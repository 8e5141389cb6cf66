"""Marked stretches: F1 over stretches that agree in place and label (as conlleval counts), beside a dictionary of those seen."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts, Scores, f1_of
from diptych.messages import _, mark
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import TaggedRow
from diptych.tasks.tagging import Tagged


class Dictionary:
    """Marks what was marked most of the times it occurred in training, the longest first."""

    name = mark("dictionary")

    def __init__(self, rows: Sequence[TaggedRow]) -> None:
        start = time.perf_counter()
        marked: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            for span in row.spans:
                marked[row.texts[0][span.start : span.stop]][span.label] += 1
        text = "\n".join(row.texts[0] for row in rows)
        self._labels = {}
        for word, labels in marked.items():
            label, count = labels.most_common(1)[0]
            if 2 * count > text.count(word):
                self._labels[word] = label
        longest_first = sorted(self._labels, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_whole, longest_first))) if longest_first else None
        self.seconds = time.perf_counter() - start
        self.size_bytes = sum(len(word.encode()) + len(label.encode()) for word, label in self._labels.items())

    def answers(self, inputs: Sequence[str]) -> list[Tagged]:
        found = []
        for text in inputs:
            matches = self._pattern.finditer(text) if self._pattern else ()
            found.append(Tagged(text, tuple(Span(each.start(), each.end(), self._labels[each.group()]) for each in matches)))
        return found


class TaggingJudge:
    pipeline = "token-classification"

    def counts(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged]) -> list[Counts]:
        gold = [{span.key for span in row.spans} for row in rows]
        return set_counts(mark("span F1"), gold, [{span.key for span in answer.spans} for answer in answers])

    def scores(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged]) -> Scores:
        return Scores(each.score() for each in self.counts(task, rows, answers))

    def short(self, answer: Tagged) -> str:
        return ", ".join(f"{answer.text[span.start : span.stop]} = {span.label}" for span in answer.spans)

    def baselines(self, task: Any, rows: Sequence[TaggedRow]) -> Iterable[Dictionary]:
        yield Dictionary(rows)

    def show(self, task: Any, rows: Sequence[TaggedRow], answers: Sequence[Tagged], comparison: Comparison) -> None:
        wrong = []
        for row, answer in zip(rows, answers, strict=True):
            gold = {span.key for span in row.spans}
            wrong += [(row, answer, span) for span in answer.spans if span.key not in gold]
        wrong.sort(key=lambda each: -each[2].probability)
        for row, answer, span in wrong[:12]:
            said = f"{answer.text[span.start : span.stop]} = {span.label}"
            comparison.mistakes.append((row.texts[0], self.short(Tagged(row.texts[0], row.spans)), said, span.probability))

    def about(self, task: Any) -> str:
        labels = dict.fromkeys(tag[2:] for tag in task.tags if tag[2:])
        return _("A tagger that was fine-tuned with Diptych: it marks {labels}.").format(labels=", ".join([*labels][:20]))

    def caveats(self, task: Any, train: Sequence[TaggedRow], comparison: Comparison | None) -> list[str]:
        if comparison is not None and not any(comparison.main.predicted) and any(comparison.gold):
            return [_("It marks nothing at all: it has learnt nothing. Try a higher learning rate or more epochs.")]
        return []


def set_counts(name: str, gold: Sequence[set[Any]], found: Sequence[set[Any]]) -> list[Counts]:
    """F1 of what was found against what is right, example by example, with precision and recall."""
    hits = np.array([len(a & b) for a, b in zip(gold, found, strict=True)], dtype=float)
    num_gold, num_found = np.array([len(each) for each in gold]), np.array([len(each) for each in found])
    return [
        f1_of(name, hits, num_found, num_gold),
        Counts(mark("precision"), np.stack([hits, num_found], axis=1), _share),
        Counts(mark("recall"), np.stack([hits, num_gold], axis=1), _share),
    ]


def _share(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def _whole(word: str) -> str:
    """A pattern for the word that does not match within a longer one of the Latin alphabet."""
    left = r"(?<![A-Za-z0-9])" if word[0].isascii() and word[0].isalnum() else ""
    right = r"(?![A-Za-z0-9])" if word[-1].isascii() and word[-1].isalnum() else ""
    return left + re.escape(word) + right
