"""Tokens per second of a GPT-2 training step, ours beside transformers' own, in one run on one machine.

Both train the same shape on the same random tokens with AdamW and clipping. The peer is run the ways its users run it
(bf16 autocast, bf16 weights, float32) and counts with its best. The two take turns, so that a noisy machine is noisy for both.

    python benchmarks/training_speed.py [--rounds 5] [--steps 3]
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers

from diptych import runtime
from diptych.config import TrainSettings
from diptych.presets import create
from diptych.tasks.causal_lm import CausalLM
from diptych.tasks.packing import StreamRows
from diptych.tasks.task import Batch, Place
from diptych.text.shards import TokenShards
from diptych.training.optimizers import adamw
from diptych.training.regimes import compose

LAYERS, HIDDEN, HEADS, CONTEXT, BATCH, VOCAB = 6, 384, 6, 256, 16, 8192
RESULTS = Path(__file__).parent / "results" / "training_speed.csv"
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of each system in a round")
    options = parser.parse_args()
    runtime.prepare()
    found = runtime.machine()
    print(f"{found.processor}, {found.cores} cores, torch {found.torch}, transformers {transformers.__version__}")
    print(f"GPT-2 {LAYERS}x{HIDDEN}, vocabulary {VOCAB:,}, context {CONTEXT}, batch {BATCH}; medians of {options.rounds} rounds\n")
    best = runtime.best_precision()
    systems: dict[str, Step] = {f"diptych {best}": ours(best)}
    for name in ("bfloat16 autocast", "bfloat16 weights", "float32"):
        systems[f"transformers {name}"] = peer(name)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for step in systems.values():
        step()
    for _round in range(options.rounds):
        for name, step in systems.items():
            start = time.perf_counter()
            for _step in range(options.steps):
                step()
            rates[name].append(options.steps * BATCH * CONTEXT / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    main_name, *peers = systems
    for name, rate in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(f"{name:32} {rate:8,.0f} tokens/s  [{low:,.0f}, {high:,.0f}]  diptych is {medians[main_name] / rate:.2f} times as fast")
    fastest = max(peers, key=medians.__getitem__)
    ratios = [mine / other for mine, other in zip(rates[main_name], rates[fastest], strict=True)]
    print(f"\nround by round against the fastest peer ({fastest}): median {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}")
    keep(found.processor, medians, statistics.median(ratios))


def ours(precision: str) -> Step:
    """One optimizer step the way the loop takes it: collate, forward, loss, backward, clip, update."""
    sizes = {"vocab_size": VOCAB, "hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": HEADS, "feed_forward_size": 4 * HIDDEN}
    net = create("gpt2-mini", **sizes, context_length=CONTEXT)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    net.train()
    tokens = torch.randint(VOCAB, (BATCH * CONTEXT + 1,), generator=torch.Generator().manual_seed(0)).numpy().astype("uint16")
    task = CausalLM(CausalLM.Settings())
    settings = TrainSettings()
    optimizer, regime = adamw(net, settings, 1e-3), compose([])
    rows = StreamRows(TokenShards(tokens, np.array([0, len(tokens)]), np.array([len(tokens)])), CONTEXT)
    size = max(1, settings.micro_batch_tokens // CONTEXT)
    places = [Place(settings.seed, 0, index) for index in range(BATCH)]

    def step() -> None:
        batches: list[Batch] = [task.collate(rows, places[start : start + size]) for start in range(0, BATCH, size)]
        with runtime.precision(precision, "cpu"):
            regime.step(net, task, batches, (0, 0))
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peer(way: str) -> Step:
    """The loop that transformers' users write."""
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    net = transformers.GPT2LMHeadModel(config).train()
    if way == "bfloat16 weights":
        net = net.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(VOCAB, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bfloat16 autocast"):
            loss = net(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def keep(processor: str, medians: dict[str, float], ratio: float) -> None:
    """Append what was measured to the results that lie beside this file."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "machine", "torch", "transformers", "system", "tokens_per_second", "ratio_to_fastest_peer"])
        for number, (name, rate) in enumerate(medians.items()):
            shown = f"{ratio:.3f}" if number == 0 else ""
            writer.writerow([date.today(), processor, torch.__version__, transformers.__version__, name, f"{rate:.0f}", shown])


if __name__ == "__main__":
    main()
