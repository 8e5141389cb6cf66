"""Surprisal by word: it adds up to the model's own log-probability, lies where the words are, and has nothing lost at long texts."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

import diptych as dt
from diptych.errors import UsageError
from diptych.text.words import words

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 48}
TEXTS = [f"The cat sat on the mat, number {number}. 今天天气很好，第{number}次。🙂\r\n" for number in range(12)]


@pytest.fixture(scope="module")
def gpt() -> dt.Model:
    return dt.pretrain("gpt-tiny", TEXTS, sizes=TINY, tokenizer={"vocab_size": 320}, steps=5, precision="float32")


@pytest.mark.parametrize("text", ["The cat sat on the mat.", "今天天气很好，我们去公园。", "A 🙂 fox\r\nran 3.5 km, 很快"])
def test_the_bits_add_up_to_the_models_score_and_every_word_has_its_place(gpt: dt.Model, text: str) -> None:
    found = gpt.surprisals(text)
    total, count = gpt.score(text)
    assert sum(each.bits for each in found) == pytest.approx(-total / math.log(2), rel=1e-5) and count > 0
    assert all(text[each.start : each.end] == each.text for each in found)
    covered = {place for each in found if each.is_word for place in range(each.start, each.end)}
    assert {place for start, stop in words(text) for place in range(start, stop)} <= covered
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


@limits(max_examples=25)
@given(st.text(alphabet="ab .,中文天气🙂\n", max_size=40))
def test_any_text_is_taken_apart_without_loss(gpt: dt.Model, text: str) -> None:
    found = gpt.surprisals(text)
    # Of a text as long as the context the one reads a window more than the other.
    if text and len(gpt.tokenizer.encode(text)) != TINY["context_length"]:
        assert sum(each.bits for each in found) == pytest.approx(-gpt.score(text)[0] / math.log(2), rel=1e-4, abs=1e-4)
    assert "".join("".join(each.text for each in found).split()) == "".join(text.split())


def test_english_words_are_those_between_spaces(gpt: dt.Model) -> None:
    found = gpt.surprisals("The cat sat, and the cat ran.")
    assert [each.text for each in found if each.is_word] == ["The", "cat", "sat", "and", "the", "cat", "ran"]
    assert [each.text for each in found if not each.is_word] == [",", "."]


def test_a_text_longer_than_the_context_is_judged_to_its_end(gpt: dt.Model) -> None:
    text = " ".join(TEXTS[:8])
    found = gpt.surprisals(text)
    assert found[-1].end >= len(text.rstrip()) and all(math.isfinite(each.bits) for each in found)
    head = gpt.surprisals(text[:40])
    assert [each.bits for each in found[:5]] == pytest.approx([each.bits for each in head[:5]], rel=1e-4)


def test_the_probe_is_the_mean_over_words_with_an_interval_by_document(gpt: dt.Model, tmp_path: Path) -> None:
    score = dt.evaluate(gpt, "surprisal", TEXTS[:4])["bits per word"]
    own = [each.bits for text in TEXTS[:4] for each in gpt.surprisals(text) if each.is_word]
    assert score.value == pytest.approx(sum(own) / len(own), rel=1e-5) and score.n == 4 and score.low < score.value < score.high
    with pytest.raises(UsageError) as caught:
        dt.evaluate(gpt, "surprisal", ["…", " "])
    assert caught.value.code == "E702"


def test_a_model_that_does_not_write_is_not_asked() -> None:
    bert = dt.pretrain("bert-tiny", TEXTS, sizes=TINY, tokenizer={"vocab_size": 320}, steps=1, precision="float32")
    with pytest.raises(UsageError) as caught:
        bert.surprisals("a cat")
    assert caught.value.code == "E602"
