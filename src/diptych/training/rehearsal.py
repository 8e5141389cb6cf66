"""A rehearsal: a few steps of a smaller twin of a network, from which time and memory of the whole follow.

Rates of a data sheet do not say what a step takes: norms, softmax and the optimizer wait for memory, and a narrow matrix
keeps a machine from its best. So a few layers of the true width take a few steps, exactly as the loop takes them, and the
layers that are missing are added in a straight line. What autograd keeps is counted, not estimated, on a narrow twin.
"""

import dataclasses
import hashlib
import json
import statistics
import time
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from diptych import runtime
from diptych.config import TrainSettings
from diptych.kernels.dense_attention import LONGEST
from diptych.models.config import ModelConfig
from diptych.models.transformer import Network
from diptych.packed import Packed
from diptych.presets import build
from diptych.tasks.head_task import HeadTask
from diptych.tasks.task import Batch, Targets
from diptych.training.optimizers import build_optimizer
from diptych.training.regimes import compose
from diptych.training.sizing import BYTES, Workload, matrices, shape_of

VERSION = 2
STEPS = 3
"""Steps that are timed, after one that is not."""
FEW_LAYERS, MORE_LAYERS = 1, 3
KEPT_PER_WIDTH = {"float32": 64, "bfloat16": 36}
"""Bytes that a plain layer keeps of a token for each number of its width, for pairs of texts, which are not rehearsed: inputs and
outputs of two norms, queries, keys, values, what attention gives, and four times the width before and after the activation."""
DECODER_LAYER = 1.25
"""What a layer with a second attention keeps beside one without."""
LIMIT_FLOPS = 1.5e12
"""A step of the larger twin takes no more than this, so that a rehearsal stays a matter of seconds."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a training takes on the machine where it was rehearsed."""

    pass_seconds: float
    """Forward and backward over the tokens in flight."""
    update_seconds: float
    """Clipping and the optimizer's step."""

    def step_seconds(self, load: Workload) -> float:
        return load.tokens / load.in_flight * self.pass_seconds + self.update_seconds


def kept_bytes(config: ModelConfig, load: Workload, precision: str) -> float:
    """Bytes that autograd keeps of `load.in_flight` tokens between the passes, without the loss.

    They are counted on twins with few heads and few layers: what a token keeps is a straight line in either, being the sum of
    what grows with the width of the layers and of what heads share, such as the mask of a window.
    """
    if load.is_recomputed:
        # What each layer is given, and the insides of the one that is made again.
        layers, few = config.num_layers + config.num_decoder_layers, {"num_layers": _period(config)}
        one = dataclasses.replace(config, **few, num_decoder_layers=min(1, config.num_decoder_layers))
        given = load.in_flight * layers * config.hidden_size * BYTES[precision]
        return given + kept_bytes(one, dataclasses.replace(load, is_recomputed=False), precision)
    if config.is_encoder_decoder:
        layers = config.num_layers + DECODER_LAYER * config.num_decoder_layers
        return load.in_flight * layers * KEPT_PER_WIDTH[precision] * config.hidden_size
    # Scores are kept of short texts alone; of longer ones it does not depend on the length, but for the edges of windows.
    length = min(load.text_length, load.in_flight, max(LONGEST + 1, 4 * config.window))
    period = _period(config)

    def count(twin: ModelConfig, layers: int) -> float:
        return _kept_per_token(dataclasses.replace(twin, num_layers=layers), length, precision, load.dropout)

    def at_full_depth(twin: ModelConfig) -> float:
        one, two = count(twin, period), count(twin, 2 * period)
        return one + (two - one) * (config.num_layers / period - 1)

    twins = _narrow_twins(config)
    lines = [at_full_depth(twin) for twin in twins]
    kept = lines[0]
    if len(twins) == 2:
        few, more = (twin.num_heads for twin in twins)
        kept += (lines[1] - lines[0]) * (config.num_heads - few) / (more - few)
    return load.in_flight * kept


def pace(config: ModelConfig, load: Workload, train: TrainSettings, *, precision: str, device: torch.device) -> Pace | None:
    """The pace of a training, rehearsed now or remembered; None where even a few layers are too much for a rehearsal.

    Args:
        train: whose optimizer and regimes are rehearsed; the regimes must work with a network and a task alone.
    """
    tokens = None if config.is_encoder_decoder else _affordable(config, load)
    if tokens is None:
        return None
    facts = [VERSION, dataclasses.asdict(config), dataclasses.asdict(load), train.optimizer, train.regime, precision, str(device)]
    facts += [torch.__version__, torch.get_num_threads(), runtime.machine().processor]
    path = runtime.cache_folder() / f"pace-{hashlib.blake2b(json.dumps(facts, default=str).encode(), digest_size=8).hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Pace(**json.loads(path.read_text(encoding="utf-8")))
    stage = _Stage(dataclasses.replace(load, tokens=tokens, micro_tokens=tokens), train, precision, device)
    found = _rehearse(config, stage)
    scaled = Pace(found.pass_seconds * load.in_flight / tokens, found.update_seconds)
    with suppress(OSError):
        runtime.write_whole(path, json.dumps(dataclasses.asdict(scaled)))
    return scaled


@dataclasses.dataclass(frozen=True)
class _Stage:
    """What all twins of a rehearsal have in common."""

    load: Workload
    train: TrainSettings
    precision: str
    device: torch.device


def _rehearse(config: ModelConfig, stage: _Stage) -> Pace:
    period, layers = _period(config), config.num_layers
    if layers <= MORE_LAYERS * period:
        return _timed(config, stage)[0]
    few, few_size = _timed(dataclasses.replace(config, num_layers=FEW_LAYERS * period), stage)
    more, more_size = _timed(dataclasses.replace(config, num_layers=MORE_LAYERS * period), stage)
    steps = (layers - MORE_LAYERS * period) / ((MORE_LAYERS - FEW_LAYERS) * period)
    size = more_size + steps * (more_size - few_size)
    return Pace(
        pass_seconds=more.pass_seconds + steps * max(0.0, more.pass_seconds - few.pass_seconds),
        update_seconds=more.update_seconds * size / more_size,
    )


def _timed(config: ModelConfig, stage: _Stage) -> tuple[Pace, int]:
    """The median pace of a few steps of this very network, and how many parameters it has."""
    net, task, batch = _cast(config, stage.load)
    net.to(stage.device)
    regime = compose(stage.train.regime)
    net = regime.prepare(net, task)
    optimizer = build_optimizer(net, stage.train, 1e-5, stage.precision)
    net.train()
    passes, updates = [], []
    for _step in range(1 + STEPS):
        started = time.perf_counter()
        with runtime.precision(stage.precision, stage.device.type):
            regime.step(net, task, [batch.to(stage.device)], (0, 0))
        _wait(stage.device)
        between = time.perf_counter()
        torch.nn.utils.clip_grad_norm_([parameter for parameter in net.parameters() if parameter.grad is not None], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(stage.device)
        passes.append(between - started)
        updates.append(time.perf_counter() - between)
    size = sum(parameter.numel() for parameter in net.parameters())
    return Pace(statistics.median(passes[1:]), statistics.median(updates[1:])), size


def _cast(config: ModelConfig, load: Workload) -> tuple[Network, Any, Batch]:
    """A fresh network, and a task with a batch of random tokens that asks its heads what the real one would."""
    net = build(config)
    for head in load.heads:
        net.ensure_head(head, labels=("a", "b") if head in ("classes", "tags") else ())
    net.keep_heads(load.heads)
    net.set_config(dropout=load.dropout, attention_dropout=0.0)
    net.set_recompute(load.is_recomputed)
    length = min(load.text_length, load.tokens)
    num_texts = max(1, load.tokens // length)
    draw = torch.Generator().manual_seed(0)
    ids_N = torch.randint(config.vocab_size, (num_texts * length,), generator=draw)
    targets = {}
    for head in load.heads:
        places = num_texts if head in ("classes", "nsp") else len(ids_N)
        share = load.asked if head == "lm" else 1.0
        at_M = torch.randperm(places, generator=draw)[: max(1, round(share * places))].sort().values
        classes = config.vocab_size if head == "lm" else 2
        targets[head] = Targets(at_M, torch.randint(classes, (len(at_M),), generator=draw), torch.zeros_like(at_M))
    task: Any = HeadTask(None)
    task.heads = load.heads
    return net, task, Batch(Packed(ids_N, (length,) * num_texts), targets, (0,))


def _kept_per_token(config: ModelConfig, length: int, precision: str, dropout: float) -> float:
    """Bytes per token of all that autograd keeps of a forward pass through the body, weights apart."""
    net = build(config)
    net.set_config(dropout=dropout, attention_dropout=0.0)
    net.train()
    known = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    texts = Packed(torch.zeros(length, dtype=torch.int64), (length,))
    with runtime.precision(precision, "cpu"):
        # The copies of weights in another precision are made once a step: what a second pass keeps again is no activation.
        first = _kept_by(net, texts)
        second = _kept_by(net, texts)
    return sum(storage.nbytes() for place, storage in second.items() if place not in known and place not in first) / length


def _kept_by(net: Network, texts: Packed) -> dict[int, Any]:
    """The storages that one forward pass keeps, each once, by address; they are held, so that no address is used twice."""
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net.hidden(texts)
    return kept


def _narrow_twins(config: ModelConfig) -> list[ModelConfig]:
    """The same block with as few heads as keep its proportions, and with the next larger number; or itself."""
    if not config.num_heads:
        return [dataclasses.replace(config, vocab_size=64)]
    group = config.num_heads // config.num_kv_heads
    twins = []
    for heads in range(group, config.num_heads + 1, group):
        hidden, feed_forward = (size * heads / config.num_heads for size in (config.hidden_size, config.feed_forward_size))
        if hidden % 2 == 0 and feed_forward % 2 == 0:
            sizes = {"num_heads": heads, "num_kv_heads": heads // group, "hidden_size": int(hidden), "feed_forward_size": int(feed_forward)}
            twins.append(dataclasses.replace(config, vocab_size=64, **sizes))
    return twins[:2]


def _period(config: ModelConfig) -> int:
    """After how many layers their kinds repeat."""
    return min(config.num_layers, max(1, config.global_every)) if config.window else 1


def _affordable(config: ModelConfig, load: Workload) -> int | None:
    """How many tokens the larger twin may take, whole texts; None where not even one text is affordable."""
    layers = min(config.num_layers, MORE_LAYERS * _period(config))
    of_layers = sum(matrix.numel() for matrix in matrices(shape_of(dataclasses.replace(config, num_layers=layers), ())))
    affordable = int(LIMIT_FLOPS / (6 * (of_layers + load.asked * config.vocab_size * config.hidden_size)))
    if affordable >= load.in_flight:
        return load.in_flight
    texts = affordable // load.text_length
    return texts * load.text_length if texts else None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
