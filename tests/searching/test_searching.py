"""Search over files: an index that follows its files, that is whole or named as damaged, and answers that cite."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.errors import DiptychError
from diptych.presets import create
from diptych.searching import Answer, Hit, ask, search
from diptych.searching import answer as answering
from diptych.text.tokenizer import Tokenizer

pytest.importorskip("usearch")
TEXTS = {
    "a.txt": "The cat sat on the mat.\r\n" + "\n" * 2 + "Taxes rose in March 🙂. " * 40,
    "b.md": "今天天气很好。\n公园里有很多花。\n",
    "c.jsonl": json.dumps({"text": "要退款，请在三十天内寄回。"}, ensure_ascii=False) + "\n",
    "empty.txt": "",
}


@pytest.fixture(scope="module")
def model() -> Any:
    tokenizer = Tokenizer.train(list(TEXTS.values()), "characters", 300, panel="masked")
    sizes = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 128}
    return dt.Model(create("bert-tiny", vocab_size=tokenizer.vocab_size, **sizes).eval(), tokenizer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "notes" / name).write_bytes(text.encode())
    return tmp_path / "notes"


def test_the_nearest_are_those_of_a_comparison_one_by_one(model: Any, folder: Path, tmp_path: Path) -> None:
    hits = search(folder, "公园的花", model=model, index=tmp_path / "i", top=50)
    vectors = model.embed([hit.text for hit in hits], normalize=True)
    cosines = (vectors @ model.embed("公园的花", normalize=True)[0]).tolist()
    assert np.allclose([hit.score for hit in hits], cosines, atol=2e-3), "kept in half precision"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True) and len(hits) >= 3
    assert {hit.where.split("/")[-1] for hit in hits} >= {"b.md, line 1", "c.jsonl, line 1", "a.txt, line 1"}
    assert all(len(hit.text) <= 800 for hit in hits)


def test_only_files_that_changed_are_read_again(model: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "i"
    search(folder, "cat", model=model, index=index)
    embedded: list[str] = []
    plain = type(model).embed

    def watch(self: Any, texts: Any, *rest: Any, **options: Any) -> torch.Tensor:
        embedded.extend([texts] if isinstance(texts, str) else texts)
        return plain(self, texts, *rest, **options)

    monkeypatch.setattr(type(model), "embed", watch)
    search(folder, "cat", model=model, index=index)
    assert embedded == ["cat"]
    (folder / "b.md").write_text("雪下得很大。", encoding="utf-8")
    (folder / "c.jsonl").unlink()
    embedded.clear()
    hits = search(folder, "雪", model=model, index=index, top=50)
    assert embedded == ["雪下得很大。", "雪"]
    texts = [hit.text for hit in hits]
    assert "雪下得很大。" in texts and not any("公园" in text or "退款" in text for text in texts)
    assert len(list(index.iterdir())) == 3, "what was replaced is gone"


def test_another_model_makes_another_index(model: Any, folder: Path, tmp_path: Path) -> None:
    search(folder, "cat", model=model, index=tmp_path / "i")
    sizes = {"hidden_size": 64, "num_layers": 1, "head_size": 16, "context_length": 128}
    other = dt.Model(create("bert-tiny", vocab_size=model.tokenizer.vocab_size, seed=1, **sizes).eval(), model.tokenizer)
    ledger = dt.Ledger()
    assert search(folder, "cat", model=other, index=tmp_path / "i", ledger=ledger)
    assert ledger.count("search", "passages embedded anew, since the model is another") > 0


@pytest.mark.parametrize("part", ["vectors", "passages", "index"])
def test_a_damaged_file_is_named(model: Any, folder: Path, tmp_path: Path, part: str) -> None:
    index = tmp_path / "i"
    search(folder, "cat", model=model, index=index)
    (path,) = index.glob(f"{part}*")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DiptychError) as caught:
        search(folder, "cat", model=model, index=index)
    assert caught.value.code == "E171" and path.name in str(caught.value)


def test_an_index_does_not_name_files_elsewhere(model: Any, folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    search(folder, "cat", model=model, index=index)
    facts = json.loads((index / "index.json").read_text(encoding="utf-8"))
    facts["files"] = {f"../{name}": digest for name, digest in facts["files"].items()}
    (index / "index.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DiptychError) as caught:
        search(folder, "cat", model=model, index=index)
    assert caught.value.code == "E171"


def test_a_break_while_writing_leaves_the_old_index(model: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "i"
    search(folder, "cat", model=model, index=index)
    shutil.copytree(index, tmp_path / "before")
    (folder / "b.md").write_text("雪", encoding="utf-8")

    def fail(*_rest: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("diptych.runtime.write_whole", fail)
        with pytest.raises(OSError, match="No space"):
            search(folder, "cat", model=model, index=index)
    assert (index / "index.json").read_bytes() == (tmp_path / "before" / "index.json").read_bytes()
    assert any("雪" in hit.text for hit in search(folder, "雪", model=model, index=index, top=50))


@pytest.mark.parametrize(
    ("query", "source", "code"),
    [(" ", "notes", "E603"), ("a", "nowhere", "E101"), ("a", "notes/empty.txt", "E170"), ("a", "i/x.bin", "E104")],
)
@pytest.mark.parametrize("method", ["vectors", "words"])
def test_what_cannot_be_searched_is_named(
    model: Any, folder: Path, tmp_path: Path, query: str, source: str, code: str, method: Any
) -> None:
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "x.bin").write_bytes(b"\0")
    with pytest.raises(DiptychError) as caught:
        search(folder.parent / source, query, model=model, index=tmp_path / "new", method=method)
    assert caught.value.code == code


def test_a_folder_of_something_else_is_no_index(model: Any, folder: Path) -> None:
    with pytest.raises(DiptychError) as caught:
        search(folder, "cat", model=model, index=folder)
    assert caught.value.code == "E172" and (folder / "a.txt").exists()


def test_words_find_what_shares_them(folder: Path) -> None:
    (hit,) = search(folder, "退款", method="words")
    assert "退款" in hit.text and hit.score > 0
    assert search(folder, "zebra", method="words") == []


def test_an_answer_shows_its_passages_and_cites_those_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Speaker(dt.Model):
        def __init__(self, context: int) -> None:
            self.context = context

        @property
        def config(self) -> Any:
            return type("Config", (), {"context_length": self.context})

        @property
        def tokenizer(self) -> Any:
            return None

        def chat(self, messages: Any, max_new_tokens: int = 256, *, stop: Any = (), **sampling: Any) -> str:
            asked.append(messages[0]["content"])
            assert sampling["temperature"] == 0.0
            return " 三十天内寄回 [1]，另见 [7]。"

    monkeypatch.setattr(answering, "chat_ids", lambda tokenizer, messages: list(messages[0]["content"]))
    found = ask(folder, "如何退款？", model=Speaker(4096), method="words")
    assert found.cited == [1] and found.text.startswith("三十天") and "退款" in found.passages[0].text
    assert "[1] 要退款" in asked[0] and "如何退款？" in asked[0] and asked[0].startswith("只根据")
    ledger = dt.Ledger()
    short = ask(folder, "Taxes in March, the cat", model=Speaker(1000), method="words", ledger=ledger)
    assert len(short.passages) < 3 and ledger.count("search", "passages that the context has no room for") > 0
    assert asked[1].startswith("Answer the question")
    assert Answer("see [2][1][2]", [Hit("x", "y", 1.0)] * 2).cited == [2, 1]
