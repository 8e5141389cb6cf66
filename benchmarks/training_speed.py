"""Tokens per second and peak memory of a GPT-2 training step, ours beside transformers' own, in one run on one machine.

All train the same shape on the same random tokens with fused AdamW and clipping. The peer is run the ways its users run it (bf16
autocast, bf16 weights, float32) and counts with its best; once more it has our settings of malloc, which tells what the step itself
gains. Each system is a process of its own, whose peak memory is told, and they take turns, so that a noisy machine is noisy for
all; --peers leaves some out where memory is short.

    python benchmarks/training_speed.py [--shape small] [--rounds 5] [--steps 3]
    python benchmarks/training_speed.py --shape 124m --rounds 3 --steps 1
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from diptych import runtime
from diptych.config import TrainSettings
from diptych.presets import create
from diptych.tasks.causal_lm import CausalLM
from diptych.tasks.packing import StreamRows
from diptych.tasks.task import Batch, Place
from diptych.text.shards import TokenShards
from diptych.training.optimizers import adamw
from diptych.training.regimes import compose

RESULTS = Path(__file__).parent / "results" / "training_speed.csv"
TUNED = ", our malloc"
Step = Callable[[], None]


@dataclass(frozen=True)
class Shape:
    """A GPT-2 and what it is shown in a step."""

    layers: int
    hidden: int
    heads: int
    context: int
    batch: int
    vocabulary: int
    is_large: bool = False
    """Whether all systems at once would not fit in the memory of a small machine: each leaves it between its turns."""
    peers: tuple[str, ...] = ("float32", "bfloat16 autocast", "bfloat16 weights")

    @property
    def step_tokens(self) -> int:
        return self.context * self.batch

    @property
    def parameters(self) -> int:
        """Of matrices, which are what a token is multiplied with; the tied one once."""
        return 12 * self.layers * self.hidden**2 + self.vocabulary * self.hidden

    def __str__(self) -> str:
        return f"GPT-2 {self.layers}x{self.hidden}, vocabulary {self.vocabulary:,}, context {self.context}, batch {self.batch}"


SHAPES = {
    "small": Shape(6, 384, 6, 256, 16, 8192),
    # In float32 a peer's step takes half a minute, and it is never the fastest where bfloat16 has been chosen.
    "124m": Shape(12, 768, 12, 512, 8, 50257, is_large=True, peers=("bfloat16 autocast", "bfloat16 weights")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of each system in a round")
    parser.add_argument("--peers", help="some of its ways, commas between them; all of the shape's otherwise")
    parser.add_argument("--worker", help="be this system: take steps when told to")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    if options.worker:
        work(shape, options.worker)
        return
    runtime.prepare()
    found = runtime.machine()
    best = runtime.best_precision(found)
    mine = f"diptych {best}"
    peers = [f"transformers {way}" for way in (options.peers.split(",") if options.peers else shape.peers)]
    print(f"{found.processor}, {found.cores} cores, torch {found.torch}, transformers {version('transformers')}")
    print(f"{shape}; medians of {options.rounds} rounds\n")
    workers = [Worker(options.shape, name, is_large=shape.is_large) for name in (mine, *peers, peers[-1] + TUNED)]
    for _round in range(options.rounds):
        for worker in workers:
            worker.begin()
            worker.rates.append(shape.step_tokens / worker.step(options.steps))
            worker.end(for_good=False)
    products = found.speed.bf16_gflops if best == "bfloat16" else found.speed.fp32_gflops
    for worker in workers:
        worker.end(for_good=True)
        share = 6 * shape.parameters * worker.rate / 1e9 / products
        print(f"{worker}  {share:.0%} of the product rate")
    print()
    ours, *others, tuned = workers
    usual = max(others, key=lambda each: each.rate)
    for other in (usual, tuned):
        ratios, memory = ours.beside(other), ours.peak_bytes / other.peak_bytes
        print(f"{statistics.median(ratios):.2f} times {other.name} round by round, at least {min(ratios):.2f}; {memory:.2f} of its memory")
    keep(found.processor, str(shape), workers, statistics.median(ours.beside(usual)))


class Worker:
    """A process that is one system and takes steps when it is told to."""

    def __init__(self, shape: str, name: str, *, is_large: bool) -> None:
        self.name, self.is_large, self.rates, self.peak_bytes = name, is_large, list[float](), 0
        self.command = [sys.executable, __file__, "--shape", shape, "--worker", name]
        self.process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Start and take a first step, where it does not run."""
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.step(1)

    def end(self, *, for_good: bool) -> None:
        """Stop, where nothing more is wanted of it or others need the memory."""
        if self.process is not None and (for_good or self.is_large):
            self.process.communicate()
            self.process = None

    def step(self, count: int) -> float:
        """Seconds of a step, the mean of `count`."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        seconds, peak_bytes = json.loads(self.process.stdout.readline())
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        return seconds

    def beside(self, other: "Worker") -> list[float]:
        """How many times as fast as another it was, round by round."""
        return [mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True)]

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def __str__(self) -> str:
        low, high = min(self.rates), max(self.rates)
        return f"{self.name:44} {self.rate:8,.0f} tokens/s  [{low:,.0f}, {high:,.0f}]  {self.peak_bytes / 1e6:7,.0f} MB"


def work(shape: Shape, name: str) -> None:
    """Take as many steps as each line of standard input says, and answer with the seconds of one and the peak of memory."""
    system, _, way = name.removesuffix(TUNED).partition(" ")
    if system == "diptych" or name.endswith(TUNED):
        runtime.prepare()
    step = ours(shape, way) if system == "diptych" else peer(shape, way)
    for line in sys.stdin:
        start = time.perf_counter()
        for _step in range(int(line)):
            step()
        print(json.dumps([(time.perf_counter() - start) / int(line), runtime.peak_memory_bytes()]), flush=True)


def ours(shape: Shape, precision: str) -> Step:
    """One optimizer step the way the loop takes it: collate, forward, loss, backward, clip, update."""
    sizes = {"vocab_size": shape.vocabulary, "hidden_size": shape.hidden, "num_layers": shape.layers, "num_heads": shape.heads}
    net = create("gpt2-mini", **sizes, feed_forward_size=4 * shape.hidden, context_length=shape.context)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    net.train()
    count = shape.step_tokens + 1
    tokens = torch.randint(shape.vocabulary, (count,), generator=torch.Generator().manual_seed(0)).numpy().astype("uint16")
    task = CausalLM(CausalLM.Settings())
    settings = TrainSettings()
    optimizer, regime = adamw(net, settings, 1e-3), compose([])
    rows = StreamRows(TokenShards(tokens, np.array([0, count]), np.array([count])), shape.context)
    size = max(1, settings.micro_batch_tokens // shape.context)
    places = [Place(settings.seed, 0, index) for index in range(shape.batch)]

    def step() -> None:
        batches: list[Batch] = [task.collate(rows, places[start : start + size]) for start in range(0, shape.batch, size)]
        with runtime.precision(precision, "cpu"):
            regime.step(net, task, batches, (0, 0))
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in net.parameters() if weight.grad is not None])
        if norm > settings.clip:
            torch.nn.utils.clip_grads_with_norm_(net.parameters(), settings.clip, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peer(shape: Shape, way: str) -> Step:
    """The loop that transformers' users write."""
    import transformers

    transformers.logging.set_verbosity_error()
    sizes = {"vocab_size": shape.vocabulary, "n_embd": shape.hidden, "n_layer": shape.layers, "n_head": shape.heads}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(**sizes, **ends, n_positions=shape.context, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    net = transformers.GPT2LMHeadModel(config).train()
    if way == "bfloat16 weights":
        net = net.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(shape.vocabulary, (shape.batch, shape.context), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bfloat16 autocast"):
            loss = net(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def keep(processor: str, shape: str, workers: list[Worker], ratio: float) -> None:
    """Append what was measured to the results that lie beside this file."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            columns = ["system", "tokens_per_second", "ratio_to_fastest_peer", "shape", "peak_bytes"]
            writer.writerow(["date", "machine", "torch", "transformers", *columns])
        for number, worker in enumerate(workers):
            shown = f"{ratio:.3f}" if number == 0 else ""
            about = [date.today(), processor, torch.__version__, version("transformers")]
            writer.writerow([*about, worker.name, f"{worker.rate:.0f}", shown, shape, worker.peak_bytes])


if __name__ == "__main__":
    main()
