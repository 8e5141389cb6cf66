"""A model goes on with a domain: more words, some of what it knew, and both sides measured before and after."""

import pytest

import diptych as dt
from diptych.errors import RecipeError, TrainingError

GENERAL = [f"the cat sat on the mat {n}. 今天天气很好，我们去公园散步吧！ the dog saw it 🙂\r\n" * 3 for n in range(30)]
DOMAIN = [f"myocardial infarction {n}: myocarditis and fibrosis. 心肌梗死与心肌炎。" * 4 for n in range(30)]
SIZES = {"num_layers": 1, "hidden_size": 16, "head_size": 8, "context_length": 32}


@pytest.mark.parametrize(("preset", "regime"), [("gpt-tiny", "plain"), ("bert-tiny", "lora")])
def test_a_base_learns_new_words_and_both_sides_are_measured(preset, regime, tmp_path):
    common = {"steps": 3, "precision": "float32", "cache": tmp_path / "cache", "held_out": 0.2}
    (tmp_path / "general").mkdir()
    for number, text in enumerate(GENERAL):
        (tmp_path / "general" / f"{number}.txt").write_text(text, encoding="utf-8")
    base = dt.pretrain(preset, GENERAL, sizes=SIZES, out=tmp_path / "base", tokenizer={"vocab_size": 400}, **common)
    further = {"model": {"more_tokens": 20}, "replay": str(tmp_path / "general"), "replay_share": 0.3, "regime": regime}
    model = dt.pretrain(tmp_path / "base", DOMAIN, out=tmp_path / "more", **further, **common)
    assert base.tokenizer.vocab_size < model.tokenizer.vocab_size <= base.tokenizer.vocab_size + 20
    assert model.config.vocab_size == model.tokenizer.vocab_size
    again = dt.load(tmp_path / "more")
    assert again.tokenizer.encode(DOMAIN[0]) == model.tokenizer.encode(DOMAIN[0])
    assert len(again.tokenizer.encode(DOMAIN[0])) < len(base.tokenizer.encode(DOMAIN[0]))
    done = model.pretrained
    counted = ["5-gram, Kneser-Ney"] if preset == "gpt-tiny" else []
    assert list(done.further) == ["before, on this text", "before, on general text", "after, on general text", *counted]
    assert all(each for each in (done.scores, *done.further.values()))
    lines = "\n".join(done.ledger.lines())
    assert "shorter" in lines and "replayed" in lines
    assert "before, on general text" in (tmp_path / "more" / "diptych" / "report.html").read_text(encoding="utf-8")


def test_before_is_what_the_base_itself_scores(tmp_path):
    common = {"steps": 2, "precision": "float32", "cache": tmp_path / "cache", "held_out": 0.2}
    dt.pretrain("gpt-tiny", GENERAL, sizes=SIZES, out=tmp_path / "base", tokenizer={"vocab_size": 400}, **common)
    model = dt.pretrain(tmp_path / "base", DOMAIN, model={"more_tokens": 10}, **common)
    held = [document.text for document in dt.Corpus(DOMAIN).split(0.2)[1]]
    expected = dt.evaluate(tmp_path / "base", None, held)
    assert model.pretrained.further["before, on this text"]["bits per byte"].value == pytest.approx(
        expected["bits per byte"].value, rel=1e-6
    )


def test_nothing_to_replay_and_nothing_to_extend_are_said(tmp_path):
    common = {"steps": 1, "precision": "float32", "cache": tmp_path / "cache"}
    dt.pretrain("gpt-tiny", GENERAL, sizes=SIZES, out=tmp_path / "base", tokenizer={"vocab_size": 400}, **common)
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(dt.DiptychError) as caught:
        dt.pretrain(tmp_path / "base", DOMAIN, replay=str(tmp_path / "empty.txt"), **common)
    assert caught.value.code in ("E544", "E102", "E501")
    dt.pretrain("gpt-tiny", GENERAL, sizes=SIZES, out=tmp_path / "chars", tokenizer={"kind": "characters"}, **common)
    with pytest.raises(TrainingError) as wrong:
        dt.pretrain(tmp_path / "chars", DOMAIN, model={"more_tokens": 5}, **common)
    assert wrong.value.code == "E543"
    with pytest.raises(RecipeError):
        dt.pretrain("gpt-tiny", DOMAIN, model={"more_tokens": 5}, **common)
