"""How long a step of several ranks waits for a checkpoint that is written in the background.

    torchrun --nproc-per-node 2 benchmarks/saving_stall.py

A GPT of 6x384 takes steps, and every sixth of them saves; the time that a saving step waits, and how much slower the steps
beside the writing are, is given as a share of a step, median over all.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch

from diptych import runtime
from diptych.config import TrainSettings
from diptych.packed import Packed
from diptych.presets import create
from diptych.tasks import task_class
from diptych.tasks.task import Batch, Targets
from diptych.training.checkpoint import optimizer_tensors, weights
from diptych.training.keeping import BackgroundKeeper
from diptych.training.optimizers import adamw
from diptych.training.ranks import join
from diptych.training.regimes.regime import Plain

ROWS, CONTEXT, STEPS, EVERY = 4, 256, 36, 6


def main() -> None:
    runtime.prepare(threads=1)
    ranks = join(torch.device("cpu"))
    net = create("gpt-mini", seed=0, hidden_size=384, head_size=64, num_layers=6, context_length=CONTEXT, vocab_size=8192)
    kind = task_class("causal-lm")
    task, regime = kind(kind.Settings()), Plain()
    task.prepare(net, 0)
    optimizer = adamw(net, TrainSettings(), 1e-3)
    draw = torch.Generator().manual_seed(ranks.index)
    ids = torch.randint(0, 8192, (ROWS, CONTEXT), generator=draw)
    gold = torch.randint(0, 8192, (ROWS * CONTEXT,), generator=draw)
    asked = Targets(torch.arange(ROWS * CONTEXT), gold, torch.arange(ROWS).repeat_interleave(CONTEXT))
    batch = Batch(Packed.from_padded(ids), {"lm": asked}, tuple(range(ROWS)))
    with tempfile.TemporaryDirectory() as own:
        keeper = BackgroundKeeper(Path(ranks.of_first(own)), ranks)
        quiet, beside, waits = [], [], []
        for step in range(STEPS):
            is_beside = keeper._writing is not None and not keeper._writing.done()
            start = time.perf_counter()
            with runtime.precision(runtime.best_precision(), "cpu"):
                regime.step(net, task, [batch], (0, step))
            ranks.sum_gradients(net.parameters())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ranks.any(False)
            if step >= 3:
                (beside if is_beside else quiet).append(time.perf_counter() - start)
            if step % EVERY == EVERY - 1:
                start = time.perf_counter()
                keeper.save(step, {"weights": weights(net), "optimizer": optimizer_tensors(optimizer, net)}, {})
                waits.append(time.perf_counter() - start)
        keeper.wait()
        ranks.any(False)
    if ranks.is_first:
        step = statistics.median(quiet)
        print(f"{sum(each.numel() for each in net.parameters()):,} weights, {ranks.count} ranks, median step {step:.3f} s")
        print(f"a step that saves waits {statistics.median(waits):.4f} s, {statistics.median(waits) / step:.1%} of a step")
        if beside:
            print(f"a step beside the writing takes {statistics.median(beside) / step:.3f} of another ({len(beside)} of them)")


if __name__ == "__main__":
    main()
