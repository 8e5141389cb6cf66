"""Files: found wherever they lie, unpacked, and decoded in the encoding they are in; a bad byte is counted, never fatal."""

import codecs
import gzip
import io
import os
import random
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.text import files
from diptych.text.files import Source, detect_encoding, find_sources, has_halves, read_lines, whole

ENGLISH = "The for statement iterates over the items of a sequence, in order.\n"
SIMPLIFIED = "今天天气很好，我们去公园散步吧！这家酒店很干净，服务也不错。\n"
TRADITIONAL = "今天天氣很好，我們去公園散步吧！這家酒店很乾淨，服務也不錯。\n"
FRENCH = "C'est l'été à Paris, où les élèves étudient déjà près du café.\n"


@dataclass(frozen=True)
class InMemory(Source):
    """A file of bytes, which gives only so many of them at once, so that every border comes up."""

    content: bytes = b""
    at_once: int = 1

    def open(self) -> IO[bytes]:
        content, at_once = self.content, self.at_once

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(at_once)

        return Slow(content)


def in_memory(content: bytes, at_once: int = 1 << 20) -> InMemory:
    return InMemory(Path("x.txt"), "x.txt", ".txt", content=content, at_once=at_once)


def lines_of(content: bytes, encoding: str | None = None, **options: Any) -> tuple[list[str], Ledger]:
    ledger = Ledger()
    return list(read_lines(in_memory(content), ledger, encoding, **options)), ledger


def num_bad(ledger: Ledger) -> int:
    return ledger.count("corpus", "bytes that were not valid text, replaced")


encodings = st.sampled_from(["utf-8", "gb18030", "big5", "utf-16-le", "utf-16-be", "utf-16"])


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text("中文a\r\n🙂é，", max_size=20).map(str.encode), encodings, st.integers(1, 9))
@example(b"\xe4\xb8\r\n\xad", "utf-8", 3)
@example(b"a\x00\r\x00\n\x00b\x00", "utf-16", 1)
def test_bytes_are_decoded_as_python_does_it_wherever_the_blocks_end(content: bytes, encoding: str, at_once: int) -> None:
    ledger = Ledger()
    if encoding == "utf-16":  # its mark comes first, or the bytes tell their order
        at_once += 1
        content = b"\xff\xfe" + content
    found = list(read_lines(in_memory(content, at_once), ledger, encoding))
    expected = content.decode(encoding, "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(found) == expected
    assert found == [line + "\n" for line in expected.split("\n")[:-1]] + [line for line in expected.split("\n")[-1:] if line]
    bad: list[int] = []

    def count(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        bad.append(error.end - error.start)
        return "", error.end

    codecs.register_error("count", count)
    content.decode(encoding, "count")
    assert num_bad(ledger) == sum(bad)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5"])
@settings(deadline=None)
@given(st.lists(st.sampled_from(["中", "文", "a", "，", b"\xff"]), max_size=30))
def test_every_byte_that_is_no_text_is_counted_and_leaves_a_mark(encoding: str, parts: list[Any]) -> None:
    content = b"".join(part if isinstance(part, bytes) else part.encode(encoding) for part in parts)
    found, ledger = lines_of(content, encoding)
    assert "".join(found) == "".join("\ufffd" if isinstance(part, bytes) else part for part in parts)
    assert num_bad(ledger) == sum(isinstance(part, bytes) for part in parts)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(text, "utf-8") for text in (ENGLISH, SIMPLIFIED, TRADITIONAL, FRENCH, "🙂\r\n", "日本語のテキスト\n")]
    + [(text, encoding) for text in (ENGLISH, SIMPLIFIED, FRENCH + "🙂") for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")]
    + [(text, "gb18030") for text in (SIMPLIFIED, TRADITIONAL, "张伟\n", "姓名，李娜\n", "机器学习模型", ENGLISH * 9 + SIMPLIFIED)]
    + [(text, "big5") for text in (TRADITIONAL, "臺北\n", "姓名：張偉\n", "產品評價", ENGLISH * 9 + TRADITIONAL)],
)
def test_a_text_is_read_back_in_whatever_encoding_it_was_written(text: str, encoding: str) -> None:
    if encoding in ("utf-16-le", "utf-16-be"):
        text *= 3
    found, ledger = lines_of(text.encode(encoding))
    assert "".join(found) == text.replace("\r\n", "\n")
    assert num_bad(ledger) == 0


def test_utf8_that_is_damaged_in_places_stays_utf8() -> None:
    content = (SIMPLIFIED * 3).encode()
    damaged = content[:10] + b"\xff" + content[10:]
    assert detect_encoding(damaged) == "utf-8"


def test_the_end_of_the_sample_inside_a_character_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    content = (SIMPLIFIED * 4).encode("gb18030")
    for size in range(60, 70):
        monkeypatch.setattr(files, "SAMPLE_BYTES", size)
        found, ledger = lines_of(content)
        assert "".join(found) == SIMPLIFIED * 4 and num_bad(ledger) == 0


def test_latin1_is_read_with_its_accents_replaced_and_counted() -> None:
    found, ledger = lines_of((FRENCH * 500).encode("latin-1"))
    accents = sum(character > "\x7f" for character in FRENCH * 500)
    assert "".join(found) == "".join("\ufffd" if character > "\x7f" else character for character in FRENCH * 500)
    assert num_bad(ledger) == accents


def test_an_encoding_that_is_named_is_used_whatever_it_looks_like() -> None:
    found, ledger = lines_of(FRENCH.encode("latin-1"), "latin-1")
    assert found == [FRENCH]
    assert sum(1 for _line in ledger) == 1, "and the ledger says so"


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-16-le"])
def test_a_mark_at_the_beginning_is_no_text_in_a_named_encoding_either(encoding: str) -> None:
    found, _ledger = lines_of(("\ufeff" + SIMPLIFIED + "\ufeffinside\n").encode(encoding), encoding)
    assert found == [SIMPLIFIED, "\ufeffinside\n"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [ENGLISH * 3, SIMPLIFIED * 3])
def test_utf16_that_was_named_is_read_without_a_mark_as_well(order: str, text: str) -> None:
    found, _ledger = lines_of(text.encode(order), "UTF-16")
    assert "".join(found) == text


def test_an_encoding_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(DataError) as error:
        lines_of(b"x", "gb2313")
    assert error.value.code == "E105" and "gb2313" in str(error.value)


def binaries() -> dict[str, bytes]:
    draw = random.Random(0)
    return {
        "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(draw.randrange(256) for _ in range(3000)),
        "random": bytes(draw.randrange(256) for _ in range(5000)),
        "without zeros": bytes(draw.randrange(1, 256) for _ in range(5000)),
        "short": bytes(draw.randrange(1, 256) for _ in range(200)),
        "zeros": bytes(1000),
        "gzip": gzip.compress(ENGLISH.encode() * 50),
    }


@pytest.mark.parametrize("name", sorted(binaries()))
def test_a_binary_file_named_txt_has_no_lines_and_is_counted(name: str) -> None:
    found, ledger = lines_of(binaries()[name])
    assert found == []
    assert ledger.count("corpus", "files that hold no text, skipped") == 1


def test_an_empty_file_has_no_lines_and_is_counted() -> None:
    found, ledger = lines_of(b"")
    assert found == [] and ledger.count("corpus", "files that are empty, skipped") == 1


def test_what_ends_a_line_is_a_line_feed_alone() -> None:
    found, _ledger = lines_of("a\r\nb\rc\nd\u2028e\x0cf\x85g".encode())
    assert found == ["a\n", "b\n", "c\n", "d\u2028e\x0cf\x85g"]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 12), st.integers(1, 5))
def test_long_lines_come_in_parts_where_that_is_wanted_and_whole_where_not(lengths: list[int], longest: int, at_once: int) -> None:
    text = "\n".join("x" * length for length in lengths)
    source = in_memory(text.encode(), at_once)
    parts = list(read_lines(source, Ledger(), longest=longest))
    assert "".join(parts) == text
    assert all(len(part) <= longest + at_once + 1 for part in parts)
    assert list(read_lines(source, Ledger())) == text.splitlines(keepends=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts of every kind, with what is no text between them."""
    root = tmp_path / "notes 笔记"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    for name in ("a.txt", "b.MD", "c.jsonl", "sub/d.csv", "sub/deep/e.tsv", "sub/f.parquet", "g.json"):
        (root / name).write_text("x", encoding="utf-8")
    for name in ("picture.png", "sub/tool.exe", "no suffix"):
        (root / name).write_bytes(b"\x00")
    for name in (".hidden.txt", ".git/config.txt"):
        (root / name).write_text("secret", encoding="utf-8")
    with gzip.open(root / "h.txt.gz", "wb") as file:
        file.write(b"x")
    with zipfile.ZipFile(root / "i.zip", "w") as archive:
        for name in ("in/one.txt", "two.csv", "three.bin", "__MACOSX/in/._one.txt", ".DS_Store.txt", "in/"):
            archive.writestr(name, "x")
    return root


def names_of(found: list[Source], root: Path) -> list[str]:
    return [source.name.removeprefix(str(root) + os.sep).replace(os.sep, "/") for source in found]


def test_every_readable_file_below_a_folder_is_found_and_the_others_are_counted(folder: Path) -> None:
    ledger = Ledger()
    found = names_of(find_sources([folder], ledger), folder)
    expected = ["a.txt", "b.MD", "c.jsonl", "g.json", "h.txt.gz", "i.zip!in/one.txt", "i.zip!two.csv", "sub/d.csv", "sub/deep/e.tsv"]
    assert sorted(found) == sorted([*expected, "sub/f.parquet"])
    assert found == sorted(found, key=lambda name: Path(name.split("!")[0]))
    assert ledger.count("corpus", "files of a kind that is not read, skipped") == 4


def test_a_file_is_read_once_however_often_it_is_named(folder: Path) -> None:
    once = find_sources([folder], Ledger())
    assert names_of(find_sources([folder, folder / "a.txt", folder / "sub", folder / "." / "a.txt"], Ledger()), folder) == names_of(
        once, folder
    )


def test_a_named_file_of_another_kind_is_refused_with_the_kinds_that_are_read(folder: Path) -> None:
    with pytest.raises(DataError) as error:
        find_sources([folder / "picture.png"], Ledger())
    assert error.value.code == "E104" and "picture.png" in str(error.value) and ".parquet" in str(error.value)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        find_sources([tmp_path / "没有"], Ledger())
    assert error.value.code == "E101" and "没有" in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "a" / "one.txt").write_text("1", encoding="utf-8")
    (elsewhere / "two.txt").write_text("2", encoding="utf-8")
    (root / "a" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "linked").symlink_to(elsewhere)
    (root / "again.txt").symlink_to(elsewhere / "two.txt")
    (root / "lost.txt").symlink_to(tmp_path / "nowhere.txt")
    ledger = Ledger()
    found = find_sources([root], ledger)
    assert sorted(os.path.realpath(source.path) for source in found) == sorted(
        os.path.realpath(path) for path in (root / "a" / "one.txt", elsewhere / "two.txt")
    )
    assert ledger.count("corpus", "files that cannot be opened, skipped") == 2, "the one that is lost and the one that is its own end"


def test_an_archive_is_only_read_and_its_names_are_no_paths(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    names = ["../x.txt", "/etc/y.txt", "a/../../z.txt", "c:\\w.txt"]
    with zipfile.ZipFile(inside / "evil.zip", "w") as archive:
        for name in names:
            archive.writestr(name, f"text of {name}\n")
    before = sorted(tmp_path.rglob("*"))
    ledger = Ledger()
    found = [line for source in find_sources([inside / "evil.zip"], ledger) for line in read_lines(source, ledger)]
    assert sorted(found) == sorted(f"text of {name}\n" for name in names)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "z.txt").exists()


def test_an_archive_of_many_files_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}.txt", f"text {number}\n")
    opened: list[Any] = []
    real = zipfile.ZipFile

    def count(*args: Any, **kwargs: Any) -> zipfile.ZipFile:
        opened.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(files.zipfile, "ZipFile", count)
    ledger = Ledger()
    sources = find_sources([tmp_path / "many.zip"], ledger)
    assert sorted(line for source in sources for line in read_lines(source, ledger)) == sorted(f"text {number}\n" for number in range(50))
    assert len(opened) == 2, "once for the names and once for the texts: each time reads the whole list"


def damaged_files() -> dict[str, bytes]:
    text = "".join(f"line {number} 行\n" for number in range(60_000)).encode()
    packed = gzip.compress(text)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", text)
    zipped = bytearray(stored.getvalue())
    zipped[200:220] = bytes(20)
    flipped = bytearray(packed)
    flipped[len(flipped) // 2] ^= 0xFF
    locked = bytearray(stored.getvalue())
    locked[6] |= 1
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    return {
        "cut.txt.gz": packed[: len(packed) // 2],
        "flipped.txt.gz": bytes(flipped),
        "none.txt.gz": b"no gzip at all",
        "flipped.zip": bytes(zipped),
        "encrypted.zip": bytes(locked),
        "none.zip": b"no zip at all",
    }


@pytest.mark.parametrize("name", sorted(damaged_files()))
def test_a_damaged_archive_in_a_folder_is_counted_and_the_rest_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(damaged_files()[name])
    (tmp_path / "whole.txt").write_text("whole\n", encoding="utf-8")
    ledger = Ledger()
    found = [line for source in find_sources([tmp_path], ledger) for line in read_lines(source, ledger)]
    assert "whole\n" in found
    assert any(name in place for _stage, what, entry in ledger for place in entry.examples if "damaged" in what or "cannot" in what)


def test_a_damaged_archive_that_was_named_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.zip").write_bytes(b"no zip at all")
    with pytest.raises(DataError) as error:
        find_sources([tmp_path / "none.zip"], Ledger())
    assert error.value.code == "E110" and "none.zip" in str(error.value)


def test_a_packed_file_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    text = "".join(f"line {number} 行\n" for number in range(60_000))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(text.encode())[:-20])
    ledger = Ledger()
    (source,) = find_sources([tmp_path], ledger)
    found = "".join(read_lines(source, ledger))
    assert len(found) > 100_000 and text.startswith(found.rstrip("\ufffd"))


def test_a_file_that_may_not_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text("x", encoding="utf-8")
    ledger = Ledger()
    (source,) = find_sources([tmp_path], ledger)

    def refuse(self: Source) -> IO[bytes]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Source, "open", refuse)
    assert list(read_lines(source, ledger)) == []
    assert ledger.count("corpus", "files that cannot be opened, skipped") == 1


@settings(deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_halves_of_characters_become_marks_and_everything_else_stays(text: str) -> None:
    ledger = Ledger()
    found = whole(text, ledger, "here")
    halves = [character for character in text if 0xD800 <= ord(character) <= 0xDFFF]
    assert has_halves(text) == bool(halves) and not has_halves(found)
    assert len(found) == len(text)
    assert all(mine == theirs or theirs in halves for mine, theirs in zip(found, text, strict=True))
    found.encode()
    assert ledger.count("corpus", "halves of characters, replaced") == len(halves)
