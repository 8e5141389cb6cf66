"""Tables: the same rows from every kind of file and from memory, with the line where each stands."""

import csv
import gzip
import io
import json
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.text.files import Source
from diptych.text.tables import Row, guess_text_column, read_table, rows_of

ROWS = [
    {"text": "The room is clean, it's good.", "stars": "5"},
    {"text": '服务很好，"下次"再来🙂', "stars": "4"},
    {"text": "first line\nsecond line; with a tab\tinside", "stars": "1"},
    {"text": "", "stars": ""},
]
cells = st.text(
    st.sampled_from("ab 中，,\"\n\t;'|🙂é") | st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), max_size=8
)


def fields(source: Any, ledger: Ledger | None = None, **options: Any) -> list[dict[str, Any]]:
    return [dict(row.fields) for row in read_table(source, ledger, **options)]


def as_csv(rows: list[dict[str, Any]], **options: Any) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), **options)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


class InMemory(Source):
    """A csv file that is its text."""

    def __init__(self, text: str, suffix: str = ".csv") -> None:
        super().__init__(Path("x"), "x", suffix)
        object.__setattr__(self, "content", text.encode())

    def open(self) -> io.BytesIO:  # type: ignore[override]
        return io.BytesIO(self.content)  # type: ignore[attr-defined]


@settings(deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells).filter(lambda row: any(row)), max_size=5),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\r\n", "\n"]),
)
def test_a_csv_is_read_as_it_was_written(rows: list[tuple[str, str, str]], quoting: Any, end: str) -> None:
    names = ["text", "label", "a note"]
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=quoting, lineterminator=end)
    writer.writerow(names)
    writer.writerows(rows)
    found = list(rows_of(InMemory(file.getvalue()), Ledger()))
    expected = [list(row) for row in rows]
    assert [list(row.fields) for row in found] == [names] * len(rows)
    assert [list(row.fields.values()) for row in found] == expected
    lines = 2
    for row, written in zip(found, expected, strict=True):
        assert row.where == f"x, line {lines}"
        lines += 1 + sum(cell.count("\n") for cell in written)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
def test_a_csv_in_any_encoding_and_packing_gives_the_same_rows(encoding: str, packing: str, tmp_path: Path) -> None:
    content = as_csv(ROWS).encode(encoding)
    path = tmp_path / "评论.csv"
    if packing == "gz":
        path = tmp_path / "评论.csv.gz"
        path.write_bytes(gzip.compress(content))
    elif packing == "zip":
        path = tmp_path / "评论.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("评论.csv", content)
    else:
        path.write_bytes(content)
    assert fields(path) == fields(str(path)) == ROWS


def test_a_byte_that_is_no_text_in_a_table_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\n很好的酒店，我们都喜欢".encode() + b"\xff,1\n")
    ledger = Ledger()
    assert fields(tmp_path / "a.csv", ledger) == [{"text": "很好的酒店，我们都喜欢\ufffd", "label": "1"}]
    assert ledger.count("corpus", "bytes that were not valid text, replaced") == 1


def test_quotes_in_a_tsv_are_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\nhe said "no\tbad\n"all of it"\tgood, fine\n', encoding="utf-8")
    assert fields(tmp_path / "a.tsv") == [{"text": 'he said "no', "label": "bad"}, {"text": '"all of it"', "label": "good, fine"}]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("text,label\ngood,1\n", ["text", "label"]),
        ("text,label\ngood,pos\n", ["text", "label"]),
        ("内容,星级\n这家酒店很干净，下次还来\n".replace("\n这", "\n") + "这家酒店很干净,5\n", ["内容", "星级"]),
        ("id,review,stars\n1,a very good hotel with a very good breakfast,5\n", ["id", "review", "stars"]),
        (",text,label\n0,good,1\n", ["column1", "text", "label"]),
        (" text , label \ngood,1\n", ["text", "label"]),
        ("\n\ntext,label\n\ngood,1\n", ["text", "label"]),
        ("text,label\n", None),
    ],
)
def test_a_header_is_known_as_one(content: str, names: list[str] | None) -> None:
    ledger = Ledger()
    found = list(rows_of(InMemory(content), ledger))
    assert ledger.count("table", "tables without a header: columns are numbered") == 0
    assert [list(row.fields) for row in found] == ([names] * len(found) if names else [])
    assert names is None or found


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("a good hotel,1\na bad hotel,0\n", 2),
        ("good,pos\nbad,neg\n", 2),
        ("很好,正面\n很差,负面\n", 2),
        ("5,good\n1,bad\n", 2),
        ("same,same\nx,y\n", 2),
        ("I came here with my family and we liked it,1\nWe did not like this place at all and left,0\n", 2),
        ("only one line of text without a name\n", 1),
    ],
)
def test_a_table_without_a_header_loses_no_row_and_says_so(content: str, count: int) -> None:
    ledger = Ledger()
    found = list(rows_of(InMemory(content), ledger))
    assert len(found) == count
    assert next(iter(found[0].fields)) == "column1"
    assert list(found[0].fields.values()) == content.split("\n")[0].split(",")
    assert found[0].where == "x, line 1"
    assert ledger.count("table", "tables without a header: columns are numbered") == 1


def test_rows_with_too_many_or_too_few_cells_are_read_and_counted() -> None:
    ledger = Ledger()
    found = list(rows_of(InMemory("text,label\nfew\nright,1\nmany,0,and,more\n"), ledger))
    assert [dict(row.fields) for row in found] == [
        {"text": "few", "label": ""},
        {"text": "right", "label": "1"},
        {"text": "many", "label": "0"},
    ]
    entry = {what: entry for _stage, what, entry in ledger}["rows with too many or too few cells"]
    assert (entry.count, entry.examples) == (2, ["x, line 2", "x, line 4"])


@pytest.mark.parametrize("content", ["", "\n\n", "text,label\n"])
def test_a_table_without_rows_has_none(content: str) -> None:
    assert list(rows_of(InMemory(content), Ledger())) == []


def test_lines_inside_a_cell_end_as_lines_outside_do() -> None:
    (row,) = rows_of(InMemory('text,label\r\n"first\r\nsecond\rthird",1\r\n'), Ledger())
    assert row.fields == {"text": "first\nsecond\nthird", "label": "1"}


def test_zeros_and_long_cells_stop_nothing() -> None:
    long = "很长" * 100_000
    found = list(rows_of(InMemory(f"text,label\nze\x00ro,1\n{long},0\n"), Ledger(), "utf-8"))
    assert [row.fields["text"] for row in found] == ["zero", long]


def test_a_text_file_is_a_table_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\r\n二\r\n\r\nfour".encode())
    found = list(read_table(tmp_path / "a.txt"))
    assert [row.fields["text"] for row in found] == ["one", "二", "", "four"]
    assert found[3].where.endswith("a.txt, line 4")


JSON_FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "lines.jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "blank lines.jsonl": lambda rows: "\n" + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n",
    "lines.json": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    "list.json": lambda rows: json.dumps(rows, indent=2),
    "object.json": lambda rows: json.dumps({"version": "1", "data": rows}, ensure_ascii=False),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", sorted(JSON_FORMS))
def test_every_form_of_json_gives_the_same_rows(name: str, encoding: str, tmp_path: Path) -> None:
    rows = [*ROWS, {"text": "nested", "stars": None, "tags": ["a", {"b": 1}], "n": 1.5, "ok": True}]
    (tmp_path / name).write_bytes(JSON_FORMS[name](rows).encode(encoding))
    assert fields(tmp_path / name) == rows


def test_json_values_that_are_no_objects_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('"one"\n"二"\n', encoding="utf-8")
    (tmp_path / "b.json").write_text('["one", "二"]', encoding="utf-8")
    for name in ("a.jsonl", "b.json"):
        assert fields(tmp_path / name) == [{"text": "one"}, {"text": "二"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_line_that_is_no_json_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"text": "好"}\n{"text": "bad}\n', encoding="utf-8")
    with pytest.raises(DataError) as error:
        fields(tmp_path / name)
    assert error.value.code == "E106" and f"{name}, line 2" in str(error.value)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\xff" * 500])
def test_an_empty_or_binary_file_has_no_rows_and_is_counted(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    ledger = Ledger()
    assert fields(tmp_path / name, ledger) == []
    assert len(ledger) == 1


def test_a_json_line_longer_than_any_block_is_whole(tmp_path: Path) -> None:
    text = "一行" * 3_000_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + '\n{"text": "b"}\n', encoding="utf-8")
    assert fields(tmp_path / "a.jsonl") == [{"text": text}, {"text": "b"}]


def test_parquet_gives_its_rows_with_their_kinds(tmp_path: Path) -> None:
    table = pa.table({"text": ["good", "很好🙂", None], "label": [1, None, 0], "score": [0.5, 1.0, math.nan]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    found = list(read_table(tmp_path / "a.parquet"))
    assert [row.fields["text"] for row in found] == ["good", "很好🙂", None]
    assert [row.fields["label"] for row in found] == [1, None, 0]
    assert [row.where.rsplit(",", 1)[1] for row in found] == [" row 1", " row 2", " row 3"]


@pytest.mark.parametrize("damage", ["cut", "nonsense", "middle"])
def test_a_damaged_parquet_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": [f"row {number} 行" for number in range(5000)]}), path)
    content = bytearray(path.read_bytes())
    if damage == "middle":
        content[100:2000] = b"\xff" * 1900
    path.write_bytes({"cut": content[:-100], "nonsense": b"PAR1", "middle": content}[damage])
    with pytest.raises(DataError) as error:
        fields(path)
    assert error.value.code == "E110" and "a.parquet" in str(error.value)


def test_parquet_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError) as error:
        fields(tmp_path / "a.parquet")
    assert error.value.code == "E109" and "pip install pyarrow" in str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        [{"text": "good", "label": 1}, {"text": "很差", "label": 0}],
        [("good", 1), ("很差", 0)],
        (["good", 1], ["很差", 0]),
        iter([("good", 1), ("很差", 0)]),
        pd.DataFrame({"text": ["good", "很差"], "label": [1, 0]}),
        pd.DataFrame({"text": ["good", "很差"], "label": [1, 0]}).convert_dtypes(),
    ],
    ids=["dictionaries", "tuples", "lists", "iterator", "frame", "nullable frame"],
)
def test_a_table_in_memory_gives_the_same_rows_whatever_it_is(source: Any) -> None:
    assert list(read_table(source)) == [Row("row 1", {"text": "good", "label": 1}), Row("row 2", {"text": "很差", "label": 0})]


def test_three_things_in_a_row_are_a_pair_of_texts_and_a_label() -> None:
    assert fields([("one", "二", "same")]) == [{"text": "one", "text2": "二", "label": "same"}]
    assert fields(["one", "二"]) == [{"text": "one"}, {"text": "二"}]


@pytest.mark.parametrize("nullable", [False, True])
def test_missing_cells_of_a_frame_are_none_and_no_text(nullable: bool) -> None:
    frame = pd.DataFrame({"text": ["good", None, "很好"], "label": [1, math.nan, 0], 3: [None, "x", "y"]})
    found = fields(frame.convert_dtypes() if nullable else frame)
    assert [row["text"] for row in found] == ["good", None, "很好"]
    assert [row["label"] for row in found] == [1, None, 0]
    assert [row["3"] for row in found] == [None, "x", "y"]


@pytest.mark.parametrize("source", [5, None, b"bytes", {"text": ["a"], "label": [1]}, [1, 2], [("a", "b", "c", "d")], [None]])
def test_what_is_no_table_is_refused_by_its_kind(source: Any) -> None:
    with pytest.raises(DataError) as error:
        fields(source)
    assert error.value.code == "E107"


def test_halves_of_characters_are_replaced_in_every_cell(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d half", "label": "\\ude42", "n": 1}\n', encoding="utf-8")
    for source in (tmp_path / "a.jsonl", [{"text": "\ud83d half", "label": "\ude42", "n": 1}]):
        ledger = Ledger()
        assert fields(source, ledger) == [{"text": "\ufffd half", "label": "\ufffd", "n": 1}]
        assert ledger.count("corpus", "halves of characters, replaced") == 2


def test_paths_and_patterns_name_tables(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"text,label\n{name},1\n", encoding="utf-8")
    names = [{"text": "a.csv", "label": "1"}, {"text": "b.csv", "label": "1"}]
    assert fields(str(tmp_path / "*.csv")) == fields([tmp_path / "a.csv", tmp_path / "b.csv"]) == fields(tmp_path) == names
    with pytest.raises(DataError) as error:
        fields(tmp_path / "没有.csv")
    assert error.value.code == "E101" and "没有.csv" in str(error.value)


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"id": "a-very-long-identifier-of-a-row", "Text": "hi"}], "Text"),
        ([{"标题": "一个很长很长很长的标题", "正文": "短"}], "正文"),
        ([{"id": "x1", "words": "the longest of them"}], "words"),
        ([{"n": 12345678901234567890, "s": "a"}], "s"),
        ([{"n": 1}, {"n": 2, "late": "comes in the second row"}], "late"),
        ([{"a": None, "b": "x"}, {"a": "much longer text", "b": "y"}], "a"),
    ],
)
def test_the_column_of_the_text_has_a_usual_name_or_the_most_text(rows: list[dict[str, Any]], column: str) -> None:
    assert guess_text_column(rows, "here") == column


@pytest.mark.parametrize("rows", [[], [{}], [{"n": 1, "m": 2.5}], [{"n": None}], [{"n": ""}]])
def test_where_no_column_holds_text_the_columns_are_named(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError) as error:
        guess_text_column(rows, "table.csv")
    assert error.value.code == "E108" and "table.csv" in str(error.value)
    assert all(name in str(error.value) for row in rows for name in row)
