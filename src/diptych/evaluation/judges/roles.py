"""Semantic roles: F1 over arguments as srl-eval.pl counts (CoNLL-2005), beside a dictionary of what plays which role.

An argument is right where its role and all its words are. Parts that go on (C-ARG1) belong to the argument before them, and
the predicate itself does not count.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts
from diptych.evaluation.judges.tagging import Dictionary, TaggingJudge, set_counts
from diptych.messages import _, mark
from diptych.tasks.role_texts import PREDICATE, Frame, RoleRow
from diptych.tasks.roles import Framed
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import TaggedRow

Argument = tuple[str, tuple[tuple[int, int], ...]]
FEW = 3
"""A stretch that was marked less often says nothing of the next sentence."""
NUM_FRAMES = 3000
"""Predicates that the dictionary learns from: it knows the frequent words after these."""


def arguments(roles: Iterable[Span]) -> set[Argument]:
    """(role, its parts) of each argument; a continuation without a beginning is an argument of its own name."""
    found: list[tuple[str, list[tuple[int, int]]]] = []
    for role in sorted(roles, key=lambda each: each.start):
        base = role.label.removeprefix("C-")
        begun = next((each for each in reversed(found) if each[0] == base), None) if base != role.label else None
        if begun is not None:
            begun[1].append((role.start, role.stop))
        else:
            found.append((role.label, [(role.start, role.stop)]))
    return {(label, tuple(parts)) for label, parts in found}


class RoleDictionary:
    """Marks what was marked most of the times it occurred, before a predicate and behind one, by two dictionaries."""

    name = Dictionary.name

    def __init__(self, rows: Sequence[RoleRow]) -> None:
        start = time.perf_counter()
        frames = [(row, frame) for row in rows for frame in row.frames][:NUM_FRAMES]
        before = [(row.texts[0][: f.predicate.start], f.roles, 0) for row, f in frames]
        behind = [(row.texts[0][f.predicate.stop :], f.roles, f.predicate.stop) for row, f in frames]
        self._before, self._behind = _dictionary(before), _dictionary(behind)
        few = rows[: max(1, NUM_FRAMES // 3)]
        self._predicates = _dictionary([(row.texts[0], tuple(frame.predicate for frame in row.frames), 0) for row in few])
        self.seconds = time.perf_counter() - start
        self.size_bytes = sum(each.size_bytes for each in (self._before, self._behind, self._predicates))

    def answers(self, inputs: Sequence[Any]) -> list[Framed]:
        found = []
        for item in inputs:
            if isinstance(item, str):
                text, places = item, [(span.start, span.stop) for span in self._predicates.answers([item])[0].spans]
            else:
                text, places = item
            found.append(Framed(text, tuple(self._frame(text, *place) for place in places)))
        return found

    def _frame(self, text: str, start: int, stop: int) -> Frame:
        before = self._before.answers([text[:start]])[0].spans
        behind = self._behind.answers([text[stop:]])[0].spans
        moved = (Span(span.start + stop, span.stop + stop, span.label) for span in behind)
        return Frame(Span(start, stop, PREDICATE), (*before, *moved))


class RolesJudge(TaggingJudge):
    def counts(self, task: Any, rows: Sequence[RoleRow], answers: Sequence[Framed]) -> list[Counts]:  # type: ignore[override]
        counts = set_counts(mark("role F1"), [_arguments(row.frames) for row in rows], [_arguments(answer.frames) for answer in answers])
        gold, found = ([{frame.predicate.key for frame in each.frames} for each in given] for given in (rows, answers))
        if gold != found:
            # Told, they are all right, and nothing is to be said of them.
            counts.append(set_counts(mark("predicate F1"), gold, found)[0])
        return counts

    def short(self, answer: Framed) -> str:  # type: ignore[override]
        return str(answer)

    def baselines(self, task: Any, rows: Sequence[RoleRow]) -> Iterable[Any]:  # type: ignore[override]
        yield RoleDictionary(rows)

    def show(self, task: Any, rows: Sequence[RoleRow], answers: Sequence[Framed], comparison: Comparison) -> None:  # type: ignore[override]
        wrong = []
        for row, answer in zip(rows, answers, strict=True):
            gold = {frame.predicate.key: {role.key for role in frame.roles} for frame in row.frames}
            for frame in answer.frames:
                wrong += [(row, frame, role) for role in frame.roles if role.key not in gold.get(frame.predicate.key, ())]
        wrong.sort(key=lambda each: -each[2].probability)
        for row, frame, role in wrong[:12]:
            text = row.texts[0]
            said = str(Framed(text, (Frame(frame.predicate, (role,)),)))
            right = tuple(each for each in row.frames if each.predicate.key == frame.predicate.key)
            comparison.mistakes.append((text, str(Framed(text, right)), said, role.probability))

    def about(self, task: Any) -> str:
        labels = sorted({tag[2:] for tag in task.tags if tag[2:] and tag[2:] != PREDICATE})
        return _("It finds predicates and what plays which role for them ({labels}); fine-tuned with Diptych.").format(
            labels=", ".join(labels[:20])
        )


def _arguments(frames: Sequence[Frame]) -> set[tuple[Any, ...]]:
    return {(frame.predicate.start, frame.predicate.stop, *each) for frame in frames for each in arguments(frame.roles)}


def _dictionary(parts: Sequence[tuple[str, Sequence[Span], int]]) -> Dictionary:
    """A dictionary of parts of texts, with the roles that lie in them and were marked more than a few times.

    Args:
        parts: (the part, roles of the whole text, where in it the part begins).
    """
    rows = []
    for text, roles, shift in parts:
        moved = [Span(role.start - shift, role.stop - shift, role.label) for role in roles]
        rows.append((text, [span for span in moved if span.start >= 0 and span.stop <= len(text)]))
    counts = Counter(text[span.start : span.stop] for text, spans in rows for span in spans)
    kept = [(text, [span for span in spans if counts[text[span.start : span.stop]] >= FEW]) for text, spans in rows]
    return Dictionary([TaggedRow((text,), tuple(spans), "") for text, spans in kept])
