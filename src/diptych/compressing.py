"""A smaller model that is faster here, or none: size, speed and score before and after, measured on this machine.

int8 is slower than float32 on some processors, and nobody who asks for a smaller model wants that; so a model that came out slower
is not written.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from diptych import runtime
from diptych.errors import UsageError
from diptych.evaluation.intervals import Scores
from diptych.formats.atomic import atomic_folder
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.kernels.int8 import fast_mode, is_int8
from diptych.messages import _
from diptych.model import Model
from diptych.packed import Packed
from diptych.surgery.quantize import to_int8

ROUNDS = 5
"""Each model is timed so often, in turns, and the median counts: a machine is never quite alone."""
WRITTEN, READ, TEXTS = 32, 64, 8
"""A model that writes is timed on so many tokens after one, a model that reads on so many tokens of so many texts."""


@dataclass(frozen=True)
class Measured:
    """One of the two models."""

    bytes: int
    per_second: float
    """Tokens that are written, one text at a time; or texts that are read."""
    scores: Scores | None


@dataclass(frozen=True)
class Compressed:
    """What came of it.

    Attributes:
        unit: what `per_second` counts, "tokens" or "texts".
    """

    model: Model
    unit: str
    before: Measured
    after: Measured

    @property
    def share(self) -> float:
        """Of the bytes."""
        return self.after.bytes / self.before.bytes

    @property
    def speedup(self) -> float:
        return self.after.per_second / self.before.per_second

    def to_json(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        numbers = {
            name: {"bytes": side.bytes, "per_second": side.per_second, "scores": side.scores.to_json() if side.scores is not None else None}
            for name, side in sides.items()
        }
        return {"method": "int8", "unit": self.unit, "share": self.share, "speedup": self.speedup, **numbers}

    def __str__(self) -> str:
        text = _(
            "{share:.1%} of the bytes ({before:,.1f} -> {after:,.1f} MB), {speedup:.2f} times as fast ({slow:,.1f} -> {fast:,.1f} {unit})"
        )
        return text.format(
            share=self.share,
            before=self.before.bytes / 1e6,
            after=self.after.bytes / 1e6,
            speedup=self.speedup,
            slow=self.before.per_second,
            fast=self.after.per_second,
            unit=_("tokens/s") if self.unit == "tokens" else _("texts/s"),
        )


def quantize_model(model: Model, out: str | Path, judge: Callable[[Model], Scores] | None = None) -> Compressed:
    """Put the large matrices of a model in eight bits and write it, if it is faster so.

    Args:
        judge: scores of a model on data that it was not trained on.

    Raises:
        UsageError E653: it is in eight bits already. E654: it is not faster here, and nothing was written.
    """
    if is_int8(model.net):
        raise UsageError("E653")
    runtime.prepare()
    model.net.eval()
    small = Model(deepcopy(model.net), model.tokenizer if model.has_tokenizer else None)
    to_int8(small.net)
    seconds = _seconds([model, small])
    unit, amount = ("tokens", WRITTEN) if _writes(model) else ("texts", TEXTS)
    sides = [Measured(_bytes(each.net), amount / took, None) for each, took in zip((model, small), seconds, strict=True)]
    found = Compressed(small, unit, *sides)
    if found.speedup <= 1 or fast_mode() is None:
        raise UsageError("E654", speedup=f"{found.speedup:.2f}")
    if judge is not None:
        scored = [Measured(side.bytes, side.per_second, judge(each)) for side, each in zip(sides, (model, small), strict=True)]
        found = Compressed(small, unit, *scored)
    with atomic_folder(Path(out)) as part:
        small.write(part)
        (part / "diptych").mkdir()
        (part / "diptych" / "compression.json").write_text(
            json.dumps(found.to_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
    small.folder = Path(out)
    return found


def _bytes(net: Any) -> int:
    """What its tensors take, each once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())


def _seconds(models: list[Model]) -> list[float]:
    """How long each takes for the same work, timed in turns after a first time that does not count."""
    times: list[list[float]] = [[] for _model in models]
    for number in range(ROUNDS + 1):
        for model, found in zip(models, times, strict=True):
            start = perf_counter()
            _work(model)
            took = perf_counter() - start
            if number:
                found.append(took)
    return [median(found) for found in times]


def _work(model: Model) -> None:
    """Write some tokens after one, one text alone; or read a few texts."""
    config, length = model.config, min(READ, model.config.context_length)
    if _writes(model):
        text = Writing([0], [0] * length if config.is_encoder_decoder else None)
        for _step in decode(model.net, [text], Sampling(temperature=0), max_new_tokens=WRITTEN):
            pass
        return
    with torch.inference_mode():
        ids = torch.arange(TEXTS * length, device=model.device) % config.vocab_size
        model.net.hidden(Packed(ids, (length,) * TEXTS))


def _writes(model: Model) -> bool:
    return model.config.writes and "lm" in model.net.heads
