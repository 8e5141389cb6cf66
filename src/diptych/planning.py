"""What a run would take, before it is begun: parameters, operations, memory, time and cost, on this machine or another.

For this machine time is rehearsed (see `training/rehearsal.py`), for others it follows from published figures and an assumed
share of them, and says so.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.choosing import choose
from diptych.config import AUTO
from diptych.errors import RecipeError
from diptych.formats.folder import read_shape
from diptych.installed import find_model
from diptych.machines import SHARE_OF_PEAK, Device, find_devices
from diptych.messages import _, mark
from diptych.models.config import ModelConfig
from diptych.presets import list_presets, preset_config
from diptych.recipe import Recipe, load
from diptych.running import resolve
from diptych.survey import TextFacts, look_at
from diptych.tasks import PRETRAINING
from diptych.tasks.head_task import HeadTask
from diptych.text.corpus import Corpus
from diptych.training import rehearsal, sizing
from diptych.training.regimes import compose, settings_of
from diptych.training.sizing import Memory, Operations, Workload

SIMPLE_REGIMES = ("frozen", "lora")
RECIPES = (".yaml", ".yml")
PROGRAM_BYTES = 415_000_000
"""Python, torch with its optimizers and kernels, and Diptych, in a process that trains; measured on Linux with torch 2.13."""
HELD_AGAIN_OF_ROWS, HELD_AGAIN_OF_TEXTS = 0.5, 1.0
"""What glibc's allocator holds beyond what is in use, as a share of the activations; measured, see benchmarks/planning.py. Rows of
equal length ask for the same blocks in every step; texts of all lengths leave gaps that no other text fits."""
LORA_RANK = 8
USUAL_LENGTH = 128
"""Tokens of a text to be judged, where nobody has looked at the texts."""
HEADROOM = 0.9
"""The share of a device's memory that a plan fills: the rest is the system's, and what an allocator cannot use."""
PROBE_SHARE = 0.5
"""The share of the probed product rate that a network too large to rehearse here is assumed to reach."""


@dataclass(frozen=True)
class Way:
    """One way to lay a training over devices, and what each of them then holds."""

    name: str
    devices: int
    memory: Memory
    fits: bool


@dataclass(frozen=True)
class Estimate:
    """What a run would take."""

    name: str
    machine: str
    devices: int
    precision: str
    config: ModelConfig
    load: Workload
    parameters: dict[str, int]
    operations: Operations
    ways: list[Way]
    device_bytes: float
    """Memory of one device."""
    cache_bytes: int
    """Keys and values of one text as long as the context, while the model writes; 0 where it does not."""
    optimal_tokens: int
    tokens_per_second: float
    tokens: int | None
    """Tokens of the recipe's budget; None where nothing says how much text there is."""
    price: float | None
    """Dollars per device and hour."""
    basis: str
    """Where the time comes from."""
    notes: list[str] = field(default_factory=list)

    @property
    def num_parameters(self) -> int:
        return sum(self.parameters.values())

    @property
    def seconds(self) -> float | None:
        """How long the recipe's budget takes."""
        return None if self.tokens is None else self.tokens / self.tokens_per_second

    @property
    def optimal_seconds(self) -> float:
        return self.optimal_tokens / self.tokens_per_second

    def cost(self, seconds: float | None) -> float | None:
        """Dollars for so many seconds on all devices."""
        return None if seconds is None or self.price is None else seconds / 3600 * self.price * self.devices

    def to_json(self) -> dict[str, Any]:
        """Plain numbers: bytes, seconds, operations per token."""
        return {
            "name": self.name,
            "machine": self.machine,
            "devices": self.devices,
            "precision": self.precision,
            "parameters": {**self.parameters, "total": self.num_parameters},
            "operations_per_token": {
                **{name: round(value) for name, value in dataclasses.asdict(self.operations).items()},
                "forward": round(self.operations.forward),
                "backward": round(self.operations.backward),
            },
            "tokens_per_step": self.load.tokens,
            "tokens_in_flight": self.load.in_flight,
            "memory": [{"way": way.name, "devices": way.devices, "fits": way.fits, **_rounded(way.memory)} for way in self.ways],
            "device_bytes": round(self.device_bytes),
            "cache_bytes": self.cache_bytes,
            "tokens_per_second": self.tokens_per_second,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "dollars": self.cost(self.seconds),
            "compute_optimal": {
                "tokens": self.optimal_tokens,
                "seconds": self.optimal_seconds,
                "dollars": self.cost(self.optimal_seconds),
            },
            "basis": self.basis,
            "notes": self.notes,
        }


def plan(source: str | Path | Recipe, *, machine: str = "this", price: float | None = None, sets: Sequence[str] = ()) -> Estimate:
    """What a recipe, a preset or a model would take.

    Args:
        source: a recipe (its file, or checked), a preset such as "gpt-3-175b", or a model folder.
        machine: "this", or a number of published devices such as "8xH100".
        price: dollars per device and hour, in place of the usual price.
        sets: `part.name=value` over the recipe.

    Raises:
        RecipeError E415: no such machine. E417: a price that is none. ModelError E308: neither recipe, preset nor folder.
    """
    if price is not None and not price >= 0:
        raise RecipeError("E417", price=price)
    others = None if machine == "this" else find_devices(machine)
    runtime.prepare()
    recipe = source if isinstance(source, Recipe) else _recipe(source, sets)
    has_budget = isinstance(source, Recipe) or Path(source).suffix in RECIPES or any(_budgets(recipe))
    reason = ""
    if recipe.model.preset == AUTO:
        recipe, reason = _sized(recipe)
    config = _config(recipe)
    facts = _facts(recipe)
    heads = _heads(recipe)
    net = sizing.shape_of(config, heads if "classes" not in heads else ("classes",))
    recipe = resolve(recipe, net)
    load = _workload(recipe, config, heads, facts)
    precision = recipe.run.precision if others is None else "bfloat16"
    operations = sizing.operations(net, load)
    num_devices, device_bytes, name = _machine(others)
    trainable = _trainable(recipe, net)
    kept = rehearsal.kept_bytes(config, load, precision)
    memory = sizing.training_memory(
        net,
        load,
        activations=kept,
        precision=precision,
        optimizer=recipe.train.optimizer or "adamw",
        trainable=trainable,
        has_mean=recipe.train.ema is not None,
    )
    if others is None:
        held_again = HELD_AGAIN_OF_ROWS if heads == ("lm",) and config.is_causal else HELD_AGAIN_OF_TEXTS
        memory = dataclasses.replace(memory, program=PROGRAM_BYTES, allocator=held_again * kept)
    rate, basis = _rate(recipe, config, load, operations, precision, others)
    return Estimate(
        name=str(source) if not isinstance(source, Recipe) else str(recipe.model.preset or recipe.model.base),
        machine=name,
        devices=num_devices,
        precision=precision,
        config=config,
        load=load,
        parameters=sizing.parameters_by_part(net),
        operations=operations,
        ways=_ways(net, load, memory, num_devices, HEADROOM * device_bytes),
        device_bytes=device_bytes,
        cache_bytes=sizing.cache_bytes(config, config.context_length) if config.is_causal else 0,
        optimal_tokens=sizing.optimal_tokens(sum(sizing.parameters_by_part(net).values())),
        tokens_per_second=rate,
        tokens=_budget(recipe, load, facts, rate) if has_budget else None,
        price=price if price is not None else others[1].dollars_per_hour if others else None,
        basis=basis,
        notes=[*([reason] if reason else []), *_notes(recipe, config, facts)],
    )


def _rounded(memory: Memory) -> dict[str, int]:
    return {**{name: round(value) for name, value in memory.parts().items()}, "total": round(memory.total)}


def _recipe(source: str | Path, sets: Sequence[str]) -> Recipe:
    """The recipe in a file, or one that stands for a preset or a folder by itself."""
    if Path(source).suffix in RECIPES:
        return load(source, list(sets))
    name = str(source)
    if name in list_presets():
        config = preset_config(name)
        model: dict[str, Any] = {"preset": name, "sizes": {"vocab_size": config.vocab_size}}
    else:
        config = read_shape(find_model(source))
        model = {"base": name}
    task = "causal-lm" if config.writes else "masked-lm"
    return load(None, list(sets), {"model": model, "task": {"name": task}})


def _budgets(recipe: Recipe) -> tuple[float | None, ...]:
    train = recipe.train
    return train.steps, train.tokens, train.minutes, train.epochs


def _sized(recipe: Recipe) -> tuple[Recipe, str]:
    """A recipe that says `auto` with the size that its text would get here, and why."""
    paths = _paths(recipe)
    if not paths:
        raise RecipeError("E405", where=_("the recipe"), key="task.text")
    task = recipe.task
    corpus = Corpus(paths, text=task.column, encoding=task.encoding, group=task.group, time=task.time)
    choice = choose(recipe, corpus.split(task.held_out)[0])
    return choice.recipe, choice.reason


def _config(recipe: Recipe) -> ModelConfig:
    model = recipe.model
    if model.base is not None:
        return read_shape(find_model(model.base))
    return preset_config(str(model.preset), **{"vocab_size": model.tokenizer.vocab_size, **model.sizes})


def _heads(recipe: Recipe) -> tuple[str, ...]:
    return ("lm",) if recipe.task.name in PRETRAINING else ("classes",)


def _paths(recipe: Recipe) -> list[Path]:
    """Where the recipe's text lies."""
    named = getattr(recipe.task, "text" if recipe.task.name in PRETRAINING else "data", None)
    return [Path(name) for name in ([named] if isinstance(named, str) else named or [])]


def _facts(recipe: Recipe) -> TextFacts | None:
    """What can be seen of the recipe's text, where it is here."""
    paths = _paths(recipe)
    if not paths or not all(path.exists() for path in paths):
        return None
    return look_at(paths, column=getattr(recipe.task, "column", None), vocab_size=recipe.model.tokenizer.vocab_size)


def _workload(recipe: Recipe, config: ModelConfig, heads: tuple[str, ...], facts: TextFacts | None) -> Workload:
    """What a step sends through the network. Rows of running text are full; texts to be judged are as long as they are."""
    train = recipe.train
    rows, dropout = train.batch_size or 1, train.dropout or 0.0
    if heads == ("lm",):
        asked = getattr(recipe.task, "mask_rate", 1.0)
        length = config.context_length
        if facts is not None and not config.is_causal:
            length = min(length, max(1, round(facts.tokens / max(1, facts.documents))))
        tokens = rows * config.context_length
        return Workload(tokens, length, train.micro_batch_tokens, asked, heads, dropout, recipe.run.recompute)
    usual = USUAL_LENGTH if facts is None else round(facts.tokens / max(1, facts.documents))
    length = max(1, min(usual, config.context_length))
    return Workload(rows * length, length, train.micro_batch_tokens, 0.0, heads, dropout, recipe.run.recompute)


def _machine(others: tuple[int, Device] | None) -> tuple[int, float, str]:
    if others is not None:
        count, device = others
        return count, device.memory_gbytes * 1e9, f"{count}x{device.name}" if count > 1 else device.name
    here = runtime.machine()
    return 1, here.memory_bytes, here.processor


def _simple_regimes(recipe: Recipe) -> list[Any]:
    """Regimes that need nothing but a network and a task, so that a plan can try them."""
    return [entry for entry in recipe.train.regime if settings_of(entry).name in SIMPLE_REGIMES]


def _trainable(recipe: Recipe, net: Any) -> int | None:
    """How many parameters learn, asked of the regimes themselves; None for all."""
    regimes = _simple_regimes(recipe)
    if not regimes:
        return None
    task: Any = HeadTask(None)
    task.heads = tuple(net.heads)
    prepared = compose(regimes).prepare(net, task)
    count = sum(parameter.numel() for parameter in prepared.parameters() if parameter.requires_grad)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return count


def _ways(net: Any, load: Workload, memory: Memory, devices: int, limit: float) -> list[Way]:
    """One device; several of them, whole copies or cut; and what adapters or privacy change on one."""
    largest, adapters = sizing.largest_part(net), sizing.FLOAT32_BYTES * sizing.lora_parameters(net, LORA_RANK)
    many = devices if devices > 1 else 8
    cut = sizing.sharded(memory, many, largest)
    # Recomputing keeps what goes into each layer, and all of one layer while it is computed again.
    recomputed = load.in_flight * net.config.num_layers * net.config.hidden_size * sizing.FLOAT32_BYTES
    recomputed += memory.activations / net.config.num_layers
    lora = dataclasses.replace(memory, weights=memory.weights + adapters, gradients=adapters, optimizer=2 * adapters)
    # An example's gradient is clipped before it is added to the others': one at a time, beside their sum.
    one_text = min(1.0, load.text_length / load.in_flight)
    private = dataclasses.replace(memory, gradients=2 * memory.gradients, activations=memory.activations * one_text)
    found = [
        (mark("one device"), 1, memory),
        (mark("data parallel"), many, memory),
        (mark("sharded"), many, cut),
        (mark("sharded, recomputing"), many, dataclasses.replace(cut, activations=min(cut.activations, recomputed))),
        (mark("LoRA, one device"), 1, lora),
        (mark("private, one device"), 1, private),
    ]
    return [Way(name, count, each, each.total <= limit) for name, count, each in found]


def _rate(
    recipe: Recipe, config: ModelConfig, load: Workload, operations: Operations, precision: str, others: tuple[int, Device] | None
) -> tuple[float, str]:
    """(tokens per second, where that is from)."""
    work = operations.forward + operations.backward
    if others is not None:
        count, device = others
        text = _("{rate:,.0f} TFLOP/s published ({source}), {share:.0%} of it assumed")
        return count * device.teraflops * 1e12 * SHARE_OF_PEAK / work, text.format(
            rate=device.teraflops, source=device.source, share=SHARE_OF_PEAK
        )
    device = runtime.device(recipe.run.device)
    train = recipe.train.model_copy(update={"regime": _simple_regimes(recipe)})
    found = rehearsal.pace(config, load, train, precision=precision, device=device)
    if found is not None:
        return load.tokens / found.step_seconds(load), _("rehearsed on this machine")
    speed = runtime.machine().speed
    gflops = speed.bf16_gflops if precision == "bfloat16" else speed.fp32_gflops
    text = _("{rate:,.0f} GFLOP/s probed, {share:.0%} of it assumed: this is not rehearsed")
    return gflops * 1e9 * PROBE_SHARE / work, text.format(rate=gflops, share=PROBE_SHARE)


def _budget(recipe: Recipe, load: Workload, facts: TextFacts | None, rate: float) -> int | None:
    """Tokens of the recipe's budget."""
    train = recipe.train
    if train.steps:
        return train.steps * load.tokens
    if train.tokens:
        return train.tokens
    if train.minutes:
        return round(train.minutes * 60 * rate)
    return None if facts is None else round((train.epochs or 1) * facts.tokens)


def _notes(recipe: Recipe, config: ModelConfig, facts: TextFacts | None) -> list[str]:
    notes = []
    left_out = {settings_of(entry).name for entry in recipe.train.regime} - set(SIMPLE_REGIMES)
    if left_out:
        notes.append(
            _("What the regime {names} adds is not planned: it needs more than the shape.").format(names=", ".join(sorted(left_out)))
        )
    if not config.is_causal:
        notes.append(_("20 tokens per parameter was found for decoders; for an encoder it is a rough guide."))
    if facts is None and not any((recipe.train.steps, recipe.train.tokens, recipe.train.minutes)):
        notes.append(_("Nothing says how much text there is, so the time of an epoch is not known."))
    return notes


__all__ = ["Estimate", "Way", "plan"]
