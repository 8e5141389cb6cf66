"""What differential privacy costs: a private step beside the plain one, in time and memory, with Opacus' two modes beside them.

Each is a process of its own, since memory is measured. Opacus is given a network of the same shape that is written as it wants it:
untied, with positions repeated for every text, since it refuses or misjudges others; the plain step of that network is its yardstick.

    python benchmarks/private.py [--rounds 5] [--shapes minilm gpt]
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych import runtime
from diptych.config import TrainSettings
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.tasks import task_class
from diptych.tasks.packing import StreamRows
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Place
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer
from diptych.training.optimizers import adamw
from diptych.training.regimes import compose

RESULTS = Path(__file__).parent / "results" / "private.csv"
LAYERS, HIDDEN, HEADS = 6, 384, 12
SHAPES = {"minilm": {"vocab": 30_522, "length": 32, "batch": 128}, "gpt": {"vocab": 8192, "length": 256, "batch": 16}}
WAYS = ("plain", "private", "peer plain", "opacus hooks", "opacus ghost")
YARDSTICK = {"private": "plain", "opacus hooks": "peer plain", "opacus ghost": "peer plain"}
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=None)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    precision = options.precision or runtime.best_precision()
    if options.run:
        print(json.dumps(measure(*options.run, options.rounds, precision)))
        return
    found = runtime.machine()
    print(f"{found.processor}, {found.cores} cores, torch {torch.__version__}, {precision}; medians of {options.rounds} steps")
    for shape in options.shapes:
        measured: dict[str, dict[str, float]] = {}
        for way in options.ways:
            command = [sys.executable, __file__, "--run", shape, way, "--rounds", str(options.rounds), "--precision", precision]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{shape:8} {way:14} {done.stderr.strip().splitlines()[-1][:100]}")
                continue
            measured[way] = json.loads(done.stdout.splitlines()[-1])
            show(shape, way, measured)
        keep(found.processor, precision, shape, measured)


def measure(shape: str, way: str, rounds: int, precision: str) -> dict[str, float]:
    """The median seconds of a step, and the bytes at most that it took beside what was there before the first one."""
    runtime.prepare()
    warnings.simplefilter("ignore")
    makers = {"plain": lambda: ours(shape, [], precision), "private": lambda: ours(shape, [{"name": "private", "noise": 1.0}], precision)}
    step = makers[way]() if way in makers else peer(shape, way, precision)
    before = resident("VmRSS")
    step()  # what is made once, moments of the optimizer and the check before the first private step, is not the step's own
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _round in range(rounds):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "bytes": resident("VmHWM"), "before": before}


def ours(shape: str, regime: list[Any], precision: str) -> Step:
    """A step the way the loop takes it: collate, forward, loss, backward, update."""
    vocab, length, batch = (SHAPES[shape][name] for name in ("vocab", "length", "batch"))
    sizes = {"vocab_size": vocab, "hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": HEADS, "feed_forward_size": 4 * HIDDEN}
    net = create("gpt2-mini" if shape == "gpt" else "bert-mini", **sizes, context_length=max(length, 64))
    task, examples = (language if shape == "gpt" else labelled)(net, vocab, length, batch)
    task.prepare(net, 0)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    steps = compose(regime)
    net = steps.prepare(net, task)
    shown, units = steps.show(task, examples)
    order = SimpleNamespace(num_examples=batch, batches=SimpleNamespace(batch_size=batch, ramp_steps=0), seed=0)
    steps.order(order, SimpleNamespace(steps=1000))
    settings = TrainSettings()
    optimizer = adamw(net, settings, 1e-4)
    net.train()
    few = max(1, settings.micro_batch_tokens // length)

    def step() -> None:
        places = [Place(0, 0, index) for index in range(batch)]
        batches = [shown.collate(units, places[start : start + few]) for start in range(0, batch, few)]
        with runtime.precision(precision, "cpu"):
            steps.step(net, shown, batches, (0, 0))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def language(net: Any, vocab: int, length: int, batch: int) -> tuple[Any, Any]:
    tokens = torch.randint(vocab, (batch * length + 1,), generator=torch.Generator().manual_seed(0)).numpy().astype("uint16")
    borders = np.append(np.arange(0, batch * length, length), len(tokens))
    return task_class("causal-lm")(task_class("causal-lm").Settings()), StreamRows(TokenShards(tokens, borders, np.diff(borders)), length)


def labelled(net: Any, vocab: int, length: int, batch: int) -> tuple[Any, Any]:
    words = [f"w{number}" for number in range(2000)]
    tokenizer = Tokenizer.train([" ".join(words)], "wordpiece", 4000, panel="masked")
    draw = np.random.default_rng(0)
    rows = [LabelledRow((" ".join(draw.choice(words, length)),), str(number % 2), "") for number in range(batch)]
    task = task_class("classification")(task_class("classification").Settings(long="cut"))
    return task, task.examples(rows, tokenizer, length, Ledger())


class Peer(nn.Module):
    """The same shape as those who use Opacus write it."""

    def __init__(self, vocab: int, length: int, *, is_causal: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, HIDDEN), nn.Embedding(length, HIDDEN)
        self.layers = nn.ModuleList(PeerLayer(is_causal=is_causal) for _layer in range(LAYERS))
        self.norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, vocab if is_causal else 2, bias=False)
        self.is_causal = is_causal

    def forward(self, ids_BT: Tensor) -> Tensor:
        places_BT = torch.arange(ids_BT.shape[1]).expand(ids_BT.shape).contiguous()
        x_BTD = self.tokens(ids_BT) + self.positions(places_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        x_BTD = self.norm(x_BTD)
        return self.head(x_BTD if self.is_causal else x_BTD[:, 0])


class PeerLayer(nn.Module):
    def __init__(self, *, is_causal: bool) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.qkv, self.output = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.is_causal = is_causal

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = self.qkv(self.first(x_BTD)).view(B, T, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal).transpose(1, 2).reshape(B, T, D)
        x_BTD = x_BTD + self.output(seen)
        return x_BTD + self.down(F.gelu(self.up(self.second(x_BTD))))


def peer(shape: str, way: str, precision: str) -> Step:
    vocab, length, batch = (SHAPES[shape][name] for name in ("vocab", "length", "batch"))
    is_causal = shape == "gpt"
    net: Any = Peer(vocab, length, is_causal=is_causal).train()
    optimizer: Any = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(vocab, (batch, length + 1), generator=torch.Generator().manual_seed(0))
    gold = ids[:, 1:] if is_causal else ids[:, 0] % 2
    criterion: Any = nn.CrossEntropyLoss()
    if way.startswith("opacus"):
        from opacus import PrivacyEngine

        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ids[:, :-1], gold), batch_size=batch)
        mode = way.split()[1]
        told = {"module": net, "optimizer": optimizer, "data_loader": loader, "noise_multiplier": 1.0, "max_grad_norm": 1.0}
        made = PrivacyEngine().make_private(
            **told, grad_sample_mode=mode, poisson_sampling=False, **({"criterion": criterion} if mode == "ghost" else {})
        )
        net, optimizer = made[0], made[1]
        criterion = made[2] if mode == "ghost" else criterion

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(ids[:, :-1])
            if is_causal:
                told = {"shape": (batch, length)} if way == "opacus ghost" else {}
                loss = criterion(logits.reshape(-1, vocab), gold.reshape(-1), **told)
            else:
                loss = criterion(logits, gold)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def resident(what: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def show(shape: str, way: str, measured: dict[str, dict[str, float]]) -> None:
    mine, other = measured[way], measured.get(YARDSTICK.get(way, ""))
    ratios = f"  {mine['seconds'] / other['seconds']:.2f}x the time, {mine['bytes'] / other['bytes']:.2f}x the memory" if other else ""
    print(f"{shape:8} {way:14} {mine['seconds']:7.3f} s  {mine['bytes'] / 2**30:5.2f} GiB{ratios}", flush=True)


def keep(processor: str, precision: str, shape: str, measured: dict[str, dict[str, float]]) -> None:
    """Append what was measured to the results that lie beside this file."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "machine", "torch", "precision", "shape", "way", "seconds", "bytes"])
        for way, found in measured.items():
            row = [date.today(), processor, torch.__version__, precision, shape, way, f"{found['seconds']:.4f}", int(found["bytes"])]
            writer.writerow(row)


if __name__ == "__main__":
    main()
