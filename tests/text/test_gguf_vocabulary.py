"""Tokenizers in a GGUF header and back, and the promise that GPT-2's rule gives the tokens of ours."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from diptych.errors import ModelError
from diptych.text.gguf_vocabulary import GPT2_SPLIT, SPLITS, read_vocabulary, write_vocabulary
from diptych.text.tokenizer import Tokenizer
from diptych.text.vocabulary import BPE_SPLIT

TEXTS = [
    "Don't count 12345 chickens before they've hatched; it's 3½ o'clock!",
    "我爱Python，2024年很高兴认识你。第Ⅷ章〇①②",
    "    def __init__(self):\n\treturn {'a': 1}  # é ñ naïve",
    "emoji 🙂❤️👩‍👩‍👧\r\nnext line\u00a0nbsp\u3000ideographic",
    "日本語のテキスト、カタカナー。한국어 हिन्दी ไทย",
    "",
    " \n\n  \t ",
]
PATH = Path("model.gguf")


def _cuts(split: str, text: str) -> set[int]:
    pieces = pre_tokenizers.Split(Regex(split), behavior="isolated").pre_tokenize_str(text)
    return {end for _piece, (_start, end) in pieces}


@given(st.text(st.one_of(st.sampled_from(" \n\t'sd_1９½①我é́あ🙂.,€Aa"), st.characters(exclude_categories=["Cs"])), max_size=40))
def test_our_rule_cuts_wherever_gpt2s_does(text: str) -> None:
    assert _cuts(GPT2_SPLIT, text) <= _cuts(BPE_SPLIT, text)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, "bpe", 600)


def test_gpt2s_rule_gives_the_tokens_of_ours(bpe: Tokenizer) -> None:
    again = read_vocabulary(write_vocabulary(bpe, bpe.vocab_size), PATH)
    assert again.encode_batch(TEXTS) == bpe.encode_batch(TEXTS)
    assert again.roles == bpe.roles and again.special_ids == bpe.special_ids


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_every_rule_of_llama_cpp_comes_back(bpe: Tokenizer, name: str) -> None:
    said = {**write_vocabulary(bpe, bpe.vocab_size), "tokenizer.ggml.pre": name}
    tokenizer = read_vocabulary(said, PATH)
    assert write_vocabulary(tokenizer, bpe.vocab_size)["tokenizer.ggml.pre"] == name
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS)] == TEXTS


@pytest.mark.parametrize("lowercase", [True, False])
def test_word_pieces_come_back(lowercase: bool) -> None:
    ours = Tokenizer.train(TEXTS * 3, "wordpiece", 400, panel="masked", lowercase=lowercase)
    said = write_vocabulary(ours, 410)
    assert len(said["tokenizer.ggml.tokens"]) == 410 and "▁你" in said["tokenizer.ggml.tokens"]
    again = read_vocabulary(said, PATH)
    assert again.encode_batch(TEXTS) == ours.encode_batch(TEXTS)
    assert (again.cls_id, again.sep_id, again.mask_id, again.pad_id) == (ours.cls_id, ours.sep_id, ours.mask_id, ours.pad_id)


def test_sentence_pieces_join_what_scores_highest() -> None:
    """Against a brute force: again and again, the leftmost of the neighbours whose union has the best score."""
    letters = ["▁", "a", "b", "c", "你", "好"]
    joined = {"ab": -1.0, "▁a": -2.0, "bc": -0.5, "abc": -3.0, "你好": -4.0, "▁你好": -5.0}
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *joined]
    scores = [0.0] * (3 + 256) + [-10.0] * len(letters) + list(joined.values())
    said = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": np.array(scores, np.float32),
        "tokenizer.ggml.token_type": np.array([2, 3, 3] + [6] * 256 + [1] * (len(letters) + len(joined)), np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    tokenizer = read_vocabulary(said, PATH)

    def brute_force(text: str) -> list[str]:
        parts = list("▁" + text.replace(" ", "▁"))
        while unions := [(-joined[a + b], place) for place, (a, b) in enumerate(pairwise(parts)) if a + b in joined]:
            place = min(unions)[1]
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [each for part in parts for each in ([part] if part in pieces else [f"<0x{byte:02X}>" for byte in part.encode()])]

    for text in ("abc ab", "a bc abca", "你好 你", "🙂a"):
        ids = tokenizer.encode(text)
        assert [pieces[number] for number in ids] == brute_force(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.bos_id == 1 and tokenizer.eos_id == 2


def test_a_beginning_that_is_not_put_before_a_text_has_no_role(bpe: Tokenizer) -> None:
    said = {**write_vocabulary(bpe, bpe.vocab_size), "tokenizer.ggml.add_bos_token": False}
    assert read_vocabulary(said, PATH).bos_id is None


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tokenizer.ggml.model": "rwkv"}, "rwkv"),
        ({"tokenizer.ggml.model": ["gpt2"]}, "tokenizer.ggml.model"),
        ({"tokenizer.ggml.pre": "tekken"}, "tekken"),
        ({"tokenizer.ggml.pre": 7}, "7"),
        ({"tokenizer.ggml.tokens": []}, "tokens"),
        ({"tokenizer.ggml.tokens": 5}, "tokens"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "tokens"),
        ({"tokenizer.ggml.token_type": np.array([1])}, "tokens"),
        ({"tokenizer.ggml.merges": ["no such"]}, "E325"),
        ({"tokenizer.ggml.merges": ["nospace"]}, "E325"),
        ({"tokenizer.ggml.model": "llama"}, "scores"),
    ],
)
def test_a_vocabulary_that_makes_no_sense_is_refused(bpe: Tokenizer, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_vocabulary({**write_vocabulary(bpe, bpe.vocab_size), **change}, PATH)
    assert caught.value.code == "E325" and words in str(caught.value)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Tokenizer.train(TEXTS, "unigram", 300), "Unigram"),
        (lambda: Tokenizer.train(TEXTS, "characters", 300), "WordLevel"),
        (lambda: Tokenizer.train(TEXTS, "bpe", 300, lowercase=True), "Lowercase"),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_not_is_refused(make: Callable[[], Tokenizer], words: str) -> None:
    tokenizer = make()
    with pytest.raises(ModelError) as caught:
        write_vocabulary(tokenizer, tokenizer.vocab_size)
    assert caught.value.code == "E326" and words in str(caught.value)


def test_more_tokens_than_the_model_knows_are_refused(bpe: Tokenizer) -> None:
    with pytest.raises(ModelError) as caught:
        write_vocabulary(bpe, 10)
    assert caught.value.code == "E326" and "the model knows 10" in str(caught.value)
