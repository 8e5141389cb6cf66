"""A corpus: the same documents whatever they come in, read as a stream and as often as one likes, with counts that are right."""

import csv
import gzip
import io
import json
import math
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.text.corpus import Corpus, Document, fingerprint

TEXTS = [
    "The quick fox, it's here.",
    "今天天气很好，我们去公园散步吧！",
    'Mixed 中文 and "English"，ＡＢＣ 🙂',
    "second line\nof a text",
    "",
]


def as_jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts)).encode()


def as_json(texts: list[str]) -> bytes:
    return json.dumps([{"id": number, "text": text} for number, text in enumerate(texts)], ensure_ascii=False).encode()


def as_csv(texts: list[str]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerows([["id", "text"], *enumerate(texts)])
    return file.getvalue().encode()


def as_tsv(texts: list[str]) -> bytes:
    return "".join(f"{number}\t{text}\n" for number, text in [("id", "text"), *enumerate(texts)]).encode()


def as_parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), file)
    return file.getvalue()


TABLES: dict[str, Callable[[list[str]], bytes]] = {
    ".jsonl": as_jsonl,
    ".json": as_json,
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".parquet": as_parquet,
}


def pack(path: Path, content: bytes, packing: str) -> None:
    """Write a file as it is, or as path.gz, or into path.zip."""
    if packing == "gz":
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    elif packing == "zip":
        with zipfile.ZipFile(path.with_name(path.name + ".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path.name, content)
    else:
        path.write_bytes(content)


def texts_of(source: Any, **options: Any) -> list[str]:
    return [document.text for document in Corpus(source, **options)]


@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
@pytest.mark.parametrize("kind", sorted(TABLES))
def test_every_kind_of_table_gives_the_same_texts_packed_or_not(kind: str, packing: str, tmp_path: Path) -> None:
    texts = [text for text in TEXTS if kind != ".tsv" or "\n" not in text]
    pack(tmp_path / f"数据{kind}", TABLES[kind](texts), packing)
    corpus = Corpus(tmp_path)
    assert [document.text for document in corpus] == texts
    assert corpus.text_column == "text"
    assert [int(document.fields["id"]) for document in corpus] == list(range(len(texts)))
    assert len({document.where for document in corpus}) == len(texts), "every row has a place of its own"
    assert corpus.ledger.count("corpus", "documents read") == len(texts)


@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
@pytest.mark.parametrize("suffix", [".txt", ".md", ".TXT"])
def test_a_text_file_is_one_document_packed_or_not(suffix: str, packing: str, tmp_path: Path) -> None:
    pack(tmp_path / f"笔记{suffix}", "第一行\r\nsecond 🙂\r\n".encode(), packing)
    (document,) = Corpus(tmp_path)
    assert document.text == "第一行\nsecond 🙂\n" and "笔记" in document.where


def test_one_folder_may_mix_every_kind_and_every_encoding(tmp_path: Path) -> None:
    simplified, traditional = "这家酒店的服务很好，房间也干净。\n" * 3, "這家酒店的服務很好，房間也乾淨。\n" * 3
    texts = {
        "a.txt": ("plain English, in order.\n", "utf-8"),
        "b.txt": (simplified, "utf-8-sig"),
        "c.txt": (simplified, "gb18030"),
        "d.txt": (traditional, "big5"),
        "e.txt": (simplified, "utf-16"),
        "f.md": (simplified + "and English\n", "utf-16-le"),
        "g.txt": (traditional, "utf-16-be"),
    }
    for name, (text, encoding) in texts.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
    (tmp_path / "h.csv").write_bytes("星,内容\n5,酒店的服务很好\n".encode("gb18030"))
    corpus = Corpus(tmp_path)
    found = {Path(document.where.split(",")[0]).name: document.text for document in corpus}
    assert {name: found[name] for name in texts} == {name: text for name, (text, _encoding) in texts.items()}
    assert found["h.csv"] == "酒店的服务很好"
    assert corpus.ledger.count("corpus", "bytes that were not valid text, replaced") == 0
    assert corpus.ledger.count("corpus", "files read as gb18030") == 2
    assert corpus.ledger.count("corpus", "files read as big5") == 1


def test_a_corpus_is_a_file_a_folder_a_pattern_or_a_list_of_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "sub/b.txt", "sub/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    everything = ["a.txt", "sub/b.txt", "sub/c.md"]
    assert texts_of(tmp_path / "a.txt") == texts_of(str(tmp_path / "a.txt")) == ["a.txt"]
    assert texts_of(tmp_path) == texts_of(str(tmp_path)) == everything
    assert texts_of(str(tmp_path / "*.txt")) == ["a.txt"]
    assert texts_of(str(tmp_path / "**" / "*.txt")) == ["a.txt", "sub/b.txt"]
    assert sorted(texts_of(str(tmp_path / "**"))) == everything, "a folder and what lies in it are not read twice"
    assert texts_of([tmp_path / "sub", str(tmp_path / "a.txt")]) == ["sub/b.txt", "sub/c.md", "a.txt"]
    assert texts_of([str(tmp_path / "sub" / "*.md"), str(tmp_path / "a.txt")]) == ["sub/c.md", "a.txt"]
    monkeypatch.chdir(tmp_path)
    assert texts_of(["a.txt", "sub/"]) == everything


@pytest.mark.parametrize(
    "source",
    [
        "没有.txt",
        ["没有.txt"],
        ("a.txt", "没有.txt"),
        [Path("a.txt"), "没有"],
        ["a.txt", "没有/"],
        ["a.txt", "folder", "没有"],
        "没有/*.txt",
    ],
)
def test_a_path_that_is_not_there_is_missed_and_never_taken_for_a_text(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").write_text("b", encoding="utf-8")
    with pytest.raises(DataError) as error:
        Corpus(source)
    assert error.value.code == "E101" and "没有" in str(error.value)


def test_strings_are_texts_though_one_of_them_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "word").write_text("a file", encoding="utf-8")
    texts = ["word", "Hello.", "What? [yes] *no*", "今天很好", "", "\0", "x" * 5000]
    assert texts_of(texts) == texts
    assert texts_of(tuple(texts)) == texts
    assert texts_of(text for text in texts) == texts


@pytest.mark.parametrize("name", ["empty", "pictures"])
def test_a_folder_without_text_is_refused_with_the_kinds_that_are_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    if name == "pictures":
        (folder / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError) as error:
        Corpus(folder)
    assert error.value.code == "E102" and name in str(error.value) and ".txt" in str(error.value)


def test_python_objects_are_documents_in_their_order() -> None:
    document = Document("ready 好", "elsewhere", {"author": "李"})
    items = ["text", {"text": "a row", "id": 1}, document, None, math.nan, 7, ("pair", "label")]
    assert texts_of(items) == ["text", "a row", "ready 好", "", "", "7", "pair"]
    assert list(Corpus(items))[2] is document
    assert texts_of([]) == []


@pytest.mark.parametrize("make", [pd.DataFrame, lambda data: pd.DataFrame(data).convert_dtypes()])
def test_a_data_frame_is_a_table_and_not_its_column_names(make: Callable[[Any], Any]) -> None:
    frame = make({"id": [1, 2, 3], "review": ["good 🙂", "很好，下次再来", None]})
    corpus = Corpus(frame)
    assert [document.text for document in corpus] == ["good 🙂", "很好，下次再来", ""]
    assert corpus.text_column == "review"
    assert texts_of(frame["review"][:2]) == ["good 🙂", "很好，下次再来"]


@pytest.mark.parametrize("source", [5, b"bytes", {"text": ["a", "b"]}, [b"bytes"], [["one"]]])
def test_what_is_no_text_is_refused_by_its_kind(source: Any) -> None:
    with pytest.raises(DataError) as error:
        list(Corpus(source))
    assert error.value.code == "E107"


def test_halves_of_characters_from_json_or_python_are_replaced_and_counted(tmp_path: Path) -> None:
    (tmp_path / "tweets.jsonl").write_text('{"text": "half \\ud83d"}\n{"text": "whole \\ud83d\\ude42"}\n', encoding="utf-8")
    for corpus in (Corpus(tmp_path), Corpus(["half \ud83d", "whole 🙂"]), Corpus([{"text": "half \ud83d"}, {"text": "whole 🙂"}])):
        assert [document.text for document in corpus] == ["half \ufffd", "whole 🙂"]
        (places,) = [entry.examples for _stage, what, entry in corpus.ledger if what == "halves of characters, replaced"]
        assert len(places) == 1 and places[0].endswith((" 1", "#1")), "the first row, and it alone"


def test_the_column_of_the_text_is_guessed_for_each_table_anew(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,内容\n1,第一条评论写得很好\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"n": 2, "body": "a body"}\n', encoding="utf-8")
    (tmp_path / "c.csv").write_text("code,words\nx1,the longest column holds the text\n", encoding="utf-8")
    assert texts_of(tmp_path) == ["第一条评论写得很好", "a body", "the longest column holds the text"]


def test_the_column_of_many_dictionaries_is_guessed_from_more_than_the_first() -> None:
    assert texts_of([{"key": "a-long-key-1", "note": ""}, {"key": "k2", "note": "the text that is long enough"}]) == [
        "",
        "the text that is long enough",
    ]


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_a_column_that_is_not_there_is_refused_with_those_that_are(kind: str, tmp_path: Path) -> None:
    (tmp_path / f"data{kind}").write_bytes(TABLES[kind](["one text", "another"]))
    with pytest.raises(DataError) as error:
        texts_of(tmp_path, text="评论")
    assert error.value.code == "E103"
    assert "评论" in str(error.value) and "id, text" in str(error.value) and f"data{kind}" in str(error.value)


def test_a_table_of_numbers_alone_has_no_text(tmp_path: Path) -> None:
    (tmp_path / "numbers.jsonl").write_text('{"a": 1, "b": 2.5}\n', encoding="utf-8")
    with pytest.raises(DataError) as error:
        texts_of(tmp_path)
    assert error.value.code == "E108" and "a, b" in str(error.value) and "numbers.jsonl" in str(error.value)


@pytest.fixture
def untidy(tmp_path: Path) -> Path:
    """Three texts, one with two bad bytes, between files that cannot be read."""
    (tmp_path / "a.txt").write_text("fine", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("好的，没有问题".encode() * 20 + b"\xff\xff")
    (tmp_path / "c.txt").write_bytes(b"\x00\x01\x02\xff" * 500)
    (tmp_path / "d.txt").write_bytes(b"")
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    (tmp_path / "f.jsonl").write_text('{"text": "row"}\n', encoding="utf-8")
    return tmp_path


def test_the_ledger_counts_what_was_read_and_what_was_not(untidy: Path) -> None:
    corpus = Corpus(untidy)
    assert len(corpus.ledger) == 0, "nothing was read yet"
    list(corpus)
    assert {what: entry.count for _stage, what, entry in corpus.ledger} == {
        "files of a kind that is not read, skipped": 1,
        "bytes that were not valid text, replaced": 2,
        "files that hold no text, skipped": 1,
        "files that are empty, skipped": 1,
        "documents read": 3,
    }


def test_reading_a_part_first_changes_no_count(untidy: Path) -> None:
    corpus = Corpus(untidy)
    next(iter(corpus))
    assert len(corpus.ledger) == 0, "the ledger is of a complete pass"
    list(corpus)
    once = corpus.ledger.to_json()
    for _document in corpus:
        break
    assert corpus.ledger.to_json() == once
    list(corpus)
    assert corpus.ledger.to_json() == once, "a second pass counts anew, not on top"


def test_two_readers_of_one_corpus_do_not_disturb_each_other(untidy: Path) -> None:
    corpus = Corpus(untidy)
    assert [(a.text, b.text) for a, b in zip(corpus, corpus, strict=True)] == [(a.text, a.text) for a in Corpus(untidy)]


@settings(deadline=None)
@given(text=st.lists(st.text("ab 中\n", max_size=12), max_size=12).map("".join), size=st.integers(4, 20))
def test_the_sections_of_a_long_file_are_the_file(text: str, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "sections.txt"
    path.write_bytes(text.encode())
    sections = list(Corpus(path, section_chars=size))
    assert "".join(section.text for section in sections) == text
    longest = max(map(len, text.splitlines(keepends=True)), default=0)
    assert all(0 < len(section.text) <= max(2 * size, longest) for section in sections)
    assert all(len(section.text) + len(after.text) > size for section, after in pairwise(sections)), "no two could be one"
    assert len({section.where for section in sections}) == len(sections)


def test_a_long_file_is_cut_at_empty_lines_where_there_are_any(tmp_path: Path) -> None:
    chapters = [f"\n第{number}章\n" + "一行文字。\n" * (5 + number % 3) for number in range(9)]
    (tmp_path / "book.txt").write_text("".join(chapters), encoding="utf-8")
    corpus = Corpus(tmp_path, section_chars=len(chapters[0]) - 5)
    assert [document.text for document in corpus] == chapters
    assert corpus.ledger.count("corpus", "long files read as sections") == 1


def test_a_file_larger_than_the_memory_it_may_take_is_read_as_a_stream(tmp_path: Path) -> None:
    line = "一行文字 with English in it. " * 60 + "\n"
    peaks = []
    for count in (2500, 10_000):
        with gzip.open(tmp_path / f"{count}.txt.gz", "wb", compresslevel=1) as file:
            for _ in range(count):
                file.write(line.encode())
        num_chars = 0
        tracemalloc.start()
        try:
            for document in Corpus(tmp_path / f"{count}.txt.gz"):
                num_chars += len(document.text)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert num_chars == count * len(line)
    assert peaks[1] < 1.2 * peaks[0], "a file four times as long takes no more"


def test_the_fingerprint_of_a_corpus_changes_with_every_name_and_byte(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")

    write("a.csv", "id,text\n1,one 一\n")
    corpus = Corpus(tmp_path)
    first = corpus.fingerprint()
    list(corpus)
    assert corpus.fingerprint() == first == Corpus(tmp_path).fingerprint(), "reading it does not change it"
    seen = {first, Corpus(tmp_path, text="text").fingerprint(), Corpus(tmp_path, section_chars=99).fingerprint()}
    write("a.csv", "id,text\n1,one 二\n")
    seen.add(Corpus(tmp_path).fingerprint())
    write("b.txt", "")
    seen.add(Corpus(tmp_path).fingerprint())
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    seen.add(Corpus(tmp_path).fingerprint())
    assert len(seen) == 6
    assert Corpus(["a", "b"]).fingerprint() != Corpus(["ab"]).fingerprint() != Corpus(["b", "a"]).fingerprint()


def test_the_fingerprint_of_a_text_is_of_what_people_see() -> None:
    same = ["caf\u00e9 好", "cafe\u0301  好\r\n", " caf\u00e9\u3000好"]
    assert len({fingerprint(text) for text in same}) == 1
    assert len({fingerprint(text) for text in ("a", "b", "ab", "a b", "", "A", "好", "🙂")}) == 8
    assert 0 <= fingerprint("half \ud83d") < 2**64


DOCUMENTS = [f"document {number} 文档" for number in range(60)]


def sides(corpus: Corpus, share: float) -> tuple[list[str], list[str]]:
    train, held_out = corpus.split(share)
    return [document.text for document in train], [document.text for document in held_out]


@settings(deadline=None)
@given(st.lists(st.text("xyz 中", max_size=6), max_size=40), st.randoms(use_true_random=False))
def test_a_document_never_moves_between_train_and_held_out(others: list[str], draw: random.Random) -> None:
    train, held_out = (set(side) for side in sides(Corpus(DOCUMENTS), 0.3))
    mixed = [*DOCUMENTS, *others]
    draw.shuffle(mixed)
    train_now, held_out_now = sides(Corpus(mixed), 0.3)
    assert train <= set(train_now) and held_out <= set(held_out_now)
    assert sorted(train_now + held_out_now) == sorted(mixed), "and each is on one side, none is lost"
    assert not set(train_now) & set(held_out_now)


def test_about_the_share_that_was_asked_for_is_held_out() -> None:
    texts = [f"text {number}" for number in range(4000)]
    for share in (0.05, 0.3):
        expected, spread = 4000 * share, (4000 * share * (1 - share)) ** 0.5
        assert abs(len(sides(Corpus(texts), share)[1]) - expected) < 5 * spread


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    shares = [set(sides(Corpus(DOCUMENTS), share)[1]) for share in (0.1, 0.2, 0.4)]
    assert shares[0] < shares[1] < shares[2]


def test_texts_that_people_see_as_the_same_stay_on_one_side() -> None:
    twins = [twin for text in DOCUMENTS for twin in (text, f"  {text}\r\n", text.replace(" ", "\u3000"))]
    for side in sides(Corpus(twins), 0.3):
        assert len(side) > 0 and len(side) % 3 == 0


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_of_a_tiny_corpus_nothing_is_held_out(count: int) -> None:
    texts = DOCUMENTS[:count]
    assert sides(Corpus(texts), 0.5) == (texts, [])
    assert sides(Corpus(texts * 3), 0.5) == (texts * 3, []), "though each comes several times"
    rows = [{"text": text, "day": number} for number, text in enumerate(texts)]
    assert sides(Corpus(rows, time="day"), 0.5) == (texts, [])


@pytest.mark.parametrize("count", [5, 6, 9])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_of_a_small_corpus_no_side_is_empty(count: int, share: float) -> None:
    for start in range(0, 50, count):
        train, held_out = sides(Corpus(DOCUMENTS[start : start + count]), share)
        assert train and held_out


def test_nothing_is_held_out_where_nothing_was_asked_for() -> None:
    assert sides(Corpus(DOCUMENTS), 0.0) == (DOCUMENTS, [])


def test_the_sides_can_be_read_again_and_again() -> None:
    _train, held_out = Corpus(DOCUMENTS).split(0.3)
    assert [document.text for document in held_out] == [document.text for document in held_out] != []


def test_a_group_stays_on_one_side() -> None:
    rows = [{"text": f"note {number} of patient {number % 30}", "patient": number % 30} for number in range(300)]
    train, held_out = Corpus(rows, group="patient").split(0.3)
    groups = [{document.fields["patient"] for document in side} for side in (train, held_out)]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    assert groups[0] | groups[1] == set(range(30))


def test_documents_without_a_group_are_each_on_their_own() -> None:
    rows = [{"text": text, "author": missing} for text, missing in zip(DOCUMENTS, [None, math.nan] * 30, strict=True)]
    assert all(len(side) > 3 for side in sides(Corpus(rows, group="author"), 0.3))


@pytest.mark.parametrize(
    "times",
    [
        [f"2024-{month:02}-{day:02}" for month in range(1, 11) for day in (1, 11)],
        [f"2024/{month}/{day}" for month in range(1, 11) for day in (1, 11)],
        [f"2024年{month}月{day}日" for month in range(1, 11) for day in (1, 11)],
        list(range(90, 110)),
        [str(number) for number in range(90, 110)],
        [number / 10 for number in range(90, 110)],
        list(pd.date_range("2023-12-25", periods=20)),
    ],
    ids=["iso", "unpadded", "Chinese", "numbers", "digits", "fractions", "moments"],
)
def test_by_time_the_latest_are_held_out(times: list[Any]) -> None:
    rows = [{"text": text, "when": time} for text, time in zip(DOCUMENTS[:20], times, strict=True)]
    mixed = random.Random(0).sample(rows, 20)
    train, held_out = sides(Corpus(mixed, time="when"), 0.2)
    assert sorted(held_out) == sorted(DOCUMENTS[16:20])
    assert sorted(train) == sorted(DOCUMENTS[:16])


def test_documents_of_one_time_are_not_parted_and_those_without_are_trained_on() -> None:
    rows = [{"text": f"t{number}", "year": year} for number, year in enumerate([2020] * 5 + [2021] * 10 + [None, ""])]
    train, held_out = sides(Corpus(rows, time="year"), 0.1)
    assert set(held_out) == {f"t{number}" for number in range(5, 15)}
    assert len(train) == 7
    same = [{"text": text, "year": 2020} for text in DOCUMENTS]
    assert sides(Corpus(same, time="year"), 0.1) == (DOCUMENTS, [])


@pytest.mark.parametrize("option", [{"group": "patiant"}, {"time": "dat"}])
@pytest.mark.parametrize("source", ["rows", "texts"])
def test_a_column_to_split_by_that_is_not_there_is_refused(option: dict[str, str], source: str) -> None:
    items: list[Any] = [{"text": text, "patient": 1} for text in DOCUMENTS] if source == "rows" else DOCUMENTS
    with pytest.raises(DataError) as error:
        Corpus(items, **option).split(0.1)
    assert error.value.code == "E103" and next(iter(option.values())) in str(error.value)
