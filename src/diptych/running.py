"""What pretraining and fine-tuning share around the loop: blanks filled in, a plan for the loop, facts for the report."""

import shlex
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.config import BUDGETS, TrainSettings, parse
from diptych.errors import RecipeError, TrainingError, UsageError
from diptych.formats.adapter_folder import hang, read_adapter
from diptych.formats.folder import read_model
from diptych.formats.gguf import read_gguf
from diptych.gguf_header import read_header
from diptych.installed import find_model
from diptych.kernels.int8 import is_int8
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.model import Model
from diptych.recipe import Recipe
from diptych.report.privacy import short
from diptych.surgery.depth import keep_layers
from diptych.surgery.low_rank import detach
from diptych.tasks import PRETRAINING, task_class
from diptych.text.fingerprints import Fingerprints
from diptych.text.gguf_vocabulary import read_vocabulary
from diptych.text.tokenizer import Tokenizer
from diptych.text.words import language_of
from diptych.training.loop import Outcome
from diptych.training.plan import Plan
from diptych.training.ranks import Ranks, join
from diptych.training.regimes import Regime, Surroundings, compose, settings_of
from diptych.training.regimes.federated import FederatedSettings
from diptych.training.workspace import Workspace, check_free, kept_recipe

PRETRAINING_MINUTES = 10.0
"""How long a pretraining takes where the recipe names no budget."""
PRETRAINING_TOKENS = 2048
"""Tokens of a pretraining step where the recipe names no batch."""
PRIVATE_BATCH = 256
"""Units of a private step where the recipe names no batch: the noise of a step is the same however many share it."""
LAMB_LR = 7e-3
"""Each weight moves by so much of its own length: GPT-BERT's 40-million model took 7e-3, with steps of 16,384 tokens (BabyLM 2025)."""
SAMPLE_CHARS = 20_000_000
"""So much text is enough to learn a tokenizer from."""


@dataclass(frozen=True)
class Beginning:
    """Who carries a run out and what becomes of what lies in `out`: the same for all its ranks."""

    ranks: Ranks
    resume: bool
    overwrite: bool


def begin(recipe: Recipe, *, resume: bool, overwrite: bool) -> Beginning:
    """Set the process up, meet the other ranks and see that `out` is free, before anything is read.

    A run that torchrun has started again, because a rank was lost, goes on where it was.

    Raises:
        RecipeError E411, E412, E413: `out` is taken. TrainingError E520: the ranks were given different recipes. E562, E564, E568: see
            `check_private`.
    """
    check_private(recipe)
    ranks = join(runtime.device(recipe.run.device))
    runtime.prepare(threads=recipe.run.threads)
    ranks.check_recipe(recipe.to_dict())
    if ranks.restarts:
        resume, overwrite = True, False
    if recipe.run.out:
        out = Path(recipe.run.out)
        ranks.first_does(lambda: check_free(out, resume=resume, overwrite=overwrite))
    return Beginning(ranks, resume, overwrite)


def open_workspace(recipe: Recipe, begun: Beginning) -> Workspace | None:
    """The folder of the run, opened by the first rank and seen by all; None where nothing is to be kept.

    Raises:
        RecipeError, MachineError: see `Workspace`. TrainingError E523: a rank does not see it.
    """
    out = recipe.run.out
    if not out:
        return None

    def make() -> Workspace:
        return Workspace(out, recipe.to_dict(), resume=begun.resume, overwrite=begun.overwrite)

    workspace = begun.ranks.first_makes(make, lambda _made: None, lambda _nothing: Workspace.of_first_rank(out))
    begun.ranks.check_folder(workspace.inner)
    return workspace


def load_model(name: str | Path, adapter: str | Path | None = None) -> Model:
    """A model from a folder, a GGUF file, or by the name of an installed one, with a peft adapter added where one is named."""
    path = find_model(name)
    net, tokenizer = _read_file(path) if path.is_file() else _read_folder(path)
    if adapter is not None:
        hang(net, read_adapter(adapter), adapter)
        detach(net, merge=True)
    return Model(net, tokenizer, path if adapter is None else None)


def _read_folder(folder: Path) -> tuple[Any, Tokenizer | None]:
    has_tokenizer = any((folder / file).exists() for file in ("tokenizer.json", "vocab.txt", "vocab.json"))
    tokenizer = Tokenizer.load(folder) if has_tokenizer else None
    return read_model(folder), tokenizer


def _read_file(path: Path) -> tuple[Any, Tokenizer]:
    header = read_header(path)
    return read_gguf(header), read_vocabulary(header.metadata, path)


def base_model(recipe: Recipe) -> Model | None:
    """The model that the recipe starts from, with as many of its layers as it asks for; None where it starts anew.

    Raises:
        UsageError E651: its matrices are in eight bits.
    """
    if recipe.model.base is None:
        return None
    model = load_model(recipe.model.base)
    if is_int8(model.net):
        raise UsageError("E651")
    return model if recipe.model.layers is None else Model(keep_layers(model.net, recipe.model.layers), model.tokenizer)


def resolve(recipe: Recipe, net: Any, *, resume: bool = False) -> Recipe:
    """The recipe with every blank filled in, from the task and from the size of the network.

    A run that is resumed has its blanks filled as when it began, even if Diptych would choose otherwise today.

    A fresh network takes large steps, smaller ones the wider it is, and half as large where it norms after the sum; one
    that has learnt before takes small ones. On one machine many small steps learn more in an hour than few large ones.

    Raises:
        RecipeError E421: a batch that grows, over a budget in minutes. E422, E423: no texts can be shown in such pieces.
    """
    train, name = recipe.train, recipe.task.name
    is_pretraining = name in PRETRAINING
    filled: dict[str, Any] = {}
    if not any(getattr(train, name) for name in BUDGETS):
        filled |= {"minutes": PRETRAINING_MINUTES} if is_pretraining else {"epochs": 3.0}
    if train.batch_size is None and is_private(train):
        filled["batch_size"] = PRIVATE_BATCH
    elif train.batch_size is None:
        rows = max(1, round(PRETRAINING_TOKENS / net.config.context_length))
        filled["batch_size"] = rows if is_pretraining else getattr(task_class(name), "usual_batch", 16)
    optimizer = train.optimizer or ("muon" if is_pretraining and recipe.model.base is None else "adamw")
    filled["optimizer"] = optimizer
    if train.lr is None:
        filled["lr"] = float(f"{usual_lr(recipe, net.config, optimizer):.2g}")
    if train.evaluations is None:
        filled["evaluations"] = 10 if is_pretraining else 4
    # Stopping by held-out rows would be a choice that nothing hides.
    if train.patience is None and not is_pretraining and not is_private(train):
        filled["patience"] = 3
    if train.dropout is None:
        filled["dropout"] = 0.0 if is_pretraining else getattr(task_class(name), "usual_dropout", 0.1)
    run = recipe.run
    kept = kept_recipe(run.out).get("train") if resume and run.out else None
    if kept:
        before = parse(TrainSettings, kept, where=f"{run.out}/diptych/recipe.yaml")
        if not {*BUDGETS}.isdisjoint(filled):
            filled = {name: value for name, value in filled.items() if name not in BUDGETS}
            filled |= {name: getattr(before, name) for name in BUDGETS}
        blank = [name for name in filled if getattr(train, name) is None]
        filled |= {name: value for name in blank if (value := getattr(before, name)) is not None}
    precision = runtime.best_precision() if run.precision == "auto" else run.precision
    _check_ramps(train.model_copy(update=filled), name, net.config.context_length)
    return recipe.model_copy(update={"train": train.model_copy(update=filled), "run": run.model_copy(update={"precision": precision})})


def is_private(train: TrainSettings) -> bool:
    """Whether the recipe promises privacy."""
    return any(settings_of(each).name == "private" for each in train.regime)


def check_private(recipe: Recipe) -> None:
    """See that nothing but the noised steps learns from a text that is to be private.

    Raises:
        TrainingError E562, E564: what a private step cannot bear. E568: something would be learnt from the text without noise.
    """
    train, run, model = recipe.train, recipe.run, recipe.model
    if is_private(train):
        if run.recompute:
            raise TrainingError("E562")
        unlike = {"train.batch_ramp": train.batch_ramp, "train.length_ramp": train.length_ramp, "run.sharding": run.sharding != "none"}
        for setting, is_set in unlike.items():
            if is_set:
                raise TrainingError("E564", what=setting)
    elif not any(getattr(settings_of(each), "noise", None) for each in train.regime):
        return
    if model.preset is not None and model.tokenizer.folder is None:
        raise TrainingError("E568", what=_("a tokenizer"), setting="model.preset")
    if model.start == "counts":
        raise TrainingError("E568", what=_("the embeddings that training starts from"), setting="model.start")
    if model.more_tokens:
        raise TrainingError("E568", what=_("more tokens"), setting="model.more_tokens")


def _check_ramps(train: TrainSettings, task: str, context: int) -> None:
    if train.batch_ramp is not None and train.minutes is not None:
        raise RecipeError("E421")
    if train.length_ramp and not task_class(task).bears_pieces:
        raise RecipeError("E422", task=task)
    for stage in train.length_ramp or ():
        if stage.length >= context:
            raise RecipeError("E423", length=stage.length, context=context)


def usual_lr(recipe: Recipe, shape: Any, optimizer: str) -> float:
    """A peak learning rate that does no harm.

    Muon's steps are as long as AdamW's, but nowhere too long, so that fresh weights bear larger ones.
    """
    usual = [lr for each in recipe.train.regime if (lr := settings_of(each).usual_lr) is not None]
    of_task = getattr(task_class(recipe.task.name), "usual_lr", None)
    if of_task is not None:
        return of_task * (10 if usual else 1)
    if usual:
        return usual[-1]
    is_pretraining, is_fresh = recipe.task.name in PRETRAINING, recipe.model.base is None
    if is_pretraining and is_fresh:
        if optimizer == "lamb":
            return LAMB_LR
        pre_norm_lr, post_norm_lr = (6e-3, 3e-3) if optimizer == "muon" else (1.5e-3, 7e-4)
        return (pre_norm_lr if shape.norm_place == "pre" else post_norm_lr) * (256 / shape.hidden_size) ** 0.5
    if is_pretraining:
        return 5e-4
    return (3e-4 if is_fresh else 1e-4) * (384 / shape.hidden_size) ** 0.5


def set_passes(net: Any, recipe: Recipe) -> None:
    """Let the network be passed as the recipe asks, in training: with its dropout, and with what it keeps for the backward pass.

    There is no dropout on attention weights, which would slow them fivefold.
    """
    net.set_config(dropout=recipe.train.dropout or 0.0, attention_dropout=0.0)
    net.set_recompute(recipe.run.recompute)


def regime_of(recipe: Recipe, tokenizer: Tokenizer, groups: Sequence[str | None] | None = None) -> Regime:
    """How the recipe's steps are taken, with what its regimes may need besides network and task.

    Args:
        groups: of each row that is trained on, the group it belongs to.
    """
    return compose(recipe.train.regime, Surroundings(tokenizer, recipe.model.base, load_model, recipe.train.seed, groups))


def federated_of(recipe: Recipe) -> FederatedSettings | None:
    """How the recipe's examples are divided among clients; None where they lie together.

    Raises:
        TrainingError E580: another regime stands around the rounds.
    """
    regimes = [settings_of(each) for each in recipe.train.regime]
    place = next((number for number, each in enumerate(regimes) if isinstance(each, FederatedSettings)), None)
    if place is None:
        return None
    if place + 1 < len(regimes):
        raise TrainingError("E580", outer=regimes[place + 1].name)
    return regimes[place]


def training_plan(recipe: Recipe, workspace: Workspace | None) -> Plan:
    """What the loop is told."""
    train, run = recipe.train, recipe.run
    assert train.batch_size is not None and train.lr is not None
    return Plan(
        train=train,
        batch_size=train.batch_size,
        lr=train.lr,
        precision=run.precision,
        checkpoints=workspace.checkpoints if workspace else None,
        checkpoint_steps=run.checkpoint_steps,
        eval_tokens=run.eval_tokens,
        log_steps=run.log_steps,
        sharding=run.sharding,
        compile=run.compile,
    )


def sample_of(texts: Iterable[str], limit: int = SAMPLE_CHARS) -> Iterator[str]:
    """Texts until `limit` characters are reached."""
    used = 0
    for text in texts:
        yield text
        used += len(text)
        if used >= limit:
            return


def languages_of(texts: Iterable[str]) -> list[str]:
    """The languages of some texts, as codes: ["en"], ["zh"] or both."""
    found = {language_of(text[:2000]) for text in islice(texts, 50)}
    return sorted((found & {"en", "zh"}) | ({"en", "zh"} if "mixed" in found else set())) or ["en"]


def cost_facts(outcome: Outcome, net: Any, recipe: Recipe, learnt: Mapping[str, Any] | None = None) -> list[tuple[str, str]]:
    """Time, tokens, speed, memory and machine, for the report and the card, and the privacy that was paid for.

    Args:
        learnt: what the regime keeps of how it was learnt.
    """
    privacy = (learnt or {}).get("privacy")
    found = runtime.machine()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    rate = outcome.tokens / max(1e-9, outcome.seconds)
    share = 6 * parameters * rate / 1e9 / max(1e-9, found.speed.fp32_gflops)
    return [
        (_("parameters"), f"{parameters:,}"),
        (_("training time"), f"{outcome.seconds / 60:.1f} min, {outcome.steps:,} " + _("steps")),
        (_("tokens"), f"{outcome.tokens:,} ({rate:,.0f}/s)"),
        (_("share of the machine's product rate"), f"{share:.0%}"),
        (_("precision"), recipe.run.precision),
        (_("peak memory"), f"{runtime.peak_memory_bytes() / 2**30:.1f} GiB"),
        (_("machine"), f"{found.processor}, {found.cores} " + _("cores") + f", {found.device}, torch {found.torch}"),
        *([(_("privacy"), short(privacy))] if privacy else []),
    ]


def command_of(recipe: Recipe, verb: str, source: Any) -> str:
    """The command that does the same again, short of what the recipe in the folder says."""
    out = recipe.run.out or "my-model"
    text = source if isinstance(source, str) else None
    parts = ["diptych", verb, f"{out}/diptych/recipe.yaml", "--out", f"{out}-again"]
    return " ".join(shlex.quote(part) for part in parts) + (
        "" if text or source is None else "  # " + _("the text was handed over in Python")
    )


def write_run(
    workspace: Workspace, model: Model, ledger: Ledger, facts: dict[str, Any], recipe: Recipe, documents: Fingerprints | None
) -> None:
    """Make the workspace a model: ledger, provenance, weights, and by what its documents are recognized where that may be kept."""
    if documents is not None and recipe.run.fingerprints and not any(settings_of(each).hides_examples for each in recipe.train.regime):
        documents.save(workspace.inner)
    workspace.write_ledger(ledger)
    workspace.write_provenance(facts)
    workspace.finish(model.write)
    model.folder = workspace.out


def next_steps(commands: Sequence[str]) -> str:
    """The commands that a person may type next."""
    return "\n".join([_("next:"), *(f"  {command}" for command in commands)])


def interrupted(recipe: Recipe, verb: str) -> str:
    """What to say when a run was ended from outside."""
    again = f"diptych {verb} {recipe.run.out}/diptych/recipe.yaml --resume"
    if recipe.run.out is None:
        return _("Interrupted. There was no --out, so nothing was kept.")
    return _("Interrupted and saved. Go on with: {command}").format(command=again)


def pass_on_interrupt(outcome: Outcome, recipe: Recipe, verb: str) -> None:
    """End the caller as the signal meant to that ended a run early; the run itself is saved by now.

    For whoever hands out the model alone: half trained, it must not look like the one that was asked for.

    Raises:
        KeyboardInterrupt: it was Ctrl-C. SystemExit: it was SIGTERM. Both say how to go on.
    """
    if outcome.stopped != "interrupted":
        return
    text = interrupted(recipe, verb)
    if outcome.signal == signal.SIGTERM:
        raise SystemExit(text)
    raise KeyboardInterrupt(text)
