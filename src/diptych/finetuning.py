"""From a table of examples to a tested predictor: the second half of a model's life, told once for every such task.

table -> columns -> duplicates and splits -> head on a model -> loop with early stopping -> test beside baselines -> folder.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.errors import RecipeError
from diptych.evaluation.evaluate import Comparison
from diptych.evaluation.intervals import Scores
from diptych.evaluation.judges import judge_of, run_judge
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.presets import create, preset_config
from diptych.recipe import Recipe, build
from diptych.report.card import CardData, write_card
from diptych.report.report import ReportData, TableRow, write_report
from diptych.running import (
    Beginning,
    base_model,
    begin,
    command_of,
    cost_facts,
    federated_of,
    interrupted,
    languages_of,
    next_steps,
    open_workspace,
    regime_of,
    resolve,
    sample_of,
    set_passes,
    training_plan,
    write_run,
)
from diptych.tasks import task_class
from diptych.tasks.tables import digest, drop_duplicates, split_rows
from diptych.tasks.task import Owned
from diptych.text.files import find_sources
from diptych.text.fingerprints import Fingerprints
from diptych.text.tokenizer import Tokenizer, usual_kind
from diptych.training.federation import Client, federate
from diptych.training.federation.dividing import divide
from diptych.training.loop import Outcome, train
from diptych.training.progress import Journal, Listener, Several, display, read_events
from diptych.training.ranks import here
from diptych.training.workspace import Workspace, kept_tokenizer

DEV_SHARE, TEST_SHARE = 0.1, 0.2


@dataclass
class Parts:
    """A table in its three parts; dev and test are empty where there are too few rows for them."""

    train: list[Any]
    dev: list[Any]
    test: list[Any]
    found: dict[str, str | None]
    """What was found in the table: its columns, its format."""
    is_split: bool = True
    """False where nothing was to be held out; then it is no lack of rows that leaves dev and test empty."""


@dataclass
class Finetuned:
    """What a fine-tuning run leaves."""

    model: Model
    outcome: Outcome
    comparison: Comparison | None = None
    ledger: Ledger = field(default_factory=Ledger)
    report: Path | None = None
    caveats: list[str] = field(default_factory=list)

    @property
    def scores(self) -> Scores:
        return self.comparison.main.scores if self.comparison else Scores()


def finetune_recipe(
    recipe: Recipe,
    source: Any = None,
    *,
    model: Model | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener | None = None,
    with_baselines: bool = True,
    hold_out: bool = True,
) -> Finetuned:
    """Carry out a recipe whose task learns from a table of examples.

    Args:
        source: the table, where the recipe does not name it.
        model: start from this model instead of the recipe's; its network is changed in place.
        hold_out: False trains on every row of `source` and tests on none.
    """
    begun = begin(recipe, resume=resume, overwrite=overwrite)
    ledger = Ledger()
    parts = read_parts(recipe, source, ledger, hold_out=hold_out)
    return finetune_parts(
        recipe,
        parts,
        ledger,
        model=model,
        resume=begun.resume,
        overwrite=begun.overwrite,
        listener=listener,
        with_baselines=with_baselines,
    )


def finetune_parts(
    recipe: Recipe,
    parts: Parts,
    ledger: Ledger,
    *,
    model: Model | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener | None = None,
    with_baselines: bool = True,
) -> Finetuned:
    """The same as `finetune_recipe`, on rows that are read and split already."""
    begun = begin(recipe, resume=resume, overwrite=overwrite)
    ranks = begun.ranks
    show = listener or display()
    task = task_class(recipe.task.name)(recipe.task)
    start = model or _start(recipe, parts, task, begun, ledger)
    recipe = ranks.first_makes(partial(resolve, recipe, start.net, resume=begun.resume), Recipe.to_dict, build)
    workspace = open_workspace(recipe, begun)
    if workspace and model is None and recipe.model.base is None and ranks.is_first:
        workspace.keep_tokenizer(start.tokenizer)
    journal = [Journal(workspace.journal)] if workspace and ranks.is_first else []
    tell = Several([show, *journal] if ranks.is_first else [])
    try:
        found = ", ".join(f"{name} = {value}" for name, value in parts.found.items() if value is not None)
        text = _("{train:,} rows to train, {dev:,} to stop by, {test:,} to test")
        if found:
            text = _("read as {found}; {train:,} rows to train, {dev:,} to stop by, {test:,} to test")
        counts = {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)}
        tell.tell({"kind": "stage", "text": text.format(found=found, **counts)})
        return _train(recipe, task, parts, start, workspace, ledger, tell, resume=begun.resume, with_baselines=with_baselines)
    finally:
        for each in journal:
            each.close()
        if listener is None:
            show.close()


def read_parts(recipe: Recipe, source: Any, ledger: Ledger, *, hold_out: bool = True) -> Parts:
    """The rows to train on, to stop by and to test on: the tables that the recipe names, or fair shares of one."""
    settings, seed = recipe.task, recipe.train.seed
    task = task_class(settings.name)(settings)
    source = settings.data if source is None else source
    if source is None:
        raise RecipeError("E405", where=_("the recipe"), key="task.data")
    if source is settings.data and not isinstance(source, str):
        source = [Path(name) for name in source]
    rows, found = task.read(source, ledger)
    if settings.duplicates == "drop":
        rows = drop_duplicates(rows, ledger, has_one_answer=task.has_one_answer)
    test: list[Any] = []
    dev: list[Any] = []
    if settings.test is not None:
        test, _found = task.read(settings.test, Ledger(), found)
    elif hold_out:
        rows, test = split_rows(rows, TEST_SHARE, seed, "test")
    if settings.dev is not None:
        dev, _found = task.read(settings.dev, Ledger(), found)
    elif hold_out:
        rows, dev = split_rows(rows, DEV_SHARE, seed, "dev")
    known = {row.texts for row in rows}
    leaked = [row for row in test if row.texts in known]
    ledger.add("split", "test rows whose text is trained on as well: the scores flatter", len(leaked), total=len(test))
    for what, part in ((mark("rows for training"), rows), (mark("rows for stopping"), dev), (mark("rows for testing"), test)):
        ledger.add("split", what, len(part))
    return Parts(rows, dev, test, found, is_split=hold_out)


def _start(recipe: Recipe, parts: Parts, task: Any, begun: Beginning, ledger: Ledger) -> Model:
    """The model to start from: a folder's, or a fresh one with a tokenizer of the training texts."""
    if (base := base_model(recipe)) is not None:
        return base

    def first_tokenizer() -> Tokenizer:
        kept = kept_tokenizer(recipe.run.out) if begun.resume and recipe.run.out else None
        return kept or _make_tokenizer(recipe, parts, task, ledger)

    tokenizer = begun.ranks.first_makes(first_tokenizer, Tokenizer.to_json, Tokenizer.from_json)
    net = create(str(recipe.model.preset), seed=recipe.train.seed, **{**recipe.model.sizes, "vocab_size": tokenizer.vocab_size})
    net.set_config(token_ids=tokenizer.token_ids)
    return Model(net, tokenizer)


def _make_tokenizer(recipe: Recipe, parts: Parts, task: Any, ledger: Ledger) -> Tokenizer:
    """The tokenizer that the recipe names, or one that learns from the training texts."""
    settings = recipe.model.tokenizer
    if settings.folder:
        return Tokenizer.load(settings.folder)
    panel = task.panel_of(preset_config(str(recipe.model.preset)))
    kind = settings.kind or usual_kind(panel)
    texts = sample_of(task.vocabulary(parts.train))
    return Tokenizer.train(texts, kind, settings.vocab_size, panel=panel, lowercase=settings.lowercase, ledger=ledger)


def _train(
    recipe: Recipe,
    task: Any,
    parts: Parts,
    model: Model,
    workspace: Workspace | None,
    ledger: Ledger,
    tell: Several,
    *,
    resume: bool,
    with_baselines: bool,
) -> Finetuned:
    net, tokenizer, context = model.net, task.meet(model.net, model.tokenizer), model.config.context_length
    examples = task.examples(parts.train, tokenizer, context, ledger)
    own = Ledger()
    dev = task.examples(parts.dev, tokenizer, context, own) if parts.dev else None
    _merge_as(mark("dev"), own, ledger)
    tested = Ledger()
    if parts.test:
        # Before anything is learnt: a task may want to ask the model about them as it was.
        task.examples(parts.test, tokenizer, context, tested)
    tokenizer.unknown_share((text for row in parts.train[:500] for text in row.texts), ledger)
    task.prepare(net, recipe.train.seed)
    net.keep_heads(task.heads)
    set_passes(net, recipe)
    net.to(runtime.device(recipe.run.device))
    plan = replace(training_plan(recipe, workspace), data=digest(parts.train))
    here().check_data(plan.data)
    learns: Any = task
    if (federated := federated_of(recipe)) is not None:
        shares = divide(parts.train, federated, recipe.train.seed, ledger, _files(recipe) if federated.by == "file" else ())
        held = {name: task.examples(rows, tokenizer, context, Ledger()) for name, rows in shares.items()}
        clients = [Client(name, own, number) for number, (name, own) in enumerate(held.items())]
        learns, examples, plan = federate(task, clients, plan, federated.rounds, federated.share, ledger)
    regime = regime_of(recipe, tokenizer, [row.group for row in parts.train] if recipe.task.group else None)
    net, outcome = train(net, learns, examples, dev, regime, plan, tell, resume=resume)
    model = Model(net, tokenizer)
    if outcome.stopped == "interrupted":
        tell.tell({"kind": "stage", "text": interrupted(recipe, "finetune")})
        return Finetuned(model, outcome, ledger=ledger)
    if not here().is_first:
        return Finetuned(model, outcome, ledger=ledger)
    _merge_as(mark("test"), tested, ledger)
    comparison = _test(model, task, parts, outcome, with_baselines=with_baselines) if parts.test else None
    caveats = [*_caveats(recipe, parts), *judge_of(task.name).caveats(task, parts.train, comparison)]
    for caveat in caveats:
        tell.tell({"kind": "stage", "text": caveat})
    learnt = regime.facts()
    for each in learnt.get("at_risk", ()):
        # Where the row stands, not what it says.
        owner = examples.owner(each["example"]) if isinstance(examples, Owned) else each["example"]
        each["where"] = parts.train[owner].where
    report = _keep(recipe, task, parts, model, outcome, comparison, caveats, ledger, workspace, learnt) if workspace else None
    if report is not None and workspace is not None:
        tell.tell({"kind": "done", "text": f"{_('report')}: {report}\n{next_steps(_next(workspace.out))}"})
    return Finetuned(model, outcome, comparison, ledger, report, caveats)


def _files(recipe: Recipe) -> list[str]:
    """What the files of the recipe's examples are called where a row says where it stands."""
    data = recipe.task.data
    paths = [Path(data)] if isinstance(data, str) else [Path(name) for name in data or ()]
    return [source.name for source in find_sources(paths, Ledger(), is_any_kind=True)]


def _test(model: Model, task: Any, parts: Parts, outcome: Outcome, *, with_baselines: bool) -> Comparison:
    """The test set, once, beside what a word count makes of it."""
    inputs = task.inputs(parts.test)
    start = time.perf_counter()
    predictions = list(task.predict(model.net, model.tokenizer, inputs))
    milliseconds = 1000 * (time.perf_counter() - start) / max(1, len(inputs))
    return run_judge(
        judge_of(task.name),
        task,
        mark("fine-tuned"),
        predictions,
        milliseconds,
        parts.train,
        parts.test,
        seconds=outcome.seconds,
        size_bytes=bytes_of(model.net),
        with_baselines=with_baselines,
    )


def bytes_of(net: Any) -> int:
    """What a network's weights take."""
    return sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())


def _merge_as(stage: str, own: Ledger, ledger: Ledger) -> None:
    """Add what was counted on one part under the name of that part, so that it is not mixed with the counts of training."""
    for _stage, what, entry in own:
        ledger.add(stage, what, entry.count, total=entry.total, where=next(iter(entry.examples), None))


def _caveats(recipe: Recipe, parts: Parts) -> list[str]:
    """What the scores cannot tell."""
    caveats = []
    if not parts.test and parts.is_split:
        text = _("{n} examples allow no test: nothing can be said of how good these predictions are.")
        caveats.append(text.format(n=len(parts.train)))
    if not parts.test and not parts.is_split:
        caveats.append(_("Nothing was held out to test on: how good these predictions are has to be seen on other texts."))
    if not parts.dev and parts.is_split and recipe.train.evaluations:
        caveats.append(_("Too few rows to stop by: it was trained to the end of the budget."))
    return caveats


def _keep(
    recipe: Recipe,
    task: Any,
    parts: Parts,
    model: Model,
    outcome: Outcome,
    comparison: Comparison | None,
    caveats: Sequence[str],
    ledger: Ledger,
    workspace: Workspace,
    learnt: dict[str, Any],
) -> Path:
    """Write the model folder with its card and report.

    Args:
        learnt: what the regime keeps of how it was learnt.
    """
    scores = {system.name: system.scores for system in comparison.systems} if comparison else {}
    facts = {
        "seed": recipe.train.seed,
        "tokenizer": model.tokenizer.fingerprint(),
        "parent": recipe.model.base,
        "columns": parts.found,
        "scores": {name: each.to_json() for name, each in scores.items()},
        **learnt,
    }
    write_run(workspace, model, ledger, facts, recipe, Fingerprints.of(text for row in parts.train for text in row.texts))
    cost = cost_facts(outcome, model.net, recipe, learnt)
    rows = [TableRow(s.name, s.scores, s.seconds, s.size_bytes, s.milliseconds) for s in comparison.systems] if comparison else []
    data = ReportData(
        title=workspace.out.name,
        verdict=comparison.verdict() if comparison else caveats[0] if caveats else "",
        caveats=caveats if comparison else caveats[1:],
        systems=rows,
        confusion=comparison.table if comparison else None,
        labels=comparison.labels if comparison else (),
        reliability=comparison.reliability if comparison else (),
        # Neither texts nor what a word count made of them, where these are to stay private.
        mistakes=comparison.mistakes if comparison and "privacy" not in learnt else (),
        top_words=comparison.top_words if comparison and len(comparison.labels) <= 12 and "privacy" not in learnt else {},
        events=read_events(workspace.journal),
        ledger=ledger,
        lineage=[
            (_("text"), _("{n:,} rows").format(n=len(parts.train))),
            (_("model"), str(recipe.model.base or recipe.model.preset)),
            (_("task"), recipe.task.name),
            (_("result"), _("{n:,} steps").format(n=outcome.steps)),
        ],
        facts=cost,
        command=command_of(recipe, "finetune", recipe.task.data),
        recipe=(workspace.inner / "recipe.yaml").read_text(encoding="utf-8"),
    )
    card = CardData(
        name=workspace.out.name,
        what=judge_of(task.name).about(task),
        languages=languages_of(row.texts[0] for row in parts.train),
        task=judge_of(task.name).pipeline,
        data=[_("{n:,} rows").format(n=len(parts.train))],
        scores=scores,
        cost=cost,
        limits=[*caveats, _("It was tested on rows of the same table; on other text it may do worse.")],
        ledger=ledger,
        parent=recipe.model.base,
        use=_next(workspace.out)[0],
        privacy=learnt.get("privacy"),
    )
    write_card(workspace.out / "README.md", card)
    return write_report(workspace.inner / "report.html", data)


def _next(out: Path) -> list[str]:
    return [f'diptych predict {out} "…"', f"diptych evaluate {out} other.csv", f"diptych report {out}"]
