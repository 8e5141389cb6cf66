"""Semantic roles: F1 over arguments as srl-eval.pl counts (CoNLL-2005), beside counts of words and places.

An argument is right where its role and all its words are. Parts that go on (C-ARG1) belong to the argument before them, and
the predicate itself does not count.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from diptych.evaluation.baselines.roles import RoleCounts
from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Counts
from diptych.evaluation.judges.tagging import TaggingJudge, set_counts
from diptych.messages import _, mark
from diptych.tasks.role_texts import PREDICATE, Frame, RoleRow
from diptych.tasks.roles import Framed
from diptych.tasks.spans import Span

Argument = tuple[str, tuple[tuple[int, int], ...]]


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
        yield RoleCounts(rows)

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
