"""Commands that train: `pretrain`, `finetune`, and the recipes behind them.

Both take a recipe, or the short form `diptych pretrain notes/ --minutes 10 --out my-gpt`, which is a recipe too: it is
written into the folder that comes out.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from diptych.messages import _, mark

RECIPES = (".yaml", ".yml")

Source = Annotated[str | None, typer.Argument(help="A recipe (.yaml), or the text or table itself.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: part.name=value. May be given often.")]
Out = Annotated[str | None, typer.Option(help="The folder to write the model to.")]
Base = Annotated[
    str | None, typer.Option("--base", "--preset", help="A preset (gpt-mini, auto), a model folder or an installed model (minilm).")
]
Minutes = Annotated[float | None, typer.Option(help="Train for so many minutes.")]
Epochs = Annotated[float | None, typer.Option(help="Train for so many passes over the data.")]
Steps = Annotated[int | None, typer.Option(help="Train for so many steps.")]
Task = Annotated[str | None, typer.Option(help="The task; guessed from the base and the data where it is not given.")]
Regime = Annotated[str | None, typer.Option(help="How it is learnt: names with commas, outermost last (frozen, lora …).")]
Private = Annotated[bool, typer.Option("--private", help="Learn with differential privacy, at the cost of --epsilon.")]
Epsilon = Annotated[
    float | None, typer.Option(help="With --private: what the run may cost; 8 where it is not given, and less is stricter.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run, or start where there is none.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what lies in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print every event as JSON.")]


def pretrain(
    source: Source = None,
    sets: Sets = None,
    out: Out = None,
    base: Base = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    steps: Steps = None,
    task: Task = None,
    regime: Regime = None,
    private: Private = False,
    epsilon: Epsilon = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model on running text, anew or further.

    Example: `diptych pretrain notes/ --minutes 10 --out my-gpt`
    """
    from diptych import api

    start = base or _default_base(source, sets, "gpt-mini")
    parts: dict[str, Any] = {}
    if _is_recipe(source):
        parts = {"task": {"name": task}} if task else {}
    else:
        name = task or (api.panel_task(start) if start and not _names_task(sets) else None)
        parts = {"task": {"name": name} if name else {}}
        if source is not None:
            parts["task"]["text"] = source
    sets = [*_private(private, epsilon, sets or []), *(sets or [])]
    _carry_out(source, sets, parts, start, out, minutes, epochs, steps, regime, resume, overwrite, as_json)


def finetune(
    source: Source = None,
    sets: Sets = None,
    out: Out = None,
    base: Base = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    steps: Steps = None,
    task: Task = None,
    text: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    regime: Regime = None,
    private: Private = False,
    epsilon: Epsilon = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a model for a task on a table of examples, and test it beside word counts.

    Example: `diptych finetune tickets.csv --base my-bert --out my-classifier`
    """
    start = base or _default_base(source, sets, "minilm")
    parts: dict[str, Any] = {}
    if _is_recipe(source):
        parts = {"task": {"name": task}} if task else {}
    else:
        from diptych.api import guess_task

        guess = (source and guess_task(source)) or "classification"
        parts = {"task": {"name": task or guess} if task or not _names_task(sets) else {}}
        if source is not None:
            parts["task"]["data"] = source
    for name, value in (("text", text), ("label", label)):
        if value is not None:
            parts.setdefault("task", {})[name] = value
    sets = [*_private(private, epsilon, sets or []), *(sets or [])]
    _carry_out(source, sets, parts, start, out, minutes, epochs, steps, regime, resume, overwrite, as_json)


def distill(
    teacher: Annotated[str, typer.Argument(help="A model folder, an installed model, or the address of a service (http://…/v1).")],
    source: Annotated[str, typer.Argument(help="The table or text that the teacher is asked about.")],
    out: Out = None,
    sets: Sets = None,
    student: Annotated[str | None, typer.Option(help="A preset or a model folder; the teacher's own layers where it is not given.")] = None,
    layers: Annotated[int | None, typer.Option("--student-layers", help="Keep so many of the student's layers; half as a rule.")] = None,
    temperature: Annotated[float | None, typer.Option(help="How soft the teacher's answers are taken; 2 as a rule.")] = None,
    relations: Annotated[float | None, typer.Option(help="The weight of the relations inside the last layer (MiniLM).")] = None,
    hidden: Annotated[float | None, typer.Option(help="The weight of the hidden states.")] = None,
    model: Annotated[str | None, typer.Option(help="What a service calls the model that is to teach.")] = None,
    key: Annotated[str | None, typer.Option(help="The environment variable that holds a service's key.")] = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    steps: Steps = None,
    task: Task = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Teach a smaller model what a larger one knows, by its answers to a table or a text.

    Example: `diptych distill my-classifier tickets.csv --out small-classifier`
    """
    from diptych.distilling import distilled_parts, is_service, prompts_of, write_texts
    from diptych.remote import Service
    from diptych.tasks import PRETRAINING

    told = {"temperature": temperature, "relations": relations, "hidden": hidden, "model": model, "key": key}
    parts = distilled_parts(teacher, student=student, layers=layers, task=task, **told)
    if is_service(teacher) and parts["task"]["name"] in PRETRAINING:
        written = f"{out or 'student'}-written.jsonl"
        count = write_texts(Service(teacher, model or "", key), prompts_of(source), written)
        print(_("{count:,} texts of the teacher are in {file}").format(count=count, file=written))
        parts["train"], parts["task"], source = {}, {**parts["task"], "column": "text"}, written
    parts["task"]["text" if parts["task"]["name"] in PRETRAINING else "data"] = source
    _carry_out(None, sets, parts, None, out, minutes, epochs, steps, None, resume, overwrite, as_json)


def sweep(
    source: Annotated[str, typer.Argument(help="The recipe (.yaml) to run again and again.")],
    out: Annotated[str, typer.Option(help="The folder of the sweep; what is finished in it is not run again.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="Values of a setting: train.lr=1e-3,2e-3; may be given often.")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0 on.", min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Run a recipe over seeds and over values of settings; one table with mean and spread.

    Example: `diptych sweep my.yaml --seeds 3 --set train.lr=1e-3,2e-3 --out lr-sweep`
    """
    from diptych import recipe
    from diptych.report.terminal import print_rows
    from diptych.sweeping import sweep as run_all
    from diptych.training.progress import display

    listener = display("json" if as_json else "auto")
    try:
        done = run_all(recipe.load(source), out, sets=sets or [], seeds=seeds, listener=listener)
    finally:
        listener.close()
    if as_json:
        print(json.dumps({"kind": "result", "settings": done.to_json()}, ensure_ascii=False))
    else:
        print_rows(done.table())
    if any(len(setting.scores) < seeds for setting in done.settings):
        raise typer.Exit(130)


def recipe_show(source: Source = None, sets: Sets = None) -> None:
    """Print a recipe with every setting it has."""
    from diptych import recipe
    from diptych.config import to_yaml

    base = None if source else {"model": {"preset": "gpt-mini"}, "task": {"name": "causal-lm", "text": "corpus/"}}
    print(to_yaml(recipe.load(source, sets or [], base).to_dict()), end="")


def recipe_schema() -> None:
    """Print the JSON Schema of a recipe."""
    from diptych import recipe

    print(json.dumps(recipe.schema(), ensure_ascii=False, indent=1))


def add_to(app: typer.Typer) -> None:
    """Hang these commands in."""
    app.command()(pretrain)
    app.command()(finetune)
    app.command()(distill)
    app.command()(sweep)
    recipes = typer.Typer(help="Show a recipe in full, or the schema of all of them.", no_args_is_help=True)
    recipes.command("show")(recipe_show)
    recipes.command("schema")(recipe_schema)
    app.add_typer(recipes, name="recipe")


def _carry_out(
    source: str | None,
    sets: list[str] | None,
    parts: dict[str, Any],
    base: str | None,
    out: str | None,
    minutes: float | None,
    epochs: float | None,
    steps: int | None,
    regime: str | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from diptych import api, recipe, runtime
    from diptych.config import AUTO, named
    from diptych.presets import list_presets
    from diptych.training.progress import display

    file = source if _is_recipe(source) else None
    over = list(sets or [])
    if base is not None:
        kinds = ("preset", "base") if base in (AUTO, *list_presets()) else ("base", "preset")
        parts["model"] = dict(zip(kinds, (base, None), strict=True))
    budget = {"minutes": minutes, "epochs": epochs, "steps": steps}
    # Flags are said after the recipe, so they win over it; `--set` is said last.
    flags = [
        f"{part}.{name}={json.dumps(value, ensure_ascii=False)}" for part, values in parts.items() for name, value in values.items() if file
    ]
    flags += [f"train.{name}={value}" for name, value in budget.items() if value is not None]
    flags += [f"train.regime={json.dumps(named(regime))}"] if regime is not None else []
    flags += [f"run.out={json.dumps(out, ensure_ascii=False)}"] if out is not None else []
    checked = recipe.load(file, [*flags, *over], None if file else parts)
    listener = display("json" if as_json else "auto")
    try:
        if checked.run.out is None:
            listener.tell({"kind": "stage", "text": _("There is no --out: what is learnt will be shown and not kept.")})
        done = api.run(checked, resume=resume, overwrite=overwrite, listener=listener)
    finally:
        listener.close()
    if not runtime.speaks():
        pass  # one log: of several ranks the first says how it went
    elif as_json:
        print(json.dumps(_facts(done), ensure_ascii=False))
    else:
        _print_scores(done)
    if done.outcome.stopped == "interrupted":
        raise typer.Exit(130)


def _private(is_private: bool, epsilon: float | None, sets: list[str]) -> list[str]:
    """The settings that --private and --epsilon stand for."""
    if not (is_private or epsilon is not None):
        return []
    says_more = any(item.startswith("train.regime.private.") for item in sets)
    return [f"train.regime.private.epsilon={epsilon or 8.0}"] if epsilon is not None or not says_more else []


def _facts(done: Any) -> dict[str, Any]:
    """The last event: how it ended, and every number that a person is shown."""
    facts = {"kind": "result", "stopped": done.outcome.stopped, "scores": done.scores.to_json(), "ledger": done.ledger.to_json()}
    comparison = getattr(done, "comparison", None)
    if comparison is not None:
        facts["systems"] = {system.name: system.scores.to_json() for system in comparison.systems}
        facts["verdict"] = comparison.verdict()
    return facts


def _print_scores(done: Any) -> None:
    from diptych.evaluation.intervals import Scores
    from diptych.report.terminal import print_table

    comparison = getattr(done, "comparison", None)
    systems: list[tuple[str, Scores]] = [(system.name, system.scores) for system in comparison.systems] if comparison else []
    if not systems and done.scores:
        systems = [(mark("this model"), done.scores), *done.further.items()]
    print_table(systems)
    if comparison is not None:
        print(comparison.verdict())
    if len(done.ledger):
        print(_("ledger:"))
        for line in done.ledger.lines():
            print(f"  {line}")


def _is_recipe(source: str | None) -> bool:
    return source is not None and Path(source).suffix in RECIPES


def _default_base(source: str | None, sets: list[str] | None, preset: str) -> str | None:
    """A base for the short form; none where a recipe or a `--set` names the model."""
    if _is_recipe(source) or any(item.startswith(("model.preset", "model.base")) for item in sets or []):
        return None
    return preset


def _names_task(sets: list[str] | None) -> bool:
    return any(item.startswith("task.name") for item in sets or [])
