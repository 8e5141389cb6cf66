"""What sizes of a model make of a budget: held-out loss over a grid of shapes, minutes and vocabularies, a line of csv each.

The constants of `training/scaling.py` are fitted to `results/scaling.csv` by `scaling_fit.py`. Every line is a whole run with its own
cooldown, on a machine that does nothing else; sizes are LAYERSxHIDDEN, and everything that is not named is as a user gets it.
The grid that the constants come from, half an hour on two cores; EN and ZH are novels, and each stands behind this file's name:

    EN --sizes 2x128,3x192,4x256,6x384 --minutes 2
    ZH --sizes 2x128,3x192,4x256 --minutes 2
    EN --sizes 2x128,3x192,4x256 --minutes 0.5
    EN --sizes 4x256 --minutes 2 --set train.batch_size=16
    EN --sizes 3x192 --minutes 2 --vocab-size 4096
    ZH --sizes 3x192 --minutes 2 --vocab-size 4096
    EN --sizes 2x128,3x192,4x256 --minutes 1 --every 8
    EN --sizes 4x256 --minutes 1 --every 8 --set train.dropout=0.1
    EN --sizes 2x128,4x256 --minutes 1 --task masked-lm
"""

import argparse
import csv
import tempfile
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.ledger import Ledger
from diptych.pretraining import Pretrained, pretrain_recipe
from diptych.recipe import Recipe, load
from diptych.tasks import task_class
from diptych.text.corpus import Corpus
from diptych.tokenizing import make_tokenizer, make_tokens, open_corpus
from diptych.training.progress import Several
from diptych.training.sizing import matrices

RESULTS = Path(__file__).parent / "results" / "scaling.csv"
PRESETS = {"causal-lm": "gpt-mini", "masked-lm": "modernbert-mini"}
SECTION_CHARS = 4000
"""A book is read in pieces, so that some of each can be held out."""


@dataclass(frozen=True)
class Line:
    """One run: what it was given, and what came of it."""

    day: str
    text: str
    task: str
    layers: int
    hidden: int
    vocab_size: int
    context: int
    batch_tokens: int
    lr: float
    dropout: float
    seed: int
    minutes: float
    steps: int
    tokens: int
    """Tokens that were trained on."""
    text_tokens: int
    """Tokens of the text; fewer than `tokens` where it was read more than once."""
    text_bytes: int
    body: int
    """Parameters of the layers' matrices."""
    nats: float
    """Held-out, per token that was asked."""
    bits_per_byte: float
    """NaN where not every token is asked."""


class Text:
    """A text as all runs of a grid read it, with a tokenizer for each size of vocabulary, learnt once."""

    def __init__(self, paths: list[str], every: int, folder: Path) -> None:
        documents = list(Corpus([Path(path) for path in paths], section_chars=SECTION_CHARS))[::every]
        self.name = Path(paths[0]).name + (f" 1/{every}" if every > 1 else "")
        self.corpus = Corpus([document.text for document in documents])
        self.folder = folder

    def tokenizer(self, recipe: Recipe) -> str:
        """The folder of the tokenizer that the recipe's model would learn from this text."""
        task = task_class(recipe.task.name)
        folder = self.folder / f"{task.panel}-{recipe.model.tokenizer.vocab_size}"
        if not folder.exists():
            folder.mkdir()
            training, _held = self.corpus.split(recipe.task.held_out)
            make_tokenizer(recipe, training, task.panel, Ledger()).save(folder)
        return str(folder)


def run(text: Text, parts: dict[str, Any], sets: list[str]) -> Line:
    """Train once, and judge."""
    recipe = load(None, sets, parts)
    if recipe.model.preset != "auto":
        folder = text.tokenizer(recipe)
        recipe = load(None, [*sets, f"model.tokenizer.folder={folder}"], parts)
    done = pretrain_recipe(recipe, text.corpus, listener=Several([]))
    return _line(text, recipe, done)


def _line(text: Text, recipe: Recipe, done: Pretrained) -> Line:
    used = done.recipe
    config, tokenizer = done.model.config, done.model.tokenizer
    assert tokenizer is not None and used.train.batch_size is not None and used.train.lr is not None
    task = task_class(recipe.task.name)(recipe.task)
    tokens = make_tokens(used, open_corpus(recipe, text.corpus), tokenizer, task, Ledger()).train
    scores = done.scores
    nats = next(score.value for name, score in scores.items() if name.startswith("nats"))
    bits = scores["bits per byte"].value if "bits per byte" in scores else float("nan")
    return Line(
        day=str(date.today()),
        text=text.name,
        task=recipe.task.name,
        layers=config.num_layers,
        hidden=config.hidden_size,
        vocab_size=tokenizer.vocab_size,
        context=config.context_length,
        batch_tokens=used.train.batch_size * config.context_length,
        lr=used.train.lr,
        dropout=used.train.dropout or 0.0,
        seed=used.train.seed,
        minutes=round(done.outcome.seconds / 60, 3),
        steps=done.outcome.steps,
        tokens=done.outcome.tokens,
        text_tokens=tokens.num_tokens,
        text_bytes=int(tokens.text_bytes.sum()),
        body=sum(matrix.numel() for matrix in matrices(done.model.net)),
        nats=round(nats, 4),
        bits_per_byte=round(bits, 4),
    )


def keep(line: Line) -> None:
    """Add a line to the results, at once, so that a grid that is stopped is not lost."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(asdict(line)))
        if is_new:
            out.writeheader()
        out.writerow(asdict(line))


def show(line: Line) -> None:
    rate, passes = line.tokens / max(1e-9, 60 * line.minutes), line.tokens / max(1, line.text_tokens)
    print(
        f"{line.text:20} {line.task:10} {line.layers}x{line.hidden:<4} v{line.vocab_size:<6} {line.minutes:6.2f} min  "
        f"{line.tokens:11,} tokens ({rate:7,.0f}/s, {passes:5.2f} passes)  lr {line.lr:.2g}  "
        f"{line.nats:.4f} nats  {line.bits_per_byte:.4f} bits per byte",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--task", choices=[*PRESETS], default="causal-lm")
    parser.add_argument("--sizes", default="2x128,3x192,4x256,5x320,6x384")
    parser.add_argument("--minutes", default="2")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--every", type=int, default=1, help="take each so many-th piece of the text alone: less text, more passes")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="part.name=value, as for any verb")
    options = parser.parse_args()
    runtime.prepare()
    found = runtime.machine()
    print(f"{found.processor}, {found.cores} cores, {found.speed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        text = Text(options.texts, options.every, Path(folder))
        for minutes in map(float, options.minutes.split(",")):
            for size in options.sizes.split(","):
                line = run(text, parts_of(options, size, minutes), options.sets)
                keep(line)
                show(line)


def parts_of(options: argparse.Namespace, size: str, minutes: float) -> dict[str, Any]:
    """The recipe of one run; the size "auto" leaves all of it to Diptych."""
    model: dict[str, Any] = {"preset": "auto"}
    if size != "auto":
        layers, hidden = map(int, size.split("x"))
        sizes = {"num_layers": layers, "hidden_size": hidden, "context_length": options.context}
        model = {"preset": PRESETS[options.task], "sizes": sizes, "tokenizer": {"vocab_size": options.vocab_size}}
    task = {"name": options.task, "clean": {"dedup": "none"}} | ({"nsp": False} if options.task == "masked-lm" else {})
    cache = {"cache": str(Path(tempfile.gettempdir()) / "diptych-scaling")}
    return {"model": model, "task": task, "train": {"minutes": minutes, "evaluations": 0}, "run": cache}


if __name__ == "__main__":
    main()
