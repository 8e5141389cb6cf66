"""How a server answers 1, 8 and 64 clients at once: tokens a second of all together, seconds to the first token (median and 99 %).

Ours, and beside it llama.cpp's (`pip install 'llama-cpp-python[server]'`) and transformers' (`transformers serve`) where they are
installed, one after the other in one run, with the same drawn weights and the same requests: greedy, streamed, each with a prompt of its
own. A client asks again when its answer is over. Time to first token is also taken idle, one request at a time, since that is what
the 99 % of a busy server is compared with.

    python benchmarks/serving.py [--preset gpt2-mini] [--tokens 16] [--rounds 2] [--clients 1 8] [--peers]

For the figures of a GPT-2 of 124 million parameters: --preset gpt2-124m --tokens 32 --rounds 3 --clients 1 8 64 --peers
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import torch

import diptych as dt
from diptych import runtime
from diptych.api import export
from diptych.model import Model
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "serving.csv"
PORT = 8417
FIRST = ("first_token", "first_token_p99", "first_token_idle")
"""Seconds: the median and 99 % under load, and the median of a server that has nothing else to do."""
START_SECONDS = 120
WORDS = ("the", "for", "statement", "iterates", "over", "items", "of", "a", "sequence", "今天", "天气", "很好", "我们", "公园", "散步")


@dataclass
class Seen:
    """What one request met."""

    first_seconds: float
    tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gpt2-mini")
    parser.add_argument("--tokens", type=int, default=16, help="new tokens of each answer")
    parser.add_argument("--rounds", type=int, default=2, help="answers that each client asks for")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--peers", action="store_true", help="the servers of llama.cpp and transformers as well")
    options = parser.parse_args()
    runtime.prepare()
    processor = runtime.machine().processor
    print(f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{options.preset}, {options.tokens} tokens an answer\n")
    with tempfile.TemporaryDirectory() as folder:
        model = drawn(options.preset, Path(folder) / "model")
        print(f"{'server':24} {'clients':>7} {'tokens/s':>9} {'first token':>12} {'99 %':>8} {'idle':>8}")
        for name, start in servers(Path(folder), model, peers=options.peers).items():
            with start() as address:
                idle = statistics.median(ask(address, number, options.tokens).first_seconds for number in range(3))
                for clients in options.clients:
                    seconds, seen = load(address, clients, options.rounds, options.tokens)
                    firsts = sorted(each.first_seconds for each in seen)
                    rate = sum(each.tokens for each in seen) / seconds
                    middle, late = statistics.median(firsts), firsts[min(len(firsts) - 1, int(0.99 * len(firsts)))]
                    print(f"{name:24} {clients:7} {rate:9.1f} {middle:12.3f} {late:8.3f} {idle:8.3f}", flush=True)
                    keep([processor, options.preset, name, clients, f"{rate:.2f}", f"{middle:.4f}", f"{late:.4f}", f"{idle:.4f}"])


def drawn(preset: str, folder: Path) -> Model:
    """A model of chance with a tokenizer that fills its vocabulary as far as a few words do."""
    tokenizer = Tokenizer.train([" ".join(WORDS)] * 20, "bpe", 400, panel="causal")
    model = Model(create(preset), tokenizer)
    model.save(folder)
    return model


def servers(folder: Path, model: Model, *, peers: bool) -> "dict[str, Callable[[], object]]":
    """Each server by its name, as something that runs within a `with` and gives an address."""
    found: dict[str, Callable[[], object]] = {
        "diptych float32": lambda: ours(folder / "model", int8=False),
        "diptych int8": lambda: ours(folder / "model", int8=True),
    }
    if peers and find_spec("llama_cpp") and find_spec("sse_starlette"):
        file = export(model, folder / "model.gguf", type="q8_0")
        found["llama.cpp q8_0"] = lambda: process(
            [sys.executable, "-m", "llama_cpp.server", "--model", str(file), "--port", str(PORT), "--n_ctx", "512"],
            f"http://127.0.0.1:{PORT}",
        )
    if peers and find_spec("transformers"):
        command = [str(Path(sys.executable).parent / "transformers"), "serve", "--port", str(PORT), str(folder / "model")]
        found["transformers float32"] = lambda: process(command, f"http://127.0.0.1:{PORT}")
    return found


@contextmanager
def ours(folder: Path, *, int8: bool) -> Iterator[str]:
    with dt.serve({"model": str(folder)}, port=0, int8=int8, block=False) as server:
        yield server.url


@contextmanager
def process(command: list[str], address: str) -> Iterator[str]:
    """Another program's server, until it is no longer needed."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and running.poll() is None:
            try:
                ask(address, 0, 1)
                break
            except (OSError, ValueError):
                time.sleep(0.5)
        yield address
    finally:
        running.terminate()
        running.wait()


def load(address: str, clients: int, rounds: int, tokens: int) -> tuple[float, list[Seen]]:
    """(seconds, what each request met) of so many clients that ask one thing after the other."""
    seen: list[Seen] = []

    def client(number: int) -> None:
        for round_ in range(rounds):
            seen.append(ask(address, 1000 * number + round_, tokens))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, seen


def ask(address: str, number: int, tokens: int) -> Seen:
    """One greedy, streamed completion; a model of chance ends no answer of itself, so each has all its tokens."""
    prompt = " ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(24))
    asked = {"model": "model", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    body = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(address + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    start, first, written = time.perf_counter(), 0.0, 0
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                first = first or time.perf_counter() - start
                usage = json.loads(line[6:]).get("usage")
                written = usage["completion_tokens"] if usage else written
    return Seen(first, written or tokens)


def keep(row: list[object]) -> None:
    """Add a line to the results."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow([*("date", "processor", "preset", "server", "clients", "tokens_per_second"), *FIRST])
        writer.writerow([date.today().isoformat(), *row])


if __name__ == "__main__":
    main()
