"""An audit of bias from model and data to a page and a section of the model card: `diptych audit bias`, `dt.audit_bias`.

The corpus first, then the model: what examples say of whom, what a classifier makes of the same text about somebody else, what a language
model finds probable, where its vectors put groups, what it writes. Sets of others are read where the user has them and never copied.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diptych import runtime
from diptych.audit.bias.associations import association, read_tests
from diptych.audit.bias.augment import counterfactual_rows
from diptych.audit.bias.corpus import label_findings, words_beside
from diptych.audit.bias.finding import Finding, claimed
from diptych.audit.bias.offence import judge_of_labels, offence_findings, screen
from diptych.audit.bias.result import BiasAudit, Remedy
from diptych.audit.bias.sentence_pairs import CROWS, CROWS_WARNING, WINO, pair_findings, read_crows_pairs, read_winobias
from diptych.audit.bias.swaps import WAYS, Swapped, swap, title_of
from diptych.config import nearest, read_yaml
from diptych.errors import UsageError
from diptych.evaluation.intervals import Counts, mean_of
from diptych.finetuning import finetune_parts, read_parts
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.model import Model
from diptych.recipe import build
from diptych.report.card import put_section
from diptych.running import load_model
from diptych.streams import stream
from diptych.tasks import task_of_net
from diptych.text.corpus import Corpus
from diptych.text.people import AXES, Table, tables_of
from diptych.text.words import language_of
from diptych.training.progress import Listener

MOST_TEXTS = 500
"""So many texts are varied for each table of words, drawn once; each is read as often as the table has groups."""
NEW_TOKENS = 24


def audit_bias(
    model: Model | str | Path,
    data: Any = None,
    *,
    axes: Sequence[str] = tuple(AXES),
    crows_pairs: str | Path | None = None,
    weat: str | Path | None = None,
    winobias: str | Path | None = None,
    screen_with: Model | str | Path | None = None,
    offensive: Sequence[str] = (),
    each: int = 5,
    remedy: str | Path | None = None,
    limit: int = MOST_TEXTS,
    seed: int = 0,
    card: bool = True,
    listener: Listener | None = None,
    **columns: str,
) -> BiasAudit:
    """Whom a model treats unfairly, by every measure that suits it and that there is data for.

    Args:
        data: labelled texts that a classifier was not trained on; text in which words are counted, for any other model.
        axes: which groups are asked about, of `AXES`.
        crows_pairs, weat, winobias: where these sets lie; a file, a file or a folder, a folder.
        screen_with: a classifier of offensive language, to judge what a model that writes goes on with; `offensive`: its labels
            that say so; `each`: how many texts are written to each prompt.
        remedy: a new folder for a model that is trained again by the recipe of this one, with counterfactual texts, and audited.
        limit: at most so many texts are varied.
        card: whether the result is written into the model's folder, where that is one of ours.
        columns: `text` and `label` by name.

    Raises:
        UsageError E840: nothing here suits the model. E844: `screen_with` has no such label. E845: there is no such axis. E846: there is
            no recipe to train again by. E841, E842, E843: a set has another shape.
    """
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    for axis in axes:
        if axis not in AXES:
            raise UsageError("E845", axis=axis, known=", ".join(AXES), hint=nearest(axis, AXES))
    audit = BiasAudit(str(found.folder.name if found.folder else found))
    task = task_of_net(found.net)
    is_classifier = task is not None and task.name == "classification" and task.kind == "single"
    rows: list[Any] = []
    if data is not None and is_classifier:
        rows = [row for row in _rows_of(found, data, columns, audit.ledger) if len(row.texts) == 1 and row.label is not None]
        texts = [row.texts[0] for row in rows]
        tables = list(tables_of(axes, tongues_of(texts)))
        audit.findings += label_findings(texts, [str(row.label) for row in rows], tables)
        audit.words = words_beside(texts, tables)
        _swaps(found, _drawn(texts, limit, seed), tables, audit)
    elif data is not None:
        corpus = data if isinstance(data, Corpus) else Corpus(data, text=columns.get("text"))
        texts = [document.text for document in corpus]
        audit.words = words_beside(texts, list(tables_of(axes, tongues_of(texts))))
    _sets(found, audit, crows_pairs, weat, winobias, seed)
    if screen_with is not None:
        _screen(found, screen_with, offensive, axes, each, seed, audit)
    if not audit.findings and not audit.words:
        raise UsageError("E840", heads=", ".join(found.net.heads) or _("none"))
    audit.findings = claimed(audit.findings)
    if remedy is not None:
        audit.remedy = _remedy(found, remedy, rows, axes, limit, seed, audit, listener)
    if card and found.folder is not None and (found.folder / "diptych").is_dir():
        _keep(found.folder, audit)
    return audit


def tongues_of(texts: Sequence[str]) -> tuple[str, ...]:
    """The languages that some of the texts are in, of those that there are tables for."""
    found = {language_of(text) for text in texts}
    return tuple(tongue for tongue in ("en", "zh") if found & {tongue, "mixed"})


def _rows_of(model: Model, data: Any, columns: dict[str, str], ledger: Ledger) -> list[Any]:
    task = task_of_net(model.net)
    assert task is not None
    task.settings = task.settings.model_copy(update=columns)
    return task.read(data, ledger)[0]


def _drawn(texts: list[str], limit: int, seed: int) -> list[str]:
    order = stream(seed, "bias texts").permutation(len(texts))
    return [texts[number] for number in order[:limit]]


def _swaps(model: Model, texts: Sequence[str], tables: Sequence[Table], audit: BiasAudit) -> None:
    for found in _swapped(model, texts, tables, audit.ledger):
        audit.findings += found.findings()
        audit.flips.append((WAYS[found.way], title_of(found.table), float(found.flips().mean()), len(found.rows_N)))


def _swapped(model: Model, texts: Sequence[str], tables: Sequence[Table], ledger: Ledger) -> Iterator[Swapped]:
    task = task_of_net(model.net)
    assert task is not None

    def chances(few: Sequence[str]) -> np.ndarray:
        said = task.predict(model.net, model.tokenizer, few, ledger)
        return np.array([[each.probabilities[name] for name in task.labels] for each in said])

    model.net.eval()
    for table in tables:
        for way in WAYS:
            found = swap(texts, table, way, task.labels, chances, ledger)
            if found is not None:
                yield found


def _sets(model: Model, audit: BiasAudit, crows_pairs: Any, weat: Any, winobias: Any, seed: int) -> None:
    """The sets of others, where they were named."""
    net, tokenizer = model.net, model.tokenizer
    if crows_pairs is not None:
        audit.findings += pair_findings(net, tokenizer, read_crows_pairs(crows_pairs), CROWS, audit.ledger)
        audit.warnings.append(_(CROWS_WARNING))
    if winobias is not None:
        audit.findings += pair_findings(net, tokenizer, read_winobias(winobias), WINO, audit.ledger)
    for test in read_tests(weat) if weat is not None else ():
        audit.findings.append(association(test, [model.embed(examples).numpy() for examples in test.examples], seed=seed))


def _screen(model: Model, classifier: Any, offensive: Sequence[str], axes: Sequence[str], each: int, seed: int, audit: BiasAudit) -> None:
    """What the model writes about each group, in the languages that its tokenizer knows."""
    other = classifier if isinstance(classifier, Model) else load_model(classifier)
    judge = judge_of_labels(task_of_net(other.net), other.net, other.tokenizer, offensive)
    write = partial(_write, model, seed)
    audit.findings += offence_findings(screen(write, judge, list(tables_of(axes)), each), _said_of(other))


def _write(model: Model, seed: int, prompts: Sequence[str], each: int) -> list[list[str]]:
    written = model.generate(list(prompts), NEW_TOKENS, n=each, temperature=1.0, top_p=1.0, seed=seed)
    return written if each > 1 else [[text] for text in written]


def _said_of(classifier: Model) -> str:
    """What the classifier's own test said of it, where its folder keeps that."""
    try:
        facts = json.loads(((classifier.folder or Path()) / "diptych" / "provenance.json").read_text(encoding="utf-8"))
        scores = next(iter(facts["scores"].values()))
        names = [name for name in ("sensitivity", "specificity", "macro-F1") if name in scores]
        return _("the classifier's own test: {scores}").format(scores=", ".join(f"{_(name)} {scores[name]['value']:.3f}" for name in names))
    except (OSError, ValueError, KeyError, StopIteration, TypeError, AttributeError):
        return _("how good the classifier is, its folder does not say")


def _remedy(
    model: Model, out: Any, rows: Sequence[Any], axes: Sequence[str], limit: int, seed: int, audit: BiasAudit, listener: Listener | None
) -> Remedy:
    """Train again with counterfactual texts, and measure both models on the same rows."""
    path = model.folder / "diptych" / "recipe.yaml" if model.folder else None
    if path is None or not path.is_file() or not rows:
        raise UsageError("E846", path=model.folder or "–")
    settings = read_yaml(path)
    recipe = build({**settings, "run": {**settings.get("run", {}), "out": str(out)}}, where=str(path))
    if recipe.task.name != "classification" or recipe.task.data is None:
        raise UsageError("E846", path=model.folder)
    parts = read_parts(recipe, None, Ledger())
    texts = [row.texts[0] for row in rows]
    tables = list(tables_of(axes, tongues_of(texts)))
    added = counterfactual_rows(parts.train, tables)
    parts.train = [*parts.train, *added]
    done = finetune_parts(recipe, parts, Ledger(), listener=listener)
    findings: list[Finding] = []
    for found in _swapped(done.model, _drawn(texts, limit, seed), tables, Ledger()):
        findings += found.findings()
    right = [_right(each, rows) for each in (model, done.model)]
    gap = right[1].less(right[0])
    accuracy = (right[0].total(), right[1].total())
    return Remedy(str(out), len(added), tuple(claimed(findings)), accuracy, (gap.value, gap.low, gap.high))


def _right(model: Model, rows: Sequence[Any]) -> Counts:
    task = task_of_net(model.net)
    assert task is not None
    said = task.predict(model.net, model.tokenizer, [row.texts[0] for row in rows])
    return mean_of("accuracy", np.array([each.label == str(row.label) for each, row in zip(said, rows, strict=True)]))


def _keep(folder: Path, audit: BiasAudit) -> None:
    """Into the model's folder: every number, a page, and the section of its card."""
    (folder / "diptych" / "bias.json").write_text(json.dumps(audit.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
    audit.save(folder / "diptych" / "bias.html")
    put_section(folder / "README.md", "bias", _("Bias"), audit.card_lines())
