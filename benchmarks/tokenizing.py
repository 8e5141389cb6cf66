"""From text files to tokens on the disk, beside the `tokenizers` library alone, and the memory it takes.

The text is Python's documentation and Chinese reviews again and again, each time with other words in it, in one JSON lines
file of the size asked for. Each side runs in a process of its own: ours reads, cleans, cuts and writes; the peer only cuts,
from the same file, with the same tokenizer, in the batches that suit it best.

    python benchmarks/tokenizing.py [--megabytes 200]
"""

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "tokenizing.csv"
PEER_BATCHES = (256, 2048)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["ours", *(f"peer {size}" for size in PEER_BATCHES)], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options.side, Path(options.folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        size = write_text(Path(folder), options.megabytes)
        train_tokenizer(Path(folder))
        sides: dict[str, list[dict[str, float]]] = {"ours": [], **{f"peer {batch}": [] for batch in PEER_BATCHES}}
        for _round in range(options.rounds):
            for side, runs in sides.items():
                runs.append(in_own_process(side, folder))
        report(sides, size)


def write_text(folder: Path, megabytes: int) -> int:
    """A JSON lines file of this size; its bytes."""
    from diptych.demo import python_documentation, reviews

    draw = random.Random(0)
    english = [text for text in python_documentation() if len(text) > 200]
    chinese = [text for text, _label in reviews()]
    words = sorted({word for text in english[:200] for word in text.split() if word.isalpha()})
    written = 0
    with (folder / "text.jsonl").open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            source = draw.choice(english) if draw.random() < 0.5 else "\n".join(draw.sample(chinese, 40))
            lines = [
                " ".join(draw.choice(words) if draw.random() < 0.05 else word for word in line.split(" ")) for line in source.split("\n")
            ]
            written += file.write(json.dumps({"text": "\n".join(lines)}, ensure_ascii=False) + "\n")
    return (folder / "text.jsonl").stat().st_size


def train_tokenizer(folder: Path) -> None:
    from diptych.text.tokenizer import Tokenizer

    sample = (text for number, text in enumerate(texts(folder)) if number < 400)
    Tokenizer.train(sample, "bpe", 16_000).save(folder)


def texts(folder: Path) -> Iterator[str]:
    with (folder / "text.jsonl").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def in_own_process(side: str, folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--folder", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_side(side: str, folder: Path) -> dict[str, float]:
    """Seconds, tokens and peak memory of one side."""
    start = time.perf_counter()
    tokens = ours(folder) if side == "ours" else peer(folder, int(side.split()[1]))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": tokens, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def ours(folder: Path) -> int:
    from diptych.ledger import Ledger
    from diptych.text.clean import Cleaning, clean
    from diptych.text.corpus import Corpus
    from diptych.text.dedup import deduplicate
    from diptych.text.shards import write_shards
    from diptych.text.tokenizer import Tokenizer

    ledger = Ledger()
    documents = deduplicate(clean(Corpus(folder / "text.jsonl"), Cleaning(), ledger), ledger)
    tokenizer = Tokenizer.load(folder)
    return write_shards(documents, tokenizer, folder / "shards", separator=tokenizer.eos_id, ledger=ledger).num_tokens


def peer(folder: Path, batch_size: int) -> int:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    total, batch = 0, []
    for text in texts(folder):
        batch.append(text)
        if len(batch) == batch_size:
            total += sum(len(each.ids) for each in tokenizer.encode_batch_fast(batch))
            batch = []
    return total + sum(len(each.ids) for each in tokenizer.encode_batch_fast(batch))


def report(sides: dict[str, list[dict[str, float]]], size: int) -> None:
    from diptych import runtime

    found = runtime.machine()
    print(
        f"{found.processor}, {found.cores} cores; {size / 1e6:,.0f} MB of text, English and Chinese; medians of {len(sides['ours'])} runs"
    )
    medians = {}
    for side, runs in sides.items():
        medians[side] = statistics.median(run["seconds"] for run in runs)
        peak = max(run["peak_bytes"] for run in runs)
        rate = size / 1e6 / medians[side]
        print(f"{side:10} {rate:6.1f} MB/s  {runs[0]['tokens']:>13,.0f} tokens  peak memory {peak / 1e6:,.0f} MB")
    fastest = min((side for side in sides if side != "ours"), key=medians.__getitem__)
    ratio = statistics.median(other["seconds"] / mine["seconds"] for mine, other in zip(sides["ours"], sides[fastest], strict=True))
    print(f"\nours does {ratio:.2f} of the rate of tokenizers alone ({fastest}), cleaning and writing included")
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "machine", "megabytes", "seconds", "peer_seconds", "ratio", "peak_megabytes"])
        peak = max(run["peak_bytes"] for run in sides["ours"]) / 1e6
        row = [f"{size / 1e6:.0f}", f"{medians['ours']:.1f}", f"{medians[fastest]:.1f}", f"{ratio:.3f}", f"{peak:.0f}"]
        writer.writerow([date.today(), found.processor, *row])


if __name__ == "__main__":
    main()
