"""What is lost where the examples of one table lie in many hands: a classifier trained together, and apart by federated averaging.

    python benchmarks/federated.py ChnSentiCorp_htl_all.csv --base my-chinese-bert            # three seeds, 10 skewed clients
    python benchmarks/federated.py ChnSentiCorp_htl_all.csv --preset bert-mini --rows 600 --seeds 1 --epochs 1 --apart 2    # a quick look

All learn from the same rows, are stopped by the same ones and tested on the same. The central run passes --epochs times over all rows,
every client --apart times over its own: ten clients that step at once take a tenth of the steps one after the other, so that as many
passes would leave them half trained. The clients' labels are drawn by a Dirichlet distribution with parameter --concentration (0.5
is skewed: some clients have hardly one label). Beside them stands what the largest client reaches alone.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

from diptych.finetuning import Parts, finetune_parts, read_parts
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.training.federation.dividing import divide
from diptych.training.progress import Several
from diptych.training.regimes.federated import FederatedSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="a table of texts and labels")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--base", help="a model folder to start from")
    start.add_argument("--preset", default="bert-mini", help="or fresh weights")
    parser.add_argument("--rows", type=int, help="of so many rows only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--concentration", type=float, default=0.5)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--apart", type=float, default=12.0, help="epochs of each client")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--proximal", type=float, default=0.01, help="of FedProx")
    parser.add_argument("--out", type=Path, help="append the results to this .jsonl")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {options}")
    for seed in range(options.seeds):
        federated = {"name": "federated", "by": "labels", "clients": options.clients, "concentration": options.concentration}
        federated["rounds"] = options.rounds
        ways: dict[str, list[Any]] = {
            "central": [],
            "federated averaging": [federated],
            "fresh moments": [{**federated, "moments": "fresh"}],
            f"FedProx {options.proximal}": [{**federated, "proximal": options.proximal}],
            "averaging of LoRA": ["lora", federated],
        }
        parts = _parts(options, seed)
        shares = divide(parts.train, FederatedSettings(**federated), seed, Ledger())
        sizes = {name: [sum(row.label == label for row in rows) for label in ("0", "1")] for name, rows in shares.items()}
        print(f"seed {seed}: {len(parts.train)} rows to train; rows of either label by client: {list(sizes.values())}")
        for name, regime in ways.items():
            if "lora" in regime and options.base is None:
                continue
            _report(name, seed, _trained(options, seed, parts, regime, options.apart if regime else options.epochs), options)
        largest = max(shares.values(), key=len)
        alone = Parts(largest, parts.dev, parts.test, parts.found)
        _report(f"the largest client alone ({len(largest)} rows)", seed, _trained(options, seed, alone, [], options.apart), options)


def _parts(options: argparse.Namespace, seed: int) -> Parts:
    parts = read_parts(_recipe(options, seed, [], 1.0), options.table, Ledger())
    if options.rows:
        wanted = [int(options.rows * share) for share in (0.7, 0.1, 0.2)]
        parts.train, parts.dev, parts.test = (part[:: max(1, len(part) // count)] for part, count in zip(_all(parts), wanted))
    return parts


def _all(parts: Parts) -> tuple[list[Any], list[Any], list[Any]]:
    return parts.train, parts.dev, parts.test


def _recipe(options: argparse.Namespace, seed: int, regime: list[Any], epochs: float) -> Any:
    model = {"base": options.base} if options.base else {"preset": options.preset}
    train = {"epochs": epochs, "seed": seed, "regime": regime}
    return build({"model": model, "task": {"name": "classification"}, "train": train, "run": {}})


def _trained(options: argparse.Namespace, seed: int, parts: Parts, regime: list[Any], epochs: float) -> dict[str, float]:
    begun = time.perf_counter()
    done = finetune_parts(_recipe(options, seed, regime, epochs), parts, Ledger(), listener=Several([]), with_baselines=False)
    scores = {score.name: score.value for score in done.scores.values()}
    return {**scores, "seconds": time.perf_counter() - begun}


def _report(name: str, seed: int, found: dict[str, float], options: argparse.Namespace) -> None:
    print(f"  {name:38} " + ", ".join(f"{what} {value:.4f}" for what, value in found.items()), flush=True)
    if options.out:
        line = {"way": name, "seed": seed, "table": Path(options.table).name, **found, "clients": options.clients, "rounds": options.rounds}
        line |= {
            "concentration": options.concentration,
            "epochs": options.epochs,
            "apart": options.apart,
            "base": options.base or options.preset,
        }
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
