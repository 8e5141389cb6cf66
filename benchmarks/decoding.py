"""How many tokens a second a model writes, beside what the machine's memory allows and beside transformers' `generate`.

A token of one text needs every weight once, so that no more can be written in a second than the memory gives: bandwidth over
bytes of weights. All ways have the same weights (drawn, not learnt: it makes no difference to time), write greedily, and take turns in
one run; a figure is the median of the rounds. The last lines write a text that repeats itself, as forms and code do, with
and without a draft from the text, and say how many passes that took; a net of chance repeats itself when it is greedy, too.

    python benchmarks/decoding.py [--preset gpt2-mini] [--tokens 32] [--rounds 3] [--batch 1 8] [--bf16]

For the figures of a GPT-2 of 124 million parameters: --preset gpt2-124m --tokens 64 --rounds 7 --bf16
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from diptych import runtime
from diptych.formats.folder import write_model
from diptych.generation.decode import decode
from diptych.generation.drafts import FromText
from diptych.generation.sampling import Sampling
from diptych.generation.speculative import speculate
from diptych.generation.writing import Writing
from diptych.presets import create
from diptych.surgery.quantize import to_int8

RESULTS = Path(__file__).parent / "results" / "decoding.csv"
GREEDY = Sampling(temperature=0)
PROMPT = 32
Run = Callable[[list[list[int]], int], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gpt2-mini")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of each text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--bf16", action="store_true", help="transformers in bfloat16 as well")
    options = parser.parse_args()
    runtime.prepare()
    found = runtime.machine()
    print(f"{found.processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    net = create(options.preset).eval()
    small = deepcopy(net)
    to_int8(small)
    ways: dict[str, tuple[Run, float]] = {
        "diptych float32": (ours(net), size_of(net)),
        "diptych int8": (ours(small), size_of(small)),
        "transformers float32": (theirs(net, torch.float32), size_of(net)),
    }
    if options.bf16:
        ways["transformers bfloat16"] = (theirs(net, torch.bfloat16), size_of(net) / 2)
    print(f"{options.preset}, {options.tokens} tokens after {PROMPT}; memory reads {found.speed.memory_gbytes} GB/s\n")
    print(f"{'way':28} {'batch':>5} {'tokens/s':>9} {'of the memory':>14}")
    chance = torch.Generator().manual_seed(0)
    for batch in options.batch:
        prompts = torch.randint(net.config.vocab_size, (batch, PROMPT), generator=chance).tolist()
        speeds = in_turns({name: run for name, (run, _size) in ways.items()}, prompts, options.tokens, options.rounds)
        for name, speed in speeds.items():
            share = speed / batch * ways[name][1] / (found.speed.memory_gbytes * 1e9)
            print(f"{name:28} {batch:5} {speed:9.1f} {share:14.0%}", flush=True)
            keep([found.processor, options.preset, name, batch, f"{speed:.2f}", f"{share:.3f}"])
    repeated(small, found.processor, options)


def ours(net: Any) -> Run:
    def run(prompts: list[list[int]], tokens: int) -> None:
        answers = [Writing(prompt) for prompt in prompts]
        for _step in decode(net, answers, GREEDY, max_new_tokens=tokens):
            pass

    return run


def theirs(net: Any, dtype: torch.dtype) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        write_model(net, Path(folder))
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    model.generation_config.eos_token_id = None

    def run(prompts: list[list[int]], tokens: int) -> None:
        ids = torch.tensor(prompts)
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0)

    return run


def repeated(net: Any, processor: str, options: argparse.Namespace) -> None:
    """The same tokens with a draft from the text and without."""
    circle = torch.randint(net.config.vocab_size, (12,), generator=torch.Generator().manual_seed(1)).tolist()
    tokens, passes = 4 * options.tokens, 0
    prompt = circle * 4

    def guessed(prompts: list[list[int]], tokens: int) -> None:
        nonlocal passes
        answers = [Writing(prompt) for prompt in prompts]
        passes = sum(1 for _step in speculate(net, answers, GREEDY, [FromText(each) for each in answers], 16, max_new_tokens=tokens))

    speeds = in_turns({"int8, a token a pass": ours(net), "int8, draft from the text": guessed}, [prompt], tokens, options.rounds)
    print()
    for name, speed in speeds.items():
        print(f"{name:28} {1:5} {speed:9.1f}" + (f"   {tokens} tokens in {passes} passes" if "draft" in name else ""))
        keep([processor, options.preset, f"{name}, {tokens} tokens", 1, f"{speed:.2f}", ""])


def in_turns(runs: dict[str, Run], prompts: list[list[int]], tokens: int, rounds: int) -> dict[str, float]:
    """Tokens a second of each way: medians over rounds in which all take turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(prompts, tokens)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: len(prompts) * tokens / statistics.median(found) for name, found in times.items()}


def size_of(net: Any) -> float:
    """Bytes that are read for one token: all weights but an embedding's, of which it is a row; a tied head reads it whole."""
    return sum(tensor.numel() * tensor.element_size() for name, tensor in net.state_dict().items() if "positions" not in name)


def keep(row: list[Any]) -> None:
    """Add a line to the results."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "processor", "preset", "way", "batch", "tokens_per_second", "share_of_memory"])
        writer.writerow([date.today().isoformat(), *row])


if __name__ == "__main__":
    main()
