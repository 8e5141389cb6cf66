"""Defects of tagged text: tags of no scheme, tags that break theirs, spans that lie elsewhere, sentences marked in two ways."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.spans import is_tag
from diptych.tasks.tagged_texts import read_tagged
from diptych.text.files import find_sources, read_lines

Texts = list[tuple[str, str]]


def check_tags(source: Any, ledger: Ledger, *, form: str | None = None, ends: str | None = None) -> Texts:
    """Count what is wrong in a file of tokens and tags, or of spans; the texts in it with their places."""
    if isinstance(source, str | Path) and Path(source).exists():
        for file in find_sources([Path(source)], ledger, is_any_kind=True):
            if file.suffix not in (".json", ".jsonl", ".parquet") and form in (None, "columns"):
                _check_columns(file, ledger)
    try:
        rows, found = read_tagged(source, ledger, ends=ends, form=form)
    except DataError as error:
        if error.code not in ("E141", "E143"):
            raise
        ledger.add("tags", "files that cannot be trained on before this is mended", where=str(source))
        return []
    if found.get("ends") == "inclusive":
        ledger.add("tags", "files whose spans end with their last character, not after it", where=str(source))
    marked: dict[str, set[Any]] = defaultdict(set)
    labels: Counter[str] = Counter()
    for row in rows:
        text = row.texts[0]
        if marked[text] and row.gold not in marked[text]:
            ledger.add("tags", "texts that are marked in another way elsewhere", total=len(rows), where=row.where)
        elif marked[text]:
            ledger.add("tags", "texts that occur more than once", total=len(rows), where=row.where)
        marked[text].add(row.gold)
        labels.update(span.label for span in row.spans)
        for span in row.spans:
            piece = text[span.start : span.stop]
            if piece != piece.strip():
                ledger.add("tags", "spans that begin or end with white space", where=row.where)
    for label, count in labels.items():
        if count == 1:
            ledger.add("tags", "labels with one example only", total=len(labels), where=label)
        if 10 * count < max(labels.values()):
            ledger.add("tags", "labels with less than a tenth of the spans of the largest", total=len(labels), where=f"{label} ({count:,})")
    return [(row.where, row.texts[0]) for row in rows]


def _check_columns(file: Any, ledger: Ledger) -> None:
    """Rows of the wrong width, and sequences of tags that no scheme allows."""
    lines = [(number, line.rstrip("\n")) for number, line in enumerate(read_lines(file, Ledger()), 1)]
    rows = [(number, line.split("\t") if "\t" in line else line.split()) for number, line in lines if not line.startswith("# ")]
    widths = Counter(len(cells) for _number, cells in rows if cells and cells != [""])
    if not widths:
        return
    width = widths.most_common(1)[0][0]
    full = [cells for _number, cells in rows if len(cells) == width][:2000]
    columns = [at for at in range(1, width) if sum(is_tag(cells[at]) for cells in full) > 0.9 * len(full)]
    varied = [at for at in columns if len({cells[at] for cells in full}) > 1]
    if not columns:
        return
    at = (varied or columns)[0]
    before = "O"
    for number, cells in rows:
        where = f"{file.name}: {number}"
        if not cells or cells == [""]:
            before = "O"
            continue
        if len(cells) != width:
            ledger.add("tags", "lines with more or fewer columns than the others", where=where)
            before = "O"
            continue
        tag = cells[at]
        if not is_tag(tag):
            ledger.add("tags", "tags of no known scheme", where=f"{where} {tag}")
            before = "O"
            continue
        if len(cells[0]) == 2 and cells[0][1].isdigit() and not cells[0][0].isascii():
            ledger.add("tags", "characters with the number of their place in the word: it is taken away")
        if tag[:1] in "IMEL" and (before[:1] not in "BIM" or before[2:] != tag[2:]):
            ledger.add("tags", "tags that go on with what did not begin: right in IOB1 alone", where=f"{where} {before} {tag}")
        before = tag
