"""Every family forward, and forward and backward, beside transformers' own class, with the same weights and tokens in one run.

Both compute in bfloat16, once with weights of it and once with float32 weights under autocast, as each is used. A batch is
"full" where all texts are equally long, "mixed" where their lengths differ: transformers gets those padded, with the mask.
The two take turns on one thread and the processor's time is counted, so that what else the machine does matters little; a
ratio is the median over the rounds of theirs / ours.

    python benchmarks/families_speed.py [--rounds 7] [--only llama bert] [--way weights]
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from diptych import runtime
from diptych.formats.folder import write_model
from diptych.kernels.chunked_loss import cross_entropy
from diptych.packed import Packed
from diptych.presets import create, list_presets

RESULTS = Path(__file__).parent / "results" / "families_speed.csv"
TEXTS, TOKENS, VOCAB = 4, 256, 8192
SIZES = {"vocab_size": VOCAB, "context_length": TOKENS}
IGNORED = -100
Run = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", default="mini", help="the presets' size")
    parser.add_argument("--only", nargs="*", help="families, by the names of their presets")
    parser.add_argument("--way", choices=["weights", "autocast"], nargs="*", default=["weights", "autocast"])
    options = parser.parse_args()
    runtime.prepare()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    found = runtime.machine()
    print(f"{found.processor}, {found.cores} cores, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"presets of the size {options.size}, {TEXTS} texts of up to {TOKENS} tokens; milliseconds, medians of {options.rounds} rounds\n")
    print(f"{'family':20} {'way':9} {'batch':6} {'pass':9} {'ours':>8} {'theirs':>8}  theirs / ours")
    for family in families(options.size):
        if options.only and family not in options.only:
            continue
        for way in options.way:
            ours, theirs = pair(f"{family}-{options.size}", way)
            for batch, (ids, mask) in batches().items():
                for name, is_training in (("forward", False), ("both", True)):
                    runs = ours_on(ours, ids, mask, way, is_training), theirs_on(theirs, ids, mask, way, is_training)
                    mine, other, ratio = measure(*runs, options.rounds)
                    print(f"{family:20} {way:9} {batch:6} {name:9} {mine * 1e3:8.1f} {other * 1e3:8.1f}  {ratio:.2f}", flush=True)
                    keep([found.processor, f"{family}-{options.size}", way, batch, name, f"{mine:.5f}", f"{other:.5f}", f"{ratio:.3f}"])


def families(size: str) -> Iterator[str]:
    """Those that transformers has a class for; two names for the same shape count once."""
    for preset in list_presets(f"*-{size}"):
        if not preset.startswith(("rnn", "gru", "lstm", "bi", "hybrid")):
            yield preset.removesuffix(f"-{size}")


def pair(preset: str, way: str) -> tuple[Any, Any]:
    """Our network and theirs with the same weights."""
    net = create(preset, **SIZES)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    with tempfile.TemporaryDirectory() as folder:
        write_model(net, Path(folder))
        config = transformers.AutoConfig.from_pretrained(folder)
        theirs = getattr(transformers, config.architectures[0]).from_pretrained(folder, dtype=torch.float32)
    return (net.bfloat16(), theirs.bfloat16()) if way == "weights" else (net, theirs)


def batches() -> dict[str, tuple[Tensor, Tensor | None]]:
    """Token ids [B, T], and where there are tokens; None for everywhere."""
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(10, VOCAB, (TEXTS, TOKENS), generator=chance)
    lengths = torch.linspace(TOKENS // 8, TOKENS, TEXTS).long()
    mask = (torch.arange(TOKENS) < lengths[torch.randperm(TEXTS, generator=chance)][:, None]).long()
    return {"full": (ids, None), "mixed": (ids * mask, mask)}


def ours_on(net: Any, ids: Tensor, mask: Tensor | None, way: str, is_training: bool) -> Run:
    is_encoder_decoder = net.config.is_encoder_decoder
    net.train(is_training)

    def forward() -> None:
        with torch.inference_mode(), computing(way):
            net.logits(ids, mask, decoder_input_ids=ids) if is_encoder_decoder else net.logits(ids, mask)

    def both() -> None:
        texts = Packed.from_padded(ids, mask)
        if is_encoder_decoder:
            texts.source = Packed.from_padded(ids, mask)
        at_M = torch.arange(texts.num_tokens)
        gold_M = texts.ids_N
        if net.config.is_causal:
            has_next = torch.ones_like(at_M, dtype=torch.bool)
            has_next[texts.starts_B + torch.tensor(texts.lengths) - 1] = False
            at_M, gold_M = at_M[has_next], texts.ids_N[at_M[has_next] + 1]
        with computing(way):
            head = net.heads["lm"]
            nats_M = cross_entropy(head.features(net.hidden(texts)[at_M]), head.weight_VD, head.bias_V, gold_M)
        (nats_M.sum() / len(nats_M)).backward()
        net.zero_grad(set_to_none=True)

    return both if is_training else forward


def theirs_on(net: Any, ids: Tensor, mask: Tensor | None, way: str, is_training: bool) -> Run:
    net.train(is_training)
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if mask is not None:
        inputs["attention_mask"] = mask
    if net.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    if not net.config.is_encoder_decoder and not hasattr(net.config, "use_cache"):
        del inputs["use_cache"]
    if is_training:
        inputs["labels"] = ids if mask is None else ids.masked_fill(mask == 0, IGNORED)

    def forward() -> None:
        with torch.inference_mode(), computing(way):
            net(**inputs)

    def both() -> None:
        with computing(way):
            loss = net(**inputs).loss
        loss.backward()
        net.zero_grad(set_to_none=True)

    return both if is_training else forward


def computing(way: str) -> AbstractContextManager:
    return torch.autocast("cpu", torch.bfloat16) if way == "autocast" else nullcontext()


def measure(ours: Run, theirs: Run, rounds: int) -> tuple[float, float, float]:
    """Median seconds of each, and the median of the rounds' ratios."""
    seconds: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        # Who goes first changes from round to round; the first round warms up.
        order = (ours, theirs) if number % 2 else (theirs, ours)
        took = {run: timed(run) for run in order}
        seconds.append((took[ours], took[theirs]))
    mine, other = zip(*seconds[1:], strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(b / a for a, b in seconds[1:])


def timed(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def keep(row: list[str]) -> None:
    """Append what was measured to the results that lie beside this file."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(
                ["date", "torch", "transformers", "machine", "preset", "way", "batch", "pass", "seconds", "peer_seconds", "ratio"]
            )
        writer.writerow([date.today(), torch.__version__, transformers.__version__, *row])


if __name__ == "__main__":
    main()
