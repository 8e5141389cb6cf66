"""Token shards: every token of every document once, in order, on the disk; what is half-written or damaged is never read."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from diptych.errors import DataError, MachineError
from diptych.ledger import Ledger
from diptych.text import shards as module
from diptych.text.clean import Cleaning, clean
from diptych.text.corpus import Corpus, Document
from diptych.text.shards import TokenShards, cached_shards, write_shards
from diptych.text.tokenizer import Tokenizer

TEXTS = ["The hotel is clean, it's good.", "这家酒店很干净，早餐也不错。", "Mixed 中文 🙂 ＡＢＣ\r\nsecond line", "", "last 最后"]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 5, "bpe", 300)


def documents(texts: Iterable[str]) -> Iterator[Document]:
    return (Document(text, f"row {number}") for number, text in enumerate(texts))


def written(texts: Iterable[str], folder: Path, separator: int | None = None, ledger: Ledger | None = None) -> TokenShards:
    return write_shards(documents(texts), tokenizer(), folder, separator=separator, ledger=Ledger() if ledger is None else ledger)


def kept(cache_folder: Path, texts: Iterable[str], ledger: Ledger | None = None, **key: Any) -> TokenShards:
    return cached_shards(documents(texts), tokenizer(), cache_folder, key, separator=0, ledger=Ledger() if ledger is None else ledger)


def refuse() -> Iterator[str]:
    raise AssertionError("the text is read again though its tokens are there")
    yield ""


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.text(max_size=20), max_size=8), separator=st.none() | st.just(1), at_once=st.integers(1, 40))
def test_every_token_is_there_once_and_every_border_is_where_it_belongs(
    texts: list[str], separator: int | None, at_once: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = Ledger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_CHARS", at_once)
        found = written(texts, tmp_path_factory.getbasetemp() / "shards", separator, ledger)
    front = [] if separator is None else [separator]
    expected = [(text, front + tokenizer().encode(text)) for text in texts]
    expected = [(text, ids) for text, ids in expected if ids]
    flat = [number for _text, ids in expected for number in ids]
    assert found.tokens.tolist() == flat + (front if flat else []), "and the last document is closed like the others"
    assert found.num_documents == len(expected)
    assert found.borders.tolist() == np.cumsum([0, *(len(ids) for _text, ids in expected)]).tolist()
    assert [found.document(number).tolist() for number in range(found.num_documents)] == [ids for _text, ids in expected]
    assert found.text_bytes.tolist() == [len(text.encode()) for text, _ids in expected]
    assert found.num_tokens == len(found.tokens)
    assert ledger.count("tokens", "documents without a token, dropped") == len(texts) - len(expected)


def numbered(size: int) -> Tokenizer:
    """A tokenizer of so many words, which are the numbers of themselves."""
    backend = tokenizers.Tokenizer(models.WordLevel({str(number): number for number in range(size)}, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer(backend, {})


@pytest.mark.parametrize(("size", "width"), [(10, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.uint32), (70_000, np.uint32)])
def test_numbers_are_as_wide_as_the_vocabulary_needs(size: int, width: type, tmp_path: Path) -> None:
    text = f"0 1 {size // 2} {size - 1}"
    found = write_shards(documents([text]), numbered(size), tmp_path / "shards", separator=None, ledger=Ledger())
    assert found.tokens.dtype == width
    assert found.tokens.tolist() == [0, 1, size // 2, size - 1], "the last word of the vocabulary is not cut off"
    assert (tmp_path / "shards" / "tokens.bin").stat().st_size == 4 * np.dtype(width).itemsize


def test_tokens_stay_on_the_disk_and_cannot_be_written_over(tmp_path: Path) -> None:
    found = written(TEXTS, tmp_path / "shards", 1)
    assert isinstance(found.tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.tokens[0] = 5


def test_shards_are_read_as_they_were_written(tmp_path: Path) -> None:
    first = written(TEXTS, tmp_path / "shards", 1)
    again = TokenShards.open(tmp_path / "shards")
    for name in ("tokens", "borders", "text_bytes"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
        assert getattr(again, name).dtype == getattr(first, name).dtype
    assert again.fingerprint == first.fingerprint != ""


def test_the_fingerprint_is_of_the_tokens_and_of_their_borders(tmp_path: Path) -> None:
    found = [written(texts, tmp_path / "shards").fingerprint for texts in (["ab", "c"], ["a", "bc"], ["ab", "c"], ["ab"], [])]
    assert found[0] == found[2]
    assert len(set(found)) == 4


def test_halves_of_characters_stop_nothing(tmp_path: Path) -> None:
    assert written(["fine", "half \ud83d"], tmp_path / "shards").num_documents == 2


def test_documents_come_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_CHARS", 100)
    alive: list[int] = []
    most = 0

    class Counted(Document):
        __slots__ = ()

        def __init__(self, text: str, where: str) -> None:
            super().__init__(text, where, {})
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def stream() -> Iterator[Document]:
        nonlocal most
        for number in range(500):
            yield Counted(f"text {number} 文 " * 3, "x")
            most = max(most, len(alive))

    found = write_shards(stream(), tokenizer(), tmp_path / "shards", separator=None, ledger=Ledger())
    assert found.num_documents == 500
    assert most < 50


@pytest.mark.parametrize("name", ["tokens.bin", "borders.npy", "text_bytes.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "emptied", "longer"])
def test_damaged_shards_are_refused_and_written_anew(name: str, damage: str, tmp_path: Path) -> None:
    first = kept(tmp_path, TEXTS)
    (folder,) = tmp_path.iterdir()
    path = folder / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "longer": content + b"xx"}[damage])
    with pytest.raises(DataError) as error:
        TokenShards.open(folder)
    assert error.value.code == "E211" and str(folder) in str(error.value)
    again = kept(tmp_path, TEXTS)
    assert again.tokens.tolist() == [int(number) for text in TEXTS for number in [0, *tokenizer().encode(text)]] + [0]
    assert again.fingerprint == first.fingerprint
    assert [each.name for each in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("content", ["[]", "{}", '"text"', '{"token_bytes": "many"}', "null"])
def test_a_description_that_says_something_else_is_refused(content: str, tmp_path: Path) -> None:
    written(TEXTS, tmp_path / "shards")
    (tmp_path / "shards" / "meta.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        TokenShards.open(tmp_path / "shards")
    assert error.value.code == "E211"


def test_shards_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        TokenShards.open(tmp_path / "没有")
    assert error.value.code == "E211" and "没有" in str(error.value)


def test_the_same_text_is_cut_once(tmp_path: Path) -> None:
    first = kept(tmp_path, TEXTS, corpus="abc")
    again = kept(tmp_path, refuse(), corpus="abc")
    assert np.array_equal(first.tokens, again.tokens) and first.fingerprint == again.fingerprint


def test_whatever_decides_the_tokens_gives_another_entry(tmp_path: Path) -> None:
    def entries() -> int:
        return len(list(tmp_path.iterdir()))

    key = {"corpus": Corpus(TEXTS).fingerprint(), "part": "train", "clean": {"normalize": "NFC"}}
    kept(tmp_path, TEXTS, **key)
    changed = [*TEXTS[:-1], "last 最末"]
    found = kept(tmp_path, changed, **{**key, "corpus": Corpus(changed).fingerprint()})
    assert entries() == 2
    assert found.tokens[-1 - len(tokenizer().encode(changed[-1])) : -1].tolist() == tokenizer().encode(changed[-1])
    kept(tmp_path, TEXTS, **{**key, "part": "held out"})
    kept(tmp_path, TEXTS, **{**key, "clean": {"normalize": "NFKC"}})
    assert entries() == 4
    cached_shards(documents(TEXTS), tokenizer(), tmp_path, key, separator=None, ledger=Ledger())
    other = Tokenizer.train(TEXTS * 5, "bpe", 280)
    cached_shards(documents(TEXTS), other, tmp_path, key, separator=0, ledger=Ledger())
    assert entries() == 6
    kept(tmp_path, refuse(), **key)


def test_what_was_counted_is_told_again_when_the_tokens_are_found(tmp_path: Path) -> None:
    texts = ["fine", "", "zero\u200bwidth", "ab\x00", "fine"]

    def once() -> Ledger:
        ledger = Ledger()
        cleaned = clean(documents(texts), Cleaning(), ledger)
        cached_shards(cleaned, tokenizer(), tmp_path, {"corpus": 1}, separator=None, ledger=ledger)
        return ledger

    first, second = once(), once()
    assert first.count("cleaning", "documents dropped because they are empty or too short") == 1
    assert first.to_json() == second.to_json()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing is killed that way there")
def test_a_run_that_is_killed_leaves_nothing_that_is_taken_for_tokens(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from diptych.ledger import Ledger
from diptych.text import shards
from diptych.text.corpus import Document
from diptych.text.tokenizer import Tokenizer

shards.BATCH_CHARS = 1
folder = Path(sys.argv[1])

def documents():
    for number in range(100):
        if number == 60:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Document(f"text {number}", "x")

shards.cached_shards(documents(), Tokenizer.load(folder / "tokenizer"), folder / "cache", {}, separator=0, ledger=Ledger())
"""
    (tmp_path / "tokenizer").mkdir()
    tokenizer().save(tmp_path / "tokenizer")
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = list((tmp_path / "cache").rglob("tokens.bin"))
    assert left and not list((tmp_path / "cache").rglob("meta.json")), "it was in the middle of its work"
    texts = [f"text {number}" for number in range(100)]
    found = kept(tmp_path / "cache", texts)
    assert found.num_documents == 100
    assert found.document(99).tolist() == [0, *tokenizer().encode("text 99")]
    assert TokenShards.open(next(path.parent for path in (tmp_path / "cache").rglob("meta.json"))).num_documents == 100


def test_a_text_that_cannot_be_read_to_its_end_leaves_the_old_tokens(tmp_path: Path) -> None:
    first = written(TEXTS, tmp_path / "shards")

    def half() -> Iterator[str]:
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(half(), tmp_path / "shards")
    assert TokenShards.open(tmp_path / "shards").fingerprint == first.fingerprint
    assert [each.name for each in tmp_path.iterdir()] == ["shards"]


def test_a_full_disk_is_named_and_leaves_the_old_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(TEXTS, tmp_path / "shards")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.np, "save", full)
    with pytest.raises(MachineError) as error:
        written(["new"], tmp_path / "shards")
    assert error.value.code == "E902" and "shards" in str(error.value)
    monkeypatch.undo()
    assert TokenShards.open(tmp_path / "shards").fingerprint == first.fingerprint
    assert [each.name for each in tmp_path.iterdir()] == ["shards"]


def test_no_text_is_no_tokens(tmp_path: Path) -> None:
    for separator in (None, 1):
        found = written([], tmp_path / "shards", separator)
        assert (found.num_tokens, found.num_documents, found.borders.tolist()) == (0, 0, [0])
        assert json.loads((tmp_path / "shards" / "meta.json").read_text(encoding="utf-8"))["token_bytes"] == 0


def test_words_lie_beside_the_tokens_and_under_a_name_of_their_own(tmp_path: Path) -> None:
    def found(*, words: bool) -> TokenShards:
        return cached_shards(documents(TEXTS), tokenizer(), tmp_path, {}, separator=0, ledger=Ledger(), words=words)

    plain, worded = found(words=False), found(words=True)
    assert plain.continues is None and worded.continues is not None
    assert (plain.tokens == worded.tokens).all() and plain.fingerprint == worded.fingerprint
    assert len(worded.continues) == len(worded.tokens) and not worded.continues[worded.tokens == 0].any()
    assert (found(words=True).continues == worded.continues).all() and len(list(tmp_path.iterdir())) == 2
    for number, text in enumerate(TEXTS):
        ids, offsets = tokenizer().encode_offsets(text)
        starts = worded.word_starts(int(worded.borders[number]), int(worded.borders[number + 1]))
        assert len(starts) == len(ids) + 1 and starts[:2].all()
        # A token that shares a character with the one before is the rest of it, in any language.
        shared = [a < last for (a, _b), (_c, last) in zip(offsets[1:], offsets, strict=False)]
        assert not (starts[2:] & np.array(shared, dtype=bool)).any()


def test_words_that_were_cut_short_are_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    write_shards(documents(TEXTS), tokenizer(), folder, separator=0, ledger=Ledger(), words=True)
    (folder / "words.bin").write_bytes(b"")
    with pytest.raises(DataError) as error:
        TokenShards.open(folder)
    assert error.value.code == "E211"


def test_many_batches_keep_the_order_and_an_error_while_reading_is_passed_on(tmp_path, monkeypatch) -> None:
    """Texts are cut beside the reading of the next ones: nothing may be mixed up, lost or swallowed."""
    monkeypatch.setattr("diptych.text.shards.BATCH_CHARS", 40)
    texts = [f"line {number} 第{number}行 🙂" for number in range(50)]
    tokenizer = Tokenizer.train(texts, "bpe", 300, panel="causal")
    shards = write_shards((Document(text, "here") for text in texts), tokenizer, tmp_path / "shards", separator=None, ledger=Ledger())
    assert [tokenizer.decode(shards.document(number).tolist()) for number in range(50)] == texts

    def broken():
        yield from (Document(text, "here") for text in texts)
        raise DataError("E103", where="x", column="y", columns="z")

    with pytest.raises(DataError, match="E103"):
        write_shards(broken(), tokenizer, tmp_path / "broken", separator=None, ledger=Ledger())
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]
