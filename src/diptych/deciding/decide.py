"""From a table of labels to which classifier to ship: read, split, let each system learn, ask, compare."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from diptych import runtime
from diptych.deciding.contenders import Contender, FewShot, FineTuned, Fitted, Frozen, counted
from diptych.deciding.decision import Decision, Point, by_cost
from diptych.deciding.trials import FEW, Trial, trials_of
from diptych.errors import DataError
from diptych.evaluation.evaluate import System, score_predictions
from diptych.evaluation.intervals import Scores
from diptych.evaluation.judges import judge_of
from diptych.finetuning import read_parts
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.model import Model
from diptych.presets import list_presets
from diptych.recipe import build
from diptych.running import load_model
from diptych.tasks.classification import Classification
from diptych.tasks.labels import classes_of
from diptych.tasks.tables import LabelledRow
from diptych.training.progress import Listener, Several

USABLE = 0.75
"""The share of the time that is left which a system may plan with: it has to answer as well, and clocks are rough."""
TIMED = 20
"""So many texts are asked one by one to see how long one takes."""
FEWEST_POINT = 8
"""A learning curve begins with at least so many labels."""


def decide(
    data: Any,
    *,
    base: str | Path | Sequence[str | Path] = "minilm",
    minutes: float = 5.0,
    leave_out: str | None = None,
    curve: bool = False,
    seed: int = 0,
    listener: Listener | None = None,
    **settings: Any,
) -> Decision:
    """TF-IDF, frozen embeddings and fine-tuning side by side on a table of labels, and which of them to ship.

    Of fewer than 200 rows every one is asked about once, by systems that learnt from the others, and a model whose vectors were taught
    with pairs of the texts takes the place of fine-tuning.

    Args:
        data: a table of texts, or pairs of texts, with one label each.
        base: a model to start from, or several; a preset (bilstm-mini) learns from nothing.
        minutes: about how long it may take in all.
        leave_out: a column of groups (a domain, a customer): each is asked about in turn, by systems that never saw it.
        curve: also learn from a half, a quarter … of the labels, with the systems that are quick.
        settings: fields of the task, such as `text`, `label` or `test`.

    Raises:
        DataError E173: there are no two labels with two rows each. E174: there are no two groups. E175: labels are several or grades.
    """
    runtime.prepare()
    clock = _Clock(60 * minutes)
    tell = listener or Several([])
    bases = [str(each) for each in ([base] if isinstance(base, str | Path) else base)]
    ledger = Ledger()
    asked = {name: value for name, value in settings.items() if name != "test"}
    recipe = build(
        {
            "model": {"preset": "bert-tiny"},
            "task": {"name": "classification", "group": leave_out, **settings},
            "train": {"seed": seed},
        }
    )
    parts = read_parts(recipe, data, ledger, hold_out=False)
    if parts.found["kind"] != "single":
        raise DataError("E175", kind=parts.found["kind"])
    trials = trials_of(parts.train, parts.test, seed, by_group=leave_out is not None, ledger=ledger)
    labels = classes_of([row.label for row in [*parts.train, *parts.test]], "single")
    task = Classification(recipe.task, labels)
    how = _how(trials, leave_out)
    tell.tell({"kind": "stage", "text": how})
    is_few = leave_out is None and len(trials) > 1
    contenders = _contenders(bases, {**asked, "duplicates": "keep"}, seed, ledger, is_few=is_few)
    if is_few:
        for each in contenders:
            if isinstance(each, Frozen):
                each.model.tokenizer.unknown_share((text for row in parts.train for text in row.texts), ledger)
    systems = []
    for number, each in enumerate(contenders):
        rest = [other for other in contenders[number:] if other.wants_time]
        share = USABLE * clock.left() / max(1, len(rest)) if each.wants_time else 0.3 * clock.left()
        systems.append(_tried(each, trials, task, share, clock, ledger))
        text = _("{name}: {score} after {seconds:.0f} s")
        shown = {"name": _(each.name), "score": systems[-1].scores["accuracy"], "seconds": clock.spent()}
        tell.tell({"kind": "stage", "text": text.format(**shown)})
    found = Decision(by_cost(systems), sum(len(trial.test) for trial in trials), how, ledger=ledger)
    for each in contenders:
        if isinstance(each, FineTuned):
            ledger.merge(each.ledger)
    if leave_out is not None:
        found.groups = _by_group(found.systems, trials, task)
    if curve:
        found.curve = _curve([each for each in contenders if not each.wants_time and each.name != "majority"], trials, task, clock)
    found.notes = _notes(found, contenders, is_few=is_few)
    found.seconds = clock.spent()
    return found


class _Clock:
    def __init__(self, limit_seconds: float) -> None:
        self._start, self._limit = time.perf_counter(), limit_seconds

    def spent(self) -> float:
        return time.perf_counter() - self._start

    def left(self) -> float:
        return max(0.0, self._limit - self.spent())


def _contenders(bases: Sequence[str], settings: dict[str, Any], seed: int, ledger: Ledger, *, is_few: bool) -> list[Contender]:
    found = counted(seed)
    for base in bases:
        if base in list_presets():
            found.append(FineTuned(base, settings, seed))
            continue
        model: Model = load_model(base)
        frozen = Frozen(model, seed, ledger)
        tuned = FewShot(base, seed, lambda frozen=frozen: frozen.seconds_per_text)
        if not is_few:
            tuned = FineTuned(base, settings, seed, lambda frozen=frozen: frozen.seconds_per_text)
        some: list[Contender] = [frozen, tuned]
        if len(bases) > 1:
            for each in some:
                each.name = f"{_(each.name)} ({Path(base).name})"
        found += some
    # Those that can use all the time there is come last.
    return sorted(found, key=lambda each: each.wants_time)


def _tried(
    contender: Contender, trials: Sequence[Trial], task: Classification, limit_seconds: float, clock: _Clock, ledger: Ledger
) -> System:
    """A system as it did on all trials together."""
    judge = judge_of("classification")
    rows: list[LabelledRow] = []
    answers: list[Any] = []
    seconds = 0.0
    fitted: Fitted | None = None
    end = clock.spent() + limit_seconds
    for number, trial in enumerate(trials):
        start = time.perf_counter()
        share = max(0.0, end - clock.spent()) / (len(trials) - number)
        fitted = contender.fit(trial, share)
        seconds += time.perf_counter() - start
        rows += trial.test
        answers += fitted.answers(task.inputs(trial.test))
    assert fitted is not None
    counts = judge.counts(task, rows, answers)[0]
    milliseconds = _milliseconds(fitted, task.inputs(trials[-1].test))
    said = [judge.short(each) for each in answers]
    # What it takes to train one, not all the folds.
    return System(contender.name, judge.scores(task, rows, answers), said, seconds / len(trials), fitted.size_bytes, milliseconds, counts)


def _milliseconds(fitted: Fitted, inputs: Sequence[Any]) -> float:
    """How long one text takes when it comes alone."""
    few = list(inputs[:TIMED])
    fitted.answers(few[:1])
    times = []
    for each in few:
        start = time.perf_counter()
        fitted.answers([each])
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


def _by_group(systems: Sequence[System], trials: Sequence[Trial], task: Classification) -> dict[str, list[Scores]]:
    """What each system scored on each group that was left out."""
    found: dict[str, list[Scores]] = {}
    start = 0
    for trial in trials:
        stop = start + len(trial.test)
        gold = [str(row.label) for row in trial.test]
        found[trial.name] = [score_predictions(gold, system.predicted[start:stop], task.labels) for system in systems]
        start = stop
    return found


def _curve(contenders: Sequence[Contender], trials: Sequence[Trial], task: Classification, clock: _Clock) -> list[Point]:
    """Each system after a half, a quarter … of the labels, always asked about the same rows."""
    sizes = [min(len(trial.train) for trial in trials)]
    while sizes[-1] // 2 >= max(FEWEST_POINT, 2 * len(task.labels)):
        sizes.append(sizes[-1] // 2)
    points = []
    for size in reversed(sizes):
        few = [trial.first(size) for trial in trials]
        if min(len({row.label for row in trial.train}) for trial in few) < 2:
            continue
        points.append(Point(size, [_tried(each, few, task, clock.left(), clock, Ledger()) for each in contenders]))
    return points


def _how(trials: Sequence[Trial], leave_out: str | None) -> str:
    asked = sum(len(trial.test) for trial in trials)
    if leave_out is not None:
        text = _("Each of the {groups} groups of {column} in turn was asked about and the others learnt from: {n:,} answers.")
        return text.format(groups=len(trials), column=leave_out, n=asked)
    if len(trials) > 1:
        text = _(
            "With fewer than {few} rows the choice is made by cross-validation: in {folds} folds every row ({n:,}) is asked about once."
        )
        return text.format(few=FEW, folds=len(trials), n=asked)
    return _("{train:,} rows to learn from, {n:,} others to be asked about.").format(train=len(trials[0].train), n=asked)


def _notes(found: Decision, contenders: Sequence[Contender], *, is_few: bool) -> list[str]:
    notes = []
    if is_few and any(isinstance(each, FewShot) for each in contenders):
        notes.append(_("Fine-tuning was left out: with so few labels vectors that are taught by pairs of texts do better as a rule."))
    if sentence := found.more_labels():
        notes.append(sentence)
    return notes
