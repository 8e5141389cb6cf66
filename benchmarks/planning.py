"""What `diptych plan` says, beside what happens: peak memory and time of six recipes from 1M to 124M parameters.

Each recipe is planned in one process and trained for some steps in another, which reports its peak memory and the median of its
steps; a plan is right where predicted over measured is near 1. Targets: memory within 15 %, time within 25 %. Run it on a
machine that has nothing else to do:

    python benchmarks/planning.py
    python benchmarks/planning.py --only gpt-mini --steps 40
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.planning import plan
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build
from diptych.text.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "planning.csv"
RECIPES: dict[str, tuple[dict[str, Any], int, int]] = {
    # name: model, rows of a step, steps that are measured
    "gpt-tiny": ({"preset": "gpt-tiny", "tokenizer": {"vocab_size": 4096}}, 16, 60),
    "bert-mini": ({"preset": "bert-mini", "tokenizer": {"vocab_size": 8192}}, 8, 30),
    "gpt-mini": ({"preset": "gpt-mini", "tokenizer": {"vocab_size": 8192}}, 32, 12),
    "modernbert-small": ({"preset": "modernbert-small", "tokenizer": {"vocab_size": 16_384}}, 4, 12),
    "gpt2-medium": ({"preset": "gpt2-medium", "tokenizer": {"vocab_size": 16_384}}, 4, 10),
    "gpt2-124m": ({"preset": "gpt2-124m", "tokenizer": {"vocab_size": 50_257}}, 2, 5),
}
WARM_UP = 2
"""First steps, which are not counted."""


class Steps:
    """A listener that keeps when each step ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def tell(self, event: dict[str, Any]) -> None:
        if event["kind"] == "step":
            self.seconds.append(event["seconds"])

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one recipe by its name")
    parser.add_argument("--steps", type=int, help="steps to measure, instead of those of the recipe")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child)))
        return
    found = runtime.machine()
    print(f"{found.processor}, {found.cores} cores, torch {found.torch}")
    print(f"{'recipe':18}{'parameters':>12}{'memory MB':>22}{'ratio':>7}{'ms a step':>20}{'ratio':>7}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        texts = write_text(Path(folder))
        for name in [options.only] if options.only else RECIPES:
            model, rows_a_step, steps = RECIPES[name]
            recipe = recipe_for(name, model, rows_a_step, options.steps or steps, texts)
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps(recipe), encoding="utf-8")
            planned = child("plan", path)
            done = child("train", path)
            memory, time = planned["memory"] / done["memory"], planned["seconds"] / done["seconds"]
            megabytes = f"{planned['memory'] / 1e6:,.0f} / {done['memory'] / 1e6:,.0f}"
            milliseconds = f"{planned['seconds'] * 1e3:,.0f} / {done['seconds'] * 1e3:,.0f}"
            print(f"{name:18}{planned['parameters']:>12,}{megabytes:>22}{memory:7.2f}{milliseconds:>20}{time:7.2f}", flush=True)
            values = [planned["memory"], done["memory"], memory, planned["seconds"], done["seconds"], time]
            rows.append([date.today(), found.processor, found.torch, name, planned["parameters"], *(f"{value:.4g}" for value in values)])
    keep(rows)


def write_text(folder: Path) -> Path:
    """Texts of invented words, many enough for the largest vocabulary, and a tokenizer for each size that is wanted."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _word in range(60_000)]
    path = folder / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _document in range(400):
            chosen = [words[int(60_000 * draw.random() ** 2)] for _word in range(1500)]
            file.write(json.dumps({"text": " ".join(chosen)}) + "\n")
    return path


def recipe_for(name: str, model: dict[str, Any], rows: int, steps: int, texts: Path) -> dict[str, Any]:
    kind = "wordpiece" if "bert" in name else "bpe"
    size = model["tokenizer"]["vocab_size"]
    folder = texts.parent / f"{kind}-{size}"
    if not folder.exists():
        folder.mkdir()
        lines = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
        Tokenizer.train(lines, kind, size, panel="masked" if kind == "wordpiece" else "causal").save(folder)
    sizes = {"vocab_size": Tokenizer.load(folder).vocab_size}
    task = {"name": "masked-lm", "nsp": False} if kind == "wordpiece" else {"name": "causal-lm"}
    return {
        "model": {"preset": model["preset"], "sizes": sizes, "tokenizer": {"folder": str(folder), "vocab_size": sizes["vocab_size"]}},
        "task": {**task, "text": str(texts), "held_out": 0.0, "clean": {"dedup": "none"}},
        "train": {"steps": WARM_UP + steps, "batch_size": rows, "evaluations": 0},
        "run": {"log_steps": 1, "cache": str(texts.parent / "tokens")},
    }


def child(what: str, recipe: Path) -> dict[str, Any]:
    """What a process of its own found out; its last line is the answer."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--child", what, str(recipe)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(what: str, path: str) -> dict[str, Any]:
    recipe = build(json.loads(Path(path).read_text(encoding="utf-8")))
    if what == "plan":
        estimate = plan(recipe)
        seconds = estimate.load.tokens / estimate.tokens_per_second
        memory = estimate.ways[0].memory
        return {"parameters": estimate.num_parameters, "memory": memory.total, "seconds": seconds, "parts": memory.parts()}
    steps = Steps()
    pretrain_recipe(recipe, listener=steps)
    lasted = [after - before for before, after in zip(steps.seconds[WARM_UP - 1 :], steps.seconds[WARM_UP:], strict=False)]
    return {"memory": runtime.peak_memory_bytes(), "seconds": statistics.median(lasted)}


def keep(rows: list[list[Any]]) -> None:
    """Append what was measured to the results that lie beside this file."""
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            columns = ["memory_planned", "memory_measured", "memory_ratio", "step_planned", "step_measured", "step_ratio"]
            writer.writerow(["date", "machine", "torch", "recipe", "parameters", *columns])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
