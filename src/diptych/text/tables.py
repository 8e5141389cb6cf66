"""Tables of text: rows from csv, tsv, JSON, JSON lines, parquet, lists, data frames and Hugging Face datasets."""

import csv
import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.files import UNREADABLE, Source, find_sources, has_halves, read_lines, whole

TEXT_NAMES = ("text", "content", "sentence", "review", "comment", "body", "message", "正文", "文本", "内容", "评论", "句子")
SOURCE_NAMES = ("source", "src", "input", "document", "article", "dialogue", "abstract", "body", "content", "text", "question")
SOURCE_NAMES += ("原文", "正文", "文章", "内容", "文本", "摘要")
TARGET_NAMES = ("target", "tgt", "output", "summary", "translation", "tldr", "highlights", "reference", "title", "headline", "answer")
TARGET_NAMES += ("label", "译文", "翻译", "总结", "标题", "摘要")
"""What the two sides of a pair are called, the likeliest first; an abstract may be either."""
LANGUAGES = ("en", "zh", "de", "fr", "es", "it", "ja", "ko", "ru", "pt", "nl", "cs", "ar", "english", "chinese", "german", "英文", "中文")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table and where it stands."""

    where: str
    fields: Mapping[str, Any]


def read_table(source: Any, ledger: Ledger | None = None, encoding: str | None = None) -> Iterator[Row]:
    """The rows of a file, or of a table in memory.

    Args:
        source: a path, a pattern, a list of `Path`; or a list of dictionaries, of strings or of (text, label) pairs, a data
            frame, a Hugging Face dataset.

    Raises:
        DataError E101: no such file. E106: a line that is no JSON. E107: this object is no table.
    """
    ledger = ledger if ledger is not None else Ledger()
    if isinstance(source, str | Path):
        paths = [Path(source)] if Path(source).exists() else [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]
        if not paths:
            raise DataError("E101", path=source)
        for file in find_sources(paths, ledger):
            yield from rows_of(file, ledger, encoding)
    elif isinstance(source, list) and source and all(isinstance(item, Path) for item in source):
        for path in source:
            yield from read_table(path, ledger, encoding)
    elif _is_frame(source):
        frame: Any = source
        filled = frame.astype(object).where(frame.notna(), None)
        for number, fields in enumerate(filled.to_dict(orient="records"), 1):
            yield _row(_("row {number}").format(number=number), {str(key): value for key, value in fields.items()}, ledger)
    elif hasattr(source, "__iter__") and not isinstance(source, Mapping | bytes):
        names = _class_names(source)
        for number, item in enumerate(source, 1):
            item = _with_names(item, names) if names else item
            yield row_of(item, _("row {number}").format(number=number), ledger)
    else:
        raise DataError("E107", kind=type(source).__name__)


def name_of(source: Any) -> str:
    """What a message calls a source: a path as a whole, of anything else the beginning."""
    return str(source) if isinstance(source, str | Path) else repr(source)[:60]


def is_columnar(source: Any) -> bool:
    """Whether `source` is a table in memory with named columns: a data frame, or a Hugging Face dataset."""
    return _is_frame(source) or (hasattr(source, "column_names") and hasattr(source, "features"))


def rows_of(source: Source, ledger: Ledger, encoding: str | None = None) -> Iterator[Row]:
    """The rows of one file."""
    if source.suffix == ".parquet":
        yield from _parquet_rows(source)
    elif source.suffix == ".jsonl":
        yield from _json_lines(source, ledger, encoding)
    elif source.suffix == ".json":
        yield from _json_rows(source, ledger, encoding)
    elif source.suffix in (".csv", ".tsv"):
        yield from _csv_rows(source, ledger, encoding)
    else:
        for number, line in enumerate(read_lines(source, ledger, encoding), 1):
            yield Row(_line(source, number), {"text": line.rstrip("\n")})


def row_of(item: Any, where: str, ledger: Ledger) -> Row:
    """A row of a table in memory: a dictionary, a text, (text, label) or (text, text2, label).

    Raises:
        DataError E107: it is none of these.
    """
    if isinstance(item, Mapping):
        return _row(where, item, ledger)
    if isinstance(item, list | tuple) and 2 <= len(item) <= 3:
        names = ("text", "label") if len(item) == 2 else ("text", "text2", "label")
        return _row(where, dict(zip(names, item, strict=True)), ledger)
    if isinstance(item, str):
        return _row(where, {"text": item}, ledger)
    raise DataError("E107", kind=type(item).__name__)


def guess_text_column(rows: Sequence[Mapping[str, Any]], where: str) -> str:
    """The column that holds the text: one with a usual name, or the one with the most text in it.

    Raises:
        DataError E108: no column holds text.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lowered = {str(name).strip().lower(): name for name in names}
    for name in TEXT_NAMES:
        if name in lowered:
            return lowered[name]
    amount = {name: sum(len(row.get(name) or "") for row in rows if isinstance(row.get(name), str)) for name in names}
    best = max(amount, key=amount.__getitem__, default=None)
    if best is None or not amount[best]:
        raise DataError("E108", where=where, columns=", ".join(map(str, names)) or _("none"))
    return best


def _line(source: Source, number: int) -> str:
    return _("{name}, line {number}").format(name=source.name, number=number)


def _csv_rows(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    """csv by its quotes; tsv as it stands, since a quote in it is a quote."""
    csv.field_size_limit(1 << 30)
    lines = _counted(read_lines(source, ledger, encoding))
    if source.suffix == ".tsv":
        reader: Any = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines)
    rows = _numbered_rows(reader)
    head = list(islice(rows, 2))
    if not head:
        return
    first = head[0][1]
    if _is_header(first, head[1][1] if len(head) == 2 else None):
        names = [name.strip() or f"column{number}" for number, name in enumerate(first, 1)]
        head = head[1:]
    else:
        names = [f"column{number}" for number in range(1, len(first) + 1)]
        ledger.add("table", "tables without a header: columns are numbered", where=source.name)
    for line, row in chain(head, rows):
        if len(row) != len(names):
            ledger.add("table", "rows with too many or too few cells", where=_line(source, line))
        padded = row + [""] * (len(names) - len(row))
        yield Row(_line(source, line), dict(zip(names, padded, strict=False)))


def _numbered_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(the line where it begins, its cells) of each row that is not empty."""
    line = 1
    for row in reader:
        if row:
            yield line, row
        line = reader.line_num + 1


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """A header names its columns: short cells, none of them a number or empty, all different, unlike the row below.

    A row whose every cell is as long as the text below it is data.
    """
    names = [cell.strip() for cell in first]
    if len(set(names)) != len(names) or any(_is_number(name) or len(name) > 40 for name in names) or not any(names):
        return False
    if second is None:
        return len(names) > 1
    if all(name.lower() in (*SOURCE_NAMES, *TARGET_NAMES, *LANGUAGES) for name in names):
        return True
    if len(second) == len(first):
        below = [cell.strip() for cell in second]
        has_text = any(len(cell) > 3 * max(4, len(name)) for cell, name in zip(below, names, strict=True))
        has_number = any(_is_number(cell) for cell in below)
        is_wordy = any(" " in name and len(name) > 24 for name in names)
        return (has_text or has_number or any(name.lower() in (*TEXT_NAMES, "label") for name in names)) and not is_wordy
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _counted(lines: Iterator[str]) -> Iterator[str]:
    """Lines without the NUL characters that csv refuses."""
    for line in lines:
        yield line.replace("\0", "")


def _json_lines(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    for number, line in enumerate(read_lines(source, ledger, encoding), 1):
        if not line.strip():
            continue
        where = _line(source, number)
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError("E106", where=where, problem=error.msg) from None
        yield _row(where, value if isinstance(value, dict) else {"text": value}, ledger)


def _json_rows(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    """A JSON file: a list of rows, an object of one list, or JSON lines under another name."""
    text = "".join(read_lines(source, ledger, encoding))
    if not text.strip():
        return
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _json_lines(source, ledger, encoding)
            return
        raise DataError("E106", where=_line(source, error.lineno), problem=error.msg) from None
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), [data])
    for number, value in enumerate(data if isinstance(data, list) else [data], 1):
        where = _("{name}, item {number}").format(name=source.name, number=number)
        yield _row(where, value if isinstance(value, dict) else {"text": value}, ledger)


def _parquet_rows(source: Source) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError("E109", path=source.name) from None
    try:
        with source.open() as file:
            batches = parquet.ParquetFile(file).iter_batches()
            for number, fields in enumerate((fields for batch in batches for fields in batch.to_pylist()), 1):
                yield Row(_("{name}, row {number}").format(name=source.name, number=number), fields)
    except (ArrowException, *UNREADABLE) as error:
        raise DataError("E110", path=source.name, problem=error) from None


def _is_frame(source: Any) -> bool:
    return hasattr(source, "to_dict") and hasattr(source, "columns")


def _class_names(source: Any) -> dict[str, Sequence[str]]:
    """What the numbers in a Hugging Face dataset's columns of classes, or of lists of classes, stand for."""
    features = getattr(source, "features", None)
    names = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        found = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if isinstance(found, list | tuple):
            names[str(column)] = found
    return names


def _with_names(item: Any, names: Mapping[str, Sequence[str]]) -> Any:
    if not isinstance(item, Mapping):
        return item

    def named(value: Any, known: Sequence[str]) -> Any:
        if isinstance(value, list | tuple):
            return [named(each, known) for each in value]
        # A class that is not known is -1 there.
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return (known[value] if 0 <= value < len(known) else None) if is_number else value

    return {column: named(value, names[column]) if column in names else value for column, value in item.items()}


def _row(where: str, fields: Mapping[str, Any], ledger: Ledger) -> Row:
    """A row whose texts can be written: JSON and Python may hold halves of characters, which UTF-8 cannot."""
    if any(isinstance(value, str) and not value.isascii() and has_halves(value) for value in fields.values()):
        fields = {name: whole(value, ledger, where) if isinstance(value, str) else value for name, value in fields.items()}
    return Row(where, fields)
