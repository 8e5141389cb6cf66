"""How good explanations are, and what they cost: faithfulness by method, Shapley values beside the exact ones, a planted rule.

    python benchmarks/explaining.py faithfulness my-classifier dev.tsv --text sentence --limit 50
    python benchmarks/explaining.py shapley my-classifier dev.tsv --text sentence --limit 20
    python benchmarks/explaining.py planted minilm train.tsv --text sentence --limit 200 --minutes 1

`faithfulness` explains texts by every method with one budget: the mean of the normalized number (0 a random order, 1 the best one that a
beam search finds), evaluations and seconds a text. `shapley` takes texts of 5 to 12 words, asks every set of them, and measures how far
each method is from the exact values with as many evaluations as SHAP's partition explainer takes (where `shap` is installed; it is not
among the dependencies). `planted` fine-tunes on texts with labels drawn by chance and one word, at a random place, that gives the label
away: how often that word comes first.
"""

import argparse
import csv
import time
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import diptych as dt
from diptych.explain.explain import DEFAULT, METHODS, explain
from diptych.explain.faithfulness import Yardstick
from diptych.explain.owen import owen
from diptych.explain.perturb import Subject, blank_of
from diptych.explain.question import question_of
from diptych.explain.reading import units_of
from diptych.explain.shapley import shapley
from diptych.ledger import Ledger
from diptych.streams import stream
from diptych.text.corpus import read_table
from diptych.text.words import language_of, words

RESULTS = Path(__file__).parent / "results" / "explaining.csv"
PLANTED = {"en": ("purple", "orange"), "zh": ("紫色", "橙色")}
"""Words that give a label away."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("faithfulness", "shapley", "planted"))
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--text", default="text")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--longest", type=int, default=120, help="tokens of the longest text that is explained")
    options = parser.parse_args()
    rows = [str(row.fields[options.text]) for row in read_table(options.data, Ledger()) if row.fields.get(options.text)]
    # A Chinese character is a token of its own as a rule; a text that no model here reads at once is left out before it is asked.
    rows = [row for row in rows if len(row) <= (1 if language_of(row) == "zh" else 4) * options.longest]
    order = stream(0, "texts").permutation(len(rows))
    texts = [rows[number] for number in order]
    {"faithfulness": faithfulness, "shapley": exact, "planted": planted}[options.what](options, texts)


def faithfulness(options: argparse.Namespace, texts: list[str]) -> None:
    model = dt.load(options.model)
    found: dict[str, list[tuple[float, int, float]]] = defaultdict(list)
    beam: list[tuple[int, float]] = []
    for text in texts:
        question = question_of(model.net, model.tokenizer, text)
        units = units_of(question.reading, "words")
        if not 3 <= len(question.reading.ids) <= options.longest or len(units) < 3:
            continue
        values = {}
        for name, (method, _title) in METHODS.items():
            subject = subject_of(model, question, units)
            start = time.perf_counter()
            values[name] = method(subject, options.budget, 0).values, subject.num_evaluations, time.perf_counter() - start
        subject, start = subject_of(model, question, units), time.perf_counter()
        yardstick = Yardstick(subject)
        beam.append((subject.num_evaluations, time.perf_counter() - start))
        yardstick.consider(*(given for given, _evaluations, _seconds in values.values()))
        for name, (given, evaluations, seconds) in values.items():
            judged = yardstick.judge(given)
            if judged.normalized is not None:
                found[name].append((judged.normalized, evaluations, seconds))
        if len(beam) == options.limit:
            break
    print(f"{len(beam)} texts; beam search and random orders: {np.mean(beam, axis=0).round(2)} evaluations, seconds")
    for name, given in sorted(found.items(), key=lambda item: -np.mean(item[1], axis=0)[0]):
        mean = np.mean(given, axis=0)
        error = np.std([each[0] for each in given]) / max(1, len(given)) ** 0.5
        print(f"{name:22} {mean[0]:6.3f} ± {error:.3f}   {mean[1]:7.1f} evaluations  {mean[2]:6.2f} s   n = {len(given)}")
        keep("faithfulness", options, name, round(float(mean[0]), 4), round(float(mean[1]), 1), round(float(mean[2]), 3), len(given))


def exact(options: argparse.Namespace, texts: list[str]) -> None:
    model = dt.load(options.model)
    errors: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for text in texts:
        question = question_of(model.net, model.tokenizer, text)
        units = units_of(question.reading, "words")
        if not 5 <= len(units) <= 12:
            continue
        everything = subject_of(model, question, units)
        truth = shapley(everything, 2 ** len(units), 0).values
        theirs, evaluations = partition_of_shap(subject_of(model, question, units))
        ours = subject_of(model, question, units)
        if theirs is None:
            theirs, evaluations = owen(ours, 10_000, 0).values, ours.num_evaluations
            ours = subject_of(model, question, units)
        scale = np.abs(truth).mean()
        errors["partition"].append((np.abs(theirs - truth).mean() / scale, evaluations))
        values = shapley(ours, evaluations, 0).values
        errors["shapley"].append((np.abs(values - truth).mean() / scale, ours.num_evaluations))
        if len(errors["shapley"]) == options.limit:
            break
    for name, given in errors.items():
        mean = np.mean(given, axis=0)
        print(f"{name:12} mean error {mean[0]:.4f} of the mean value, {mean[1]:.1f} evaluations, n = {len(given)}")
        keep("shapley", options, name, round(float(mean[0]), 5), round(float(mean[1]), 1), 0.0, len(given))


def partition_of_shap(subject: Subject) -> tuple[Any, int]:
    """What SHAP's partition explainer makes of the same game, and how often it asked; None where it is not installed."""
    try:
        import shap
    except ImportError:
        return None, 0
    size = subject.num_units
    masker = shap.maskers.Partition(np.zeros((1, size)), clustering=_balanced(size))
    explainer = shap.explainers.Partition(lambda kept: subject(np.asarray(kept) > 0.5), masker)
    return explainer(np.ones((1, size)), max_evals=10_000, silent=True).values[0], subject.num_evaluations


def _balanced(size: int) -> np.ndarray:
    """Neighbours joined pair by pair, as scipy writes a tree: what shap makes of a text's tokens."""
    nodes, joined, number = [(unit, 1) for unit in range(size)], [], size
    while len(nodes) > 1:
        level = []
        for at in range(0, len(nodes) - 1, 2):
            (left, few), (right, more) = nodes[at], nodes[at + 1]
            joined.append([left, right, few + more, few + more])
            level.append((number, few + more))
            number += 1
        nodes = level + nodes[len(level) * 2 :]
    tree = np.array(joined, dtype=float)
    tree[:, 2] /= tree[:, 2].max()
    return tree


def planted(options: argparse.Namespace, texts: list[str]) -> None:
    texts = [text for text in texts if 4 <= len(words(text)) <= 40][: 3000 + options.limit]
    tongue = "zh" if language_of(" ".join(texts[:50])) == "zh" else "en"
    draw = stream(0, "planted")
    rows = []
    for text in texts:
        label = int(draw.integers(2))
        spans = words(text)
        at = spans[int(draw.integers(len(spans)))][0]
        gap = "" if tongue == "zh" else " "
        rows.append((f"{text[:at]}{PLANTED[tongue][label]}{gap}{text[at:]}", "ab"[label]))
    model = dt.finetune(options.model, rows[options.limit :], minutes=options.minutes, task="classification")
    right = first = 0
    seconds = []
    for text, label in rows[: options.limit]:
        found = explain(model.net, model.tokenizer, text, budget=options.budget, judged=False)
        right += found.answer == label
        best = found.words[int(np.argmax(found.values))]
        first += found.answer == label and PLANTED[tongue]["ab".index(label)] in best
        seconds.append(found.seconds)
    print(f"{tongue}: right in {right} of {options.limit}, and there the planted word first in {first} ({first / max(1, right):.1%})")
    keep("planted", options, DEFAULT, round(first / max(1, right), 4), float(options.budget), round(float(np.mean(seconds)), 3), right)


def subject_of(model: Any, question: Any, units: Any) -> Subject:
    model.net.eval()
    return Subject(model.net, question, units, blank_of(model.tokenizer))


def keep(what: str, options: argparse.Namespace, method: str, *numbers: float) -> None:
    """Add a line to the results."""
    is_new = not RESULTS.exists()
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["date", "what", "model", "data", "method", "value", "evaluations", "seconds", "n"])
        writer.writerow([date.today(), what, Path(options.model).name, Path(options.data).name, method, *numbers])


if __name__ == "__main__":
    main()
