"""Minimal pairs, last words and prompts with examples: against token-by-token loops, ties, archives and bad input."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.errors import DiptychError
from diptych.evaluation.in_context import in_context
from diptych.evaluation.likelihood import text_nats
from diptych.evaluation.probes import choices, last_words, minimal_pairs, read_pairs
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

PAIRS = [("The cats sleep.", "The cats sleeps."), ("他去年来了。", "他明年来了。"), ("Who left 🙂?", "Who did left 🙂?")]
SIZES = {"hidden_size": 32, "num_layers": 2, "head_size": 16, "context_length": 64}


@pytest.fixture(scope="module")
def writer() -> Any:
    tokenizer = Tokenizer.train([text for pair in PAIRS for text in pair], "bytebpe", 400, panel="causal")
    return dt.Model(create("gpt-tiny", vocab_size=tokenizer.vocab_size, **SIZES).eval(), tokenizer)


@pytest.fixture(scope="module")
def filler() -> Any:
    tokenizer = Tokenizer.train([text for pair in PAIRS for text in pair] * 2, "wordpiece", 60, panel="masked")
    return dt.Model(create("bert-tiny", vocab_size=tokenizer.vocab_size, **SIZES).eval(), tokenizer)


def test_a_text_costs_what_score_says(writer: Any, both_languages: list[str]) -> None:
    texts = [text[:20] for text in both_languages]
    found = text_nats(writer.net, writer.tokenizer, texts)
    assert np.allclose(found, [-writer.score(text)[0] for text in texts], atol=1e-3)


def test_hidden_words_cost_what_a_loop_over_them_says(filler: Any) -> None:
    text = "Whothe lefts 他。"
    tokenizer = filler.tokenizer
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token(number) for number in ids]
    assert any(piece.startswith("##") for piece in pieces), "a word of several pieces"
    expected = 0.0
    for place, token in enumerate(ids):
        shown = list(ids)
        shown[place] = tokenizer.mask_id
        for later in range(place + 1, len(ids)):
            if not pieces[later].startswith("##"):
                break
            shown[later] = tokenizer.mask_id
        with torch.inference_mode():
            logits = filler.logits([tokenizer.frame(shown)[0]])[0, place + 1]
        expected -= float(torch.log_softmax(logits, -1)[token])
    assert text_nats(filler.net, tokenizer, [text])[0] == pytest.approx(expected, rel=1e-4)


def test_a_constant_model_scores_exactly_half() -> None:
    scores = choices(["a"] * 3 + ["b"] * 2, np.full(5, 7.0), np.full(5, 7.0) + 1e-9)
    assert scores["accuracy"].value == 0.5 and {part: each["accuracy"].value for part, each in scores.parts.items()} == {"a": 0.5, "b": 0.5}
    assert choices(["a", "a"], np.array([1.0, 3.0]), np.array([2.0, 2.0]))["accuracy"].value == 0.5


def test_a_network_that_finds_all_tokens_alike_scores_half_where_sentences_are_equally_long(writer: Any) -> None:
    net = create("gpt-tiny", vocab_size=writer.tokenizer.vocab_size, **SIZES)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    pairs = [(text, text[::-1]) for text in ("abc", "猫狗")]
    assert minimal_pairs(net, Tokenizer.train(["abc猫狗"], "characters", 30, panel="causal"), pairs, Ledger())["accuracy"].value == 0.5


@pytest.mark.parametrize("which", ["writer", "filler"])
def test_pairs_are_judged_one_by_one(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    scores = dt.evaluate(model, "minimal-pairs", PAIRS)
    costs = text_nats(model.net, model.tokenizer, [text for pair in PAIRS for text in pair]).reshape(-1, 2)
    gaps = costs[:, 1] - costs[:, 0]
    expected = np.where(np.abs(gaps) < 1e-6, 0.5, gaps > 0).mean()
    assert scores["accuracy"].value == pytest.approx(float(expected)) and scores["accuracy"].n == 3


def lines(paradigm: str, start: int = 0) -> str:
    rows = [{"sentence_good": good, "sentence_bad": bad, "UID": paradigm} for good, bad in PAIRS[start:]]
    return "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)


def test_archives_folders_and_files_hold_the_same_pairs(writer: Any, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for name in ("one", "two"):
        (tmp_path / "f" / f"{name}.jsonl").write_bytes(lines(name).encode())
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive, tarfile.open(tmp_path / "p.tar.gz", "w:gz") as tar:
        for name in ("one", "two"):
            archive.writestr(f"data/{name}.jsonl", lines(name))
            for member in (f"../../{name}.jsonl", f"x/._{name}.jsonl"):
                info = tarfile.TarInfo(member)
                data = lines(name).encode() if "._" not in member else b"\0"
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    found = [list(read_pairs(tmp_path / name, Ledger())) for name in ("f", "p.zip", "p.tar.gz")]
    assert found[0] == found[1] == found[2] and len(found[0]) == 6 and found[0][4].good == "他去年来了。"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "p.tar.gz", "p.zip"], "nothing was unpacked"
    scores = dt.evaluate(writer, "minimal-pairs", tmp_path / "p.zip", limit=2)
    assert list(scores.parts) == ["one", "two"] and scores["accuracy"].n == 4


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("a.jsonl", b'{"good": "a"}\n', "E704"), ("a.jsonl", b"", "E703"), ("a.tar.gz", b"no", "E705"), ("a.jsonl", b"{\n", "E106")],
)
def test_what_holds_no_pairs_is_named(writer: Any, tmp_path: Path, name: str, data: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DiptychError) as caught:
        dt.evaluate(writer, "minimal-pairs", tmp_path / name)
    assert caught.value.code == code


def test_a_model_that_gives_no_text_a_probability_and_a_wrong_setting_are_named(filler: Any, writer: Any) -> None:
    for model, task, settings, code in (
        (filler, "last-words", {}, "E602"),
        (filler, "in-context", {}, "E602"),
        (writer, "in-context", {"shot": 1}, "E402"),
        (writer, "in-context", {"shots": 9}, "E706"),
    ):
        with pytest.raises(DiptychError) as caught:
            dt.evaluate(model, task, [("good", "1"), ("bad", "0")], **settings)
        assert caught.value.code == code


def test_long_pairs_are_left_out_and_counted(writer: Any) -> None:
    ledger = Ledger()
    scores = minimal_pairs(writer.net, writer.tokenizer, [*PAIRS, ("ab " * 200, "a")], ledger)
    assert scores["accuracy"].n == 3 and ledger.count("pairs", "pairs that the context has no room for, left out") == 1


def test_last_words_are_asked_token_by_token(writer: Any) -> None:
    texts = ["The cats sleep", "Who left the cats", "他去年来了", "word"]
    ledger = Ledger()
    scores = last_words(writer.net, writer.tokenizer, texts, ledger)
    assert scores["accuracy"].n == 3 and ledger.count("texts", "texts without a word and something before it, left out") == 1
    contexts = [("The cats", " sleep"), ("Who left the", " cats")]
    nats = last_words(writer.net, writer.tokenizer, texts[:2], Ledger())["nats per word"].value
    expected = [writer.score(before)[0] - writer.score(before + word)[0] for before, word in contexts]
    assert nats == pytest.approx(float(np.mean(expected)), rel=1e-3)


@pytest.mark.slow
def test_a_model_that_learnt_the_form_answers_in_context() -> None:
    rows = [(f"{word} {n}", label) for n in range(6) for word, label in (("good", "yes"), ("bad", "no"), ("好", "yes"), ("坏", "no"))]
    text = "\n\n".join(f"{each}\n→ {label}" for each, label in rows)
    model = dt.pretrain("gpt-tiny", [text] * 30, steps=60, lr=5e-3, sizes={"hidden_size": 64, "num_layers": 2, "context_length": 64})
    options: dict[str, Any] = {"shots": 2, "calibrate": False}
    assert in_context(model.net, model.tokenizer, rows, Ledger(), **options)["accuracy"].value > 0.8
    other = in_context(model.net, model.tokenizer, rows, Ledger(), names={"yes": "no", "no": "yes"}, **options)
    assert other["accuracy"].value < 0.5, "the words are what is scored, not the labels"
    ledger = Ledger()
    in_context(model.net, model.tokenizer, rows, ledger, shots=16, limit=3)
    assert ledger.count("prompts", "prompts that lost examples, or the beginning of a text, to the context") > 0
