"""Looking for defects in examples before anything is trained on them: `diptych data check`.

What is found is a ledger: how many, out of how many, and where the first ones stand. A file is read as leniently as can be, so that
one defect does not hide the next.
"""

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.running import load_model
from diptych.tasks import PRETRAINING, TASKS, task_class
from diptych.tasks.labels import guess_kind, is_missing, label_name, label_of, shown
from diptych.tasks.tables import choose_columns
from diptych.tasks.tag_checks import check_tags
from diptych.text.files import Source, find_sources, read_lines
from diptych.text.tables import Row, name_of, read_table, rows_of
from diptych.text.tokenizer import Tokenizer

TASK_NAMES = {"ner": "tagging", "qa": "answering", "seq2seq": "seq2seq"}
"""What people call tasks, and what they are called here."""
STRANGE_LABELS = {"-", "--", "–", "?", "n/a", "na", "nan", "null", "none", "unknown", "无", "未知", "其他?"}
UNEVEN = 10
"""A class with so many times fewer rows than another is hard to learn, and accuracy does not show it."""


def check_data(source: Any, task: str = "classification", *, test: Any = None, base: str | Path | None = None, **settings: Any) -> Ledger:
    """What is wrong with some examples: each kind of defect, how often, and where.

    Args:
        task: "classification", "tagging" ("ner"), or another task that learns from examples.
        test: the examples that will be tested on: texts that lie in both are leaks.
        base: a model, to say how many texts are longer than its context.
        settings: columns by name: `text`, `pair`, `label`.

    Raises:
        DataError E123: this task learns from running text. E101 to E110: the file cannot be read at all.
    """
    name = TASK_NAMES.get(task, task)
    if name in PRETRAINING:
        raise DataError("E123", task=name, known=", ".join([*TASK_NAMES, *(each for each in TASKS if each not in PRETRAINING)]))
    ledger = Ledger()
    found = _check_labels if name == "classification" else _check_tags if name == "tagging" else _check_by_reading
    texts = found(name, source, ledger, settings)
    _check_texts(texts, ledger)
    if test is not None:
        own = {_folded(text) for _where, text in texts}
        others = found(name, test, Ledger(), settings)
        for where, text in others:
            if _folded(text) in own:
                ledger.add(
                    "test", "texts of the test that lie in the training as well: the scores will flatter", total=len(others), where=where
                )
    if base is not None:
        model = load_model(base)
        _check_lengths(texts, model.tokenizer, model.config.context_length, ledger)
    return ledger


Texts = list[tuple[str, str]]
"""(where, text)"""


def _check_labels(_task: str, source: Any, ledger: Ledger, settings: dict[str, Any]) -> Texts:
    """Labels, duplicates and balance of a table; the texts in it."""
    rows = list(_rows(source, ledger))
    if not rows:
        raise DataError("E132", name=name_of(source))
    columns = choose_columns(rows, name_of(source), text=settings.get("text"), pair=settings.get("pair"), label=settings.get("label"))
    cells = [row.fields.get(columns.label) for row in rows]
    kind, separator = guess_kind(cells)
    ledger.add("table", "rows read", len(rows))
    texts: Texts = []
    labels: dict[str, set[str]] = defaultdict(set)
    seen: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for row, cell in zip(rows, cells, strict=True):
        text = " | ".join("" if is_missing(row.fields.get(c)) else str(row.fields[c]) for c in (columns.text, columns.pair) if c)
        texts.append((row.where, text))
        label = label_of(cell, kind, separator, row.where)
        if label is None:
            ledger.add("labels", "rows without a label", total=len(rows), where=row.where)
            continue
        if isinstance(label, str) and (label.lower() in STRANGE_LABELS or not any(map(str.isalnum, label))):
            ledger.add("labels", "labels that look like a missing one, such as “-”", total=len(rows), where=row.where)
        seen[_folded(text)] += 1
        if seen[_folded(text)] == 2:
            ledger.add("labels", "texts that occur more than once", total=len(rows), where=row.where)
        if labels[_folded(text)] and shown(label) not in labels[_folded(text)]:
            ledger.add("labels", "texts that have another label elsewhere", total=len(rows), where=row.where)
        labels[_folded(text)].add(shown(label))
        counts.update(label if isinstance(label, tuple) else [shown(label)] if kind == "single" else [])
    _check_classes(counts, ledger)
    return texts


def _check_classes(counts: Counter[str], ledger: Ledger) -> None:
    if not counts:
        return
    numbers = [name for name in counts if _is_number(name)]
    if numbers and len(numbers) < len(counts):
        smaller = numbers if len(numbers) <= len(counts) - len(numbers) else [name for name in counts if name not in numbers]
        ledger.add("labels", "classes that are numbers among classes that are words, or the reverse", len(smaller), where=smaller[0])
    spelled: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        spelled[unicodedata.normalize("NFKC", name).casefold().strip()].append(name)
    for names in spelled.values():
        if len(names) > 1:
            ledger.add("labels", "classes that differ in capitals or width alone", len(names), where=" / ".join(names))
    most = max(counts.values())
    for name, count in counts.items():
        if count == 1 and len(counts) > 1:
            ledger.add("labels", "classes with one example only", total=len(counts), where=name)
        if most > UNEVEN * count:
            ledger.add(
                "labels",
                "classes with less than a tenth of the rows of the largest",
                total=len(counts),
                where=f"{name} ({count:,} / {most:,})",
            )
    if len(counts) == 1:
        ledger.add("labels", "tables with one class only: there is nothing to tell apart")


def _check_tags(_task: str, source: Any, ledger: Ledger, settings: dict[str, Any]) -> Texts:
    return check_tags(source, ledger, form=settings.get("form"), ends=settings.get("ends"))


def _check_by_reading(task: str, source: Any, ledger: Ledger, settings: dict[str, Any]) -> Texts:
    """Whatever the task itself counts while it reads, which is where it meets answers that are not in the text."""
    kind = task_class(task)
    rows, _found = kind(kind.Settings(**settings)).read(source, ledger)
    return [(row.where, text) for row in rows for text in row.texts]


def _check_texts(texts: Texts, ledger: Ledger) -> None:
    total = len(texts)
    for where, text in texts:
        if not text.strip(" |\t\r\n\u3000"):
            ledger.add("text", "empty texts", total=total, where=where)
            continue
        if text.isascii() and text.isprintable() and '"' not in text:
            continue
        kinds = {
            unicodedata.category(character) for character in text if not character.isprintable() and character not in "\n\r\t \u3000\xa0"
        }
        if "Cc" in kinds:
            ledger.add("text", "texts with control characters", total=total, where=where)
        if any("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069" for character in text):
            ledger.add("text", "texts with characters that turn the direction of writing", total=total, where=where)
        if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text if character > "\u0590"):
            ledger.add("text", "texts that run from right to left", total=total, where=where)
        if "\ufffd" in text:
            ledger.add("text", "texts with characters that were lost in decoding", total=total, where=where)
        if text.count('"') % 2 or '""' in text:
            ledger.add(
                "text",
                "texts with quotes that are not closed or doubled: read by another rule than they were written",
                total=total,
                where=where,
            )
        if "\n" in text and text.count("\n") > 3 and "\t" in text:
            ledger.add("text", "texts that hold several rows: a quote before them was not closed", total=total, where=where)


def _check_lengths(texts: Texts, tokenizer: Tokenizer, context: int, ledger: Ledger) -> None:
    encoded = tokenizer.encode_batch([text for _where, text in texts])
    for (where, _text), ids in zip(texts, encoded, strict=True):
        if len(ids) > context - tokenizer.num_special(pair=False):
            ledger.add("text", "texts longer than the model's context", total=len(texts), where=where)
        if ids and 2 * sum(token == tokenizer.unk_id for token in ids) > len(ids):
            ledger.add("text", "texts that are mostly unknown to the model's tokenizer", total=len(texts), where=where)


def _rows(source: Any, ledger: Ledger) -> Iterator[Row]:
    """The rows of a table, also of a file without a usual ending: columns by tabs, or a label before the first space."""
    path = Path(source) if isinstance(source, str | Path) else None
    if path is None or not path.exists():
        yield from read_table(source, ledger)
        return
    for file in find_sources([path], ledger, is_any_kind=True):
        lines = [line for _number, line in zip(range(200), read_lines(file, Ledger()), strict=False) if line.strip()]
        if file.suffix not in (".csv", ".tsv", ".json", ".jsonl", ".parquet") and lines:
            yield from _lines_as_rows(file, lines, ledger)
        elif file.suffix == ".csv" and lines and sum("\t" in line for line in lines) > 0.9 * len(lines):
            yield from rows_of(dataclasses.replace(file, suffix=".tsv"), ledger)
        else:
            yield from rows_of(file, ledger)


def _lines_as_rows(file: Source, lines: Sequence[str], ledger: Ledger) -> Iterator[Row]:
    if sum("\t" in line for line in lines) > 0.9 * len(lines):
        yield from rows_of(dataclasses.replace(file, suffix=".tsv"), ledger)
        return
    firsts = Counter(line.split(" ", 1)[0] for line in lines)
    is_labelled = len(firsts) <= max(2, len(lines) // 20)
    for row in rows_of(dataclasses.replace(file, suffix=".txt"), ledger):
        label, _space, text = str(row.fields["text"]).partition(" ")
        yield Row(row.where, {"text": text, "label": label}) if is_labelled else row


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _is_number(name: str) -> bool:
    return label_name(name) is not None and name.replace(".", "", 1).lstrip("+-").isdigit()
