"""Does the table that decides keep its time, and does it choose well: `diptych decide` on tables of labels, whole and with few of them.

Each table is decided on as it is, beside the test set that is named for it, and cut down to some numbers of labels, chosen by
cross-validation. What each system scored, what it cost and which was chosen goes into `results/deciding.csv`.

    python benchmarks/deciding.py TABLE… [--test TABLE…] [--minutes 5] [--labels 64,150] [--base minilm] [--seeds 3]
"""

import argparse
import csv
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from diptych.deciding import Decision, decide
from diptych.deciding.trials import in_proportion
from diptych.ledger import Ledger
from diptych.tasks.tables import read_labelled

RESULTS = Path(__file__).parent / "results" / "deciding.csv"


def runs(table: str, test: str | None, labels: list[int], seeds: int, **options: Any) -> Iterator[tuple[str, int, Decision]]:
    """(what was decided on, the seed, the decision)"""
    yield "all", 0, decide(table, **options, **({"test": test} if test else {}))
    rows, _columns = read_labelled(table, Ledger(), kind="single")
    for count in labels:
        for seed in range(seeds):
            few = [(*row.texts, row.label) for row in in_proportion(rows, count, seed, "benchmark")]
            yield str(count), seed, decide(few, seed=seed, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--test", nargs="*", default=[])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--labels", default="64,150")
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    labels = [int(count) for count in flags.labels.split(",") if count]
    tests = [*flags.test, *[None] * (len(flags.tables) - len(flags.test))]
    lines = []
    for table, test in zip(flags.tables, tests, strict=True):
        for what, seed, found in runs(table, test, labels, flags.seeds, base=flags.base, minutes=flags.minutes):
            print(f"{table}, {what} labels, seed {seed}: {found.seconds:.0f} s of {60 * flags.minutes:.0f}. {found.verdict()}", flush=True)
            for system in found.systems:
                score = system.scores["accuracy"]
                cells = [system.name, score.value, score.low, score.high, score.n, system.seconds, system.size_bytes, system.milliseconds]
                is_chosen = system is found.chosen
                lines.append([date.today(), Path(table).parent.name, what, seed, flags.minutes, round(found.seconds, 1), *cells, is_chosen])
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            head = "date,table,labels,seed,minutes,seconds,system,accuracy,low,high,n,training seconds,bytes,milliseconds,chosen"
            writer.writerow(head.split(","))
        writer.writerows(lines)


if __name__ == "__main__":
    main()
