"""Tables of text: rows from csv, tsv, JSON, JSON lines, parquet, lists, data frames and Hugging Face datasets."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.text.files import Source, find_sources, read_lines

TEXT_NAMES = ("text", "content", "sentence", "review", "comment", "body", "message", "正文", "文本", "内容", "评论", "句子")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table and where it stands."""

    where: str
    fields: Mapping[str, Any]


def read_table(source: Any, ledger: Ledger | None = None, encoding: str | None = None) -> Iterator[Row]:
    """The rows of a file, or of a table in memory.

    Args:
        source: a path, or a list of dictionaries or of (text, label) pairs, a data frame, a Hugging Face dataset.

    Raises:
        DataError E101: no such file. E106: a line that is no JSON. E107: this object is no table.
    """
    ledger = ledger if ledger is not None else Ledger()
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            raise DataError("E101", path=path)
        for file in find_sources([path], ledger):
            yield from rows_of(file, ledger, encoding)
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):
        for number, fields in enumerate(source.to_dict(orient="records"), 1):
            yield Row(f"row {number}", {str(key): value for key, value in fields.items()})
    elif hasattr(source, "__iter__"):
        yield from _rows_in_memory(source)
    else:
        raise DataError("E107", kind=type(source).__name__)


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
            yield Row(f"{source.name}, line {number}", {"text": line.rstrip("\n")})


def guess_text_column(rows: Sequence[Mapping[str, Any]], where: str) -> str:
    """The column that holds the text: one with a usual name, or the one with the most text in it.

    Raises:
        DataError E108: no column holds text.
    """
    names = list(rows[0]) if rows else []
    lowered = {str(name).strip().lower(): name for name in names}
    for name in TEXT_NAMES:
        if name in lowered:
            return lowered[name]
    amount = {name: sum(len(row.get(name) or "") for row in rows if isinstance(row.get(name), str)) for name in names}
    best = max(amount, key=amount.__getitem__, default=None)
    if best is None or not amount[best]:
        raise DataError("E108", where=where, columns=", ".join(map(str, names)) or "none")
    return best


def _csv_rows(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    """csv by its quotes; tsv as it stands, since a quote in it is a quote."""
    csv.field_size_limit(1 << 30)
    lines = _counted(read_lines(source, ledger, encoding))
    if source.suffix == ".tsv":
        reader: Any = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines)
    cells = iter(reader)
    first, second = next(cells, None), next(cells, None)
    if first is None:
        return
    has_header = _is_header(first, second)
    names = [name.strip() or f"column{number}" for number, name in enumerate(first, 1)] if has_header else _numbered(first)
    if not has_header:
        ledger.add("table", "tables without a header: columns are numbered", where=source.name)
        yield Row(f"{source.name}, line 1", dict(zip(names, first, strict=False)))
    start = 2
    rest = iter(()) if second is None else _again(second, cells)
    for row in rest:
        if row:
            if len(row) != len(names):
                ledger.add("table", "rows with too many or too few cells", where=f"{source.name}, line {start}")
            padded = row + [""] * (len(names) - len(row))
            yield Row(f"{source.name}, line {start}", dict(zip(names, padded, strict=False)))
        start = reader.line_num + 1


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """A header names its columns: short cells, none of them a number or empty, all different, unlike the row below.

    A row whose every cell is as long as the text below it is data.
    """
    names = [cell.strip() for cell in first]
    if len(set(names)) != len(names) or any(_is_number(name) or len(name) > 40 for name in names) or not any(names):
        return False
    if second is None:
        return len(names) > 1
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


def _numbered(first: list[str]) -> list[str]:
    return [f"column{number}" for number in range(1, len(first) + 1)]


def _again(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _counted(lines: Iterator[str]) -> Iterator[str]:
    """Lines without the NUL characters that csv refuses."""
    for line in lines:
        yield line.replace("\0", "")


def _json_lines(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    for number, line in enumerate(read_lines(source, ledger, encoding), 1):
        if not line.strip():
            continue
        where = f"{source.name}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError("E106", where=where, problem=error.msg) from None
        yield Row(where, value if isinstance(value, dict) else {"text": value})


def _json_rows(source: Source, ledger: Ledger, encoding: str | None) -> Iterator[Row]:
    """A JSON file: a list of rows, an object of one list, or JSON lines under another name."""
    text = "".join(read_lines(source, ledger, encoding))
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _json_lines(source, ledger, encoding)
            return
        raise DataError("E106", where=f"{source.name}, line {error.lineno}", problem=error.msg) from None
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), [data])
    for number, value in enumerate(data if isinstance(data, list) else [data], 1):
        yield Row(f"{source.name}, item {number}", value if isinstance(value, dict) else {"text": value})


def _parquet_rows(source: Source) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError("E109", path=source.name) from None
    with source.open() as file:
        number = 0
        for batch in parquet.ParquetFile(file).iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield Row(f"{source.name}, row {number}", fields)


def _rows_in_memory(source: Any) -> Iterator[Row]:
    for number, item in enumerate(source, 1):
        where = f"row {number}"
        if isinstance(item, Mapping):
            yield Row(where, item)
        elif isinstance(item, list | tuple) and 2 <= len(item) <= 3:
            names = ("text", "label") if len(item) == 2 else ("text", "text2", "label")
            yield Row(where, dict(zip(names, item, strict=True)))
        elif isinstance(item, str):
            yield Row(where, {"text": item})
        else:
            raise DataError("E107", kind=type(item).__name__)
