"""How many rows a second `predict` streams from a file of any size, and whether its memory grows with them.

A classifier of a few thousand weights, so that what is measured is the way in and out: the table is read, tokenized, answered and
written, row by row. Each size runs in a process of its own.

    python benchmarks/predicting.py [--rows 100000 1000000]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(predict(options.side, Path(options.folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        for count in options.rows:
            done = subprocess.run(
                [sys.executable, __file__, "--side", str(count), "--folder", folder], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{count:>9,} rows  {found['seconds']:8.1f} s  {count / found['seconds']:8,.0f} rows/s  peak {found['megabytes']:,.0f} MB"
            )


def make_model(folder: Path) -> None:
    import diptych as dt

    rows = [(f"{word} number {number}", label) for number in range(20) for word, label in (("good 好", "yes"), ("bad 坏", "no"))]
    sizes = {"hidden_size": 32, "head_size": 16, "num_layers": 1, "context_length": 32}
    dt.finetune("bert-tiny", rows, sizes=sizes, tokenizer={"vocab_size": 300}, steps=5, out=str(folder / "model"))


def predict(count: int, folder: Path) -> dict[str, float]:
    from diptych.cli.main import run

    table = folder / f"{count}.csv"
    with table.open("w", encoding="utf-8") as file:
        file.write("text,other\n")
        file.writelines(f"good 好 number {number},{number}\n" for number in range(count))
    start = time.perf_counter()
    try:
        run(["predict", str(folder / "model"), "--file", str(table), "--out", str(folder / "out.jsonl")])
    except SystemExit as end:
        assert not end.code
    seconds = time.perf_counter() - start
    with (folder / "out.jsonl").open(encoding="utf-8") as lines:
        first = json.loads(next(lines))
        assert set(first) == {"text", "label", "probability"} and first["text"] == "good 好 number 0"
        assert sum(1 for _line in lines) == count - 1
    table.unlink()
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
