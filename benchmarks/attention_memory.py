"""How the memory of attention grows with the length of one text: in full, in a sliding window, and banded, beside transformers.

Each run is a process of its own: it builds a body of two layers, reads a short text to load what is loaded once, resets the
system's record of its peak, reads the long text forward and backward, and says how far the peak rose above what it held.
Where memory grows linearly, twice the length takes twice as much.

    python benchmarks/attention_memory.py [--longest 16384]
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "attention_memory.csv"
LAYERS, HIDDEN, HEADS, WINDOW, VOCAB = 2, 128, 4, 256, 256
KINDS = {"full": ("llama-tiny", 0), "sliding window": ("mistral-tiny", WINDOW), "banded": ("gpt3-tiny", WINDOW)}
"""What is looked at: the preset, and how far its local layers see. Banded is GPT-3: every other layer sees all."""
SYSTEMS = ("diptych", "transformers sdpa", "transformers eager")
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
EAGER_LIMIT = 4096
"""Beyond this, squares of scores no longer fit beside others on a small machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, system, length = options.run
        print(json.dumps(measure(kind, system, int(length))))
        return
    lengths = [length for length in LENGTHS if length <= options.longest]
    print("MiB above what the process held, forward and backward\n")
    print(f"{'attention':16} {'system':20}" + "".join(f"{length:>9,}" for length in lengths) + "   last doubling")
    for kind in options.only:
        for system in SYSTEMS:
            found = {}
            for length in lengths:
                if "eager" not in system or length <= EAGER_LIMIT:
                    answer = in_own_process(kind, system, length)
                    if answer is None:
                        break
                    found[length] = answer
            if not found:
                continue
            shown = "".join(f"{found[length] / 2**20:9,.0f}" if length in found else " " * 9 for length in lengths)
            last = list(found.values())[-2:]
            print(f"{kind:16} {system:20}{shown}   {last[-1] / last[0]:.2f}", flush=True)
            keep(kind, system, found)


def in_own_process(kind: str, system: str, length: int) -> int | None:
    command = [sys.executable, __file__, "--run", kind, system, str(length)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{kind}, {system}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return int(json.loads(done.stdout))


def measure(kind: str, system: str, length: int) -> int:
    """Bytes by which the peak of one pass rises above what was held before it."""
    import torch

    # One thread: each of several would keep scratch space of its own.
    torch.set_num_threads(1)
    read = ours(kind, length) if system == "diptych" else theirs(kind, system.split()[1], length)
    ids = torch.randint(VOCAB, (1, length), generator=torch.Generator().manual_seed(0))
    read(ids[:, :64])
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    read(ids)
    return status("VmHWM") - before


def ours(kind: str, length: int) -> Callable[[Any], None]:
    from diptych.packed import Packed

    net = network(kind, length)

    def read(ids: Any) -> None:
        net.hidden(Packed.from_padded(ids)).sum().backward()

    return read


def theirs(kind: str, attention: str, length: int) -> Callable[[Any], None]:
    import transformers

    from diptych.formats.folder import write_model

    with tempfile.TemporaryDirectory() as folder:
        write_model(network(kind, length), Path(folder))
        net = transformers.AutoModel.from_pretrained(folder, attn_implementation=attention).train()

    def read(ids: Any) -> None:
        net(input_ids=ids, use_cache=False).last_hidden_state.sum().backward()

    return read


def network(kind: str, length: int) -> Any:
    from diptych.presets import create

    preset, window = KINDS[kind]
    sizes = {"num_layers": LAYERS, "hidden_size": HIDDEN, "num_heads": HEADS, "head_size": HIDDEN // HEADS, "window": window}
    net = create(preset, vocab_size=VOCAB, context_length=length, **sizes)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    return net.train()


def status(name: str) -> int:
    """A number of the process's own record, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def keep(kind: str, system: str, found: dict[int, int]) -> None:
    """Append what was measured to the results that lie beside this file."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "attention", "system", "tokens", "megabytes"])
        for length, size in found.items():
            writer.writerow([date.today(), kind, system, length, f"{size / 1e6:.1f}"])


if __name__ == "__main__":
    main()
