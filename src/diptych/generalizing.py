"""How far a model's scores carry: to other tables, to groups within one, and to texts with mistakes in them.

A score on rows of the table that a model was trained on says little of any other; this puts the others beside it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diptych import api
from diptych.errors import UsageError
from diptych.evaluation.intervals import Score, Scores
from diptych.evaluation.judges import judge_of
from diptych.evaluation.noise import MISTAKES, disturbed
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.model import Model

FEW = 30
"""A group of fewer examples is flagged: its interval is wide and itself uncertain."""


@dataclass
class Generalization:
    """The scores of one model on several sets, by group, and with mistakes in the texts."""

    sets: dict[str, Scores]
    """The data first, then those beside it."""
    groups: dict[str, Scores] = field(default_factory=dict)
    """Of the data, the largest group first."""
    noise: dict[str, tuple[Scores, Score]] = field(default_factory=dict)
    """By kind of mistake: the scores, and the paired difference to the texts as they are."""
    rate: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def watched(self) -> str:
        """The score that groups and mistakes are shown by."""
        return next(iter(next(iter(self.sets.values()))), "")

    @property
    def small_groups(self) -> list[str]:
        return [name for name, scores in self.groups.items() if next(iter(scores.values())).n < FEW]

    def tables(self) -> list[list[list[str]]]:
        """Scores down and sets across; groups down; mistakes down."""
        names = list(dict.fromkeys(name for scores in self.sets.values() for name in scores))
        across = [[str(scores[name]) if name in scores else "–" for scores in self.sets.values()] for name in names]
        found = [[["", *self.sets], *([_(name), *cells] for name, cells in zip(names, across, strict=True))]]
        if self.groups:
            own = list(next(iter(self.groups.values())))[:3]
            rows = [[_("group"), "n", *(_(name) for name in own)]]
            for group, scores in self.groups.items():
                flag = " !" if group in self.small_groups else ""
                number = next(iter(scores.values())).n
                rows.append([group + flag, f"{number:,}", *(str(scores[name]) if name in scores else "–" for name in own)])
            found.append(rows)
        if self.noise:
            rows = [[_("{rate:.0%} of the characters").format(rate=self.rate), _(self.watched), _("difference")]]
            for kind, (scores, gap) in self.noise.items():
                rows.append([_(kind), str(scores[self.watched]), str(gap)])
            found.append(rows)
        return found

    def caveats(self) -> list[str]:
        """What the tables cannot tell."""
        if not self.small_groups:
            return []
        text = _("Groups with ! have fewer than {few} examples: what they score may be chance ({names}).")
        return [text.format(few=FEW, names=", ".join(self.small_groups[:10]))]

    def to_json(self) -> dict[str, Any]:
        first, *others = self.sets
        found: dict[str, Any] = dict(self.sets[first].to_json())
        if others:
            found["also"] = {name: self.sets[name].to_json() for name in others}
        if self.groups:
            found["groups"] = {name: scores.to_json() for name, scores in self.groups.items()}
            found["small groups"] = self.small_groups
        if self.noise:
            found["noise"] = {kind: {**scores.to_json(), **Scores([gap]).to_json()} for kind, (scores, gap) in self.noise.items()}
        return found


def generalize(
    model: Model | str | Path,
    data: Any,
    *,
    task: str | None = None,
    also: Sequence[Any] = (),
    by: str | None = None,
    noise: float | None = None,
    seed: int = 0,
    **settings: Any,
) -> Generalization:
    """The scores of a model on `data`, and how far they carry.

    Args:
        task: as for `evaluate`.
        also: other data of the same kind, each with its own column of scores.
        by: a column of `data` whose groups are scored one by one.
        noise: the share of letters and Chinese characters that is made wrong, in three ways one after the other (classifiers alone).
        settings: fields of the task, such as `text` and `label`.

    Raises:
        UsageError E708: this task has no groups or no noise. And what `evaluate` raises.
    """
    found = model if isinstance(model, Model) else api.load(model)
    name = task or api.task_of(found)
    if by is None and noise is None:
        scores = api.evaluate(found, name, data, **settings)
        result = Generalization({_name(data, 1): scores}, ledger=scores.ledger)
    else:
        result = _looked_into(found, name, data, by, noise, seed, settings)
    for number, each in enumerate(also, 2):
        scores = api.evaluate(found, name, each, **settings)
        result.sets[_name(each, number)] = scores
        result.ledger.merge(scores.ledger)
    return result


def _looked_into(
    model: Model, name: str, data: Any, by: str | None, noise: float | None, seed: int, settings: dict[str, Any]
) -> Generalization:
    """The data by group, and with mistakes."""
    if not api.is_on_examples(name) or (noise is not None and name != "classification"):
        raise UsageError("E708", task=name)
    ledger = Ledger()
    asked = {**settings, **({"group": by} if by is not None else {})}
    task, rows, answers, _examples = api.answered(model, name, data, ledger, asked)
    judge = judge_of(name)
    result = Generalization({_name(data, 1): judge.scores(task, rows, answers)}, ledger=ledger)
    if by is not None:
        owned: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            owned[row.group or "–"].append(number)
        for group in sorted(owned, key=lambda group: -len(owned[group])):
            numbers = owned[group]
            result.groups[group] = judge.scores(task, [rows[n] for n in numbers], [answers[n] for n in numbers])
    if noise is not None:
        result.rate = noise
        counts = judge.counts(task, rows, answers)[0]
        for kind in MISTAKES:
            texts = [tuple(disturbed(text, kind, noise, seed, n) for text in row.texts) for n, row in enumerate(rows)]
            changed = [replace(row, texts=each) for row, each in zip(rows, texts, strict=True)]
            said = list(task.predict(model.net, model.tokenizer, task.inputs(changed)))
            gap = judge.counts(task, rows, said)[0].less(counts)
            result.noise[kind] = (judge.scores(task, rows, said), gap)
    return result


def _name(data: Any, number: int) -> str:
    return str(data) if isinstance(data, str | Path) else _("set {number}").format(number=number)
