"""What is hidden: how much of it, in which units, behind what; the rate as the budget is spent. For English and Chinese."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError, RecipeError
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.masking import Masking, MaskingSettings
from diptych.tasks.task import Place
from diptych.text.corpus import Corpus
from diptych.text.shards import write_shards
from diptych.text.tokenizer import Tokenizer
from diptych.text.words import words

ENGLISH = "The unhappiness of well-known travellers isn't a question of kilometres, nor of 1,000 unforgettable evenings. " * 3
CHINESE = "中华人民共和国的首都是北京，图书馆里的学生们正在认真学习计算机科学。他们对人工智能特别感兴趣！" * 3
MIXED = "Mixed 中文句子 and English🙂, 我们使用transformer模型。\r\nUnknowable second line; 第二行。"


def row(tokenizer, size, seed=0, specials=0.0):
    draw = np.random.default_rng(seed)
    tokens = draw.integers(len(tokenizer.special_ids), tokenizer.vocab_size, size)
    return np.where(draw.random(size) < specials, tokenizer.sep_id, tokens)


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3, 0.5])
@pytest.mark.parametrize("span", [1, 3])
@pytest.mark.parametrize("has_words", [False, True])
def test_the_rate_holds_within_a_hundredth_whatever_the_units(wide_tokenizer, rate, span, has_words):
    masking = Masking(MaskingSettings(mask_rate=rate, mask_span=span), wide_tokenizer)
    asked = askable = 0
    for index in range(400):
        tokens = row(wide_tokenizer, 60 + index % 200, index, specials=0.05)
        starts = np.random.default_rng(index).random(len(tokens)) < (0.5 if has_words else 2)
        starts[0] = True
        asked += masking.hide(tokens, starts, Place(3, 0, index))[1].sum()
        askable += (tokens != wide_tokenizer.sep_id).sum()
    assert asked / askable == pytest.approx(rate, abs=0.01)


@settings(max_examples=80)
@given(size=st.integers(1, 80), seed=st.integers(0, 50), span=st.integers(1, 4), dense=st.floats(0.2, 1), rate=st.floats(0.05, 0.9))
def test_units_are_hidden_whole_specials_never_and_the_same_place_asks_the_same(wide_tokenizer, size, seed, span, dense, rate):
    masking = Masking(MaskingSettings(mask_rate=rate, mask_span=span), wide_tokenizer)
    tokens = row(wide_tokenizer, size, seed, specials=0.1)
    starts = np.random.default_rng(seed).random(size) < dense
    starts[0] = True
    shown, asked = masking.hide(tokens, starts, Place(seed, 0, 1))
    again = masking.hide(tokens, starts, Place(seed, 0, 1))
    assert (shown == again[0]).all() and (asked == again[1]).all()
    special = np.isin(tokens, list(wide_tokenizer.special_ids))
    assert not (asked & special).any() and (shown[~asked] == tokens[~asked]).all()
    assert asked.any() or special.all()
    assert not (set(shown[asked].tolist()) & wide_tokenizer.special_ids) - {wide_tokenizer.mask_id}
    for first, last in itertools.pairwise([*np.flatnonzero(starts), size]):
        unit = asked[first:last][~special[first:last]]
        assert unit.all() or not unit.any()


def test_runs_are_as_long_as_they_are_drawn_and_each_length_is_alike(wide_tokenizer):
    """At a low rate runs seldom touch, so what is seen is what was drawn."""
    masking = Masking(MaskingSettings(mask_rate=0.005, mask_span=3), wide_tokenizer)
    lengths = Counter()
    for index in range(1500):
        asked = masking.hide(row(wide_tokenizer, 400, index), np.ones(400, bool), Place(0, 0, index))[1]
        changes = np.flatnonzero(np.diff(np.concatenate([[0], asked.astype(int), [0]])))
        lengths.update(stop - start for start, stop in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))
    total = sum(lengths[size] for size in (1, 2, 3))
    for size in (1, 2, 3):
        assert lengths[size] / total == pytest.approx(1 / 3, abs=0.05)
    assert total > 0.97 * lengths.total()


def test_a_run_ends_where_a_text_ends(wide_tokenizer):
    tokens = np.array([wide_tokenizer.cls_id, 10, 11, wide_tokenizer.sep_id] * 20)
    masking = Masking(MaskingSettings(mask_rate=0.02, mask_span=10), wide_tokenizer)
    for index in range(200):
        asked = masking.hide(tokens, np.ones(len(tokens), bool), Place(0, 0, index))[1]
        assert len(set(np.flatnonzero(asked) // 4)) == 1


@pytest.mark.parametrize(("spent", "expected"), [(0.0, 0.3), (0.5, 0.225), (1.0, 0.15), (1.7, 0.15)])
def test_the_rate_goes_in_a_straight_line_from_the_first_to_the_last(wide_tokenizer, spent, expected):
    masking = Masking(MaskingSettings(first_mask_rate=0.3), wide_tokenizer)
    assert masking.rate(spent) == pytest.approx(expected)
    asked = [masking.hide(row(wide_tokenizer, 200, index), np.ones(200, bool), Place(0, 0, index, spent))[1].mean() for index in range(200)]
    assert np.mean(asked) == pytest.approx(expected, abs=0.005)


def test_an_evaluation_asks_at_the_last_rate_whenever_it_comes(masked_shards, masked_tokenizer):
    task = MaskedLM(MaskedLMSettings(nsp=False, first_mask_rate=0.6, mask_rate=0.15))
    examples = task.examples(masked_shards, masked_tokenizer, 24, Ledger())
    plain = MaskedLM(MaskedLMSettings(nsp=False, mask_rate=0.15))
    same = plain.examples(masked_shards, masked_tokenizer, 24, Ledger())
    for index in range(len(examples)):
        one, other = task.collate(examples, [Place(0, -1, index)]), plain.collate(same, [Place(0, -1, index)])
        assert one.targets["lm"].at_M.tolist() == other.targets["lm"].at_M.tolist()


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, MIXED], ids=["English", "Chinese", "mixed"])
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_a_word_is_hidden_whole_or_not_at_all_with_every_kind_of_tokenizer(text, kind, tmp_path):
    """Against the words of the text: every token that reaches into a hidden word is hidden."""
    tokenizer = Tokenizer.train([ENGLISH, CHINESE, MIXED], kind, 420, panel="masked")
    shards = write_shards(Corpus([text]), tokenizer, tmp_path / "shards", separator=None, ledger=Ledger(), words=True)
    task = MaskedLM(MaskedLMSettings(nsp=False, mask_units="words", mask_rate=0.3))
    assert task.needs_words
    examples = task.examples(shards, tokenizer, 2048, Ledger())
    document = next(iter(Corpus([text]))).text
    ids, offsets = tokenizer.encode_offsets(document)
    assert shards.tokens.tolist() == ids
    halves = 0
    for epoch in range(30):
        (found,) = task._row(examples, Place(0, epoch, 0))
        asked = found.asked[1:-1]
        assert found.tokens[1:-1].tolist() == ids
        for start, stop in words(document):
            inside = [
                bool(asked[number])
                for number, (a, b) in enumerate(offsets)
                if a < stop and b > start and ids[number] not in tokenizer.special_ids
            ]
            assert all(inside) or not any(inside)
            halves += len(inside) > 1 and any(inside)
    assert halves > 20  # words of several tokens were hidden, or this would prove nothing


@pytest.mark.parametrize(
    "text", ["昨日は図書館で本を読みました。とても面白かったです。", "เมื่อวานฉันไปห้องสมุดเพื่ออ่านหนังสือ"], ids=["Japanese", "Thai"]
)
def test_a_script_without_known_words_is_refused_and_nothing_is_left_behind(text, masked_tokenizer, tmp_path):
    with pytest.raises(DataError) as caught:
        write_shards(Corpus([text]), masked_tokenizer, tmp_path / "shards", separator=None, ledger=Ledger(), words=True)
    assert caught.value.code == "E206" and "mask_units=tokens" in str(caught.value)
    assert not list(tmp_path.iterdir())
    write_shards(Corpus([text]), masked_tokenizer, tmp_path / "shards", separator=None, ledger=Ledger())


def test_a_foreign_name_in_a_long_text_is_put_up_with(masked_tokenizer, tmp_path):
    text = CHINESE * 3 + "さくら"
    assert (
        write_shards(Corpus([text]), masked_tokenizer, tmp_path / "shards", separator=None, ledger=Ledger(), words=True).continues
        is not None
    )


def test_chinese_words_without_a_segmenter_are_refused_and_english_ones_are_not(monkeypatch, masked_tokenizer, tmp_path):
    monkeypatch.setattr("diptych.text.word_pieces.find_spec", lambda name: None)
    with pytest.raises(DataError) as caught:
        write_shards(Corpus([CHINESE]), masked_tokenizer, tmp_path / "zh", separator=None, ledger=Ledger(), words=True)
    assert caught.value.code == "E207" and "rjieba" in str(caught.value)
    write_shards(Corpus([ENGLISH]), masked_tokenizer, tmp_path / "en", separator=None, ledger=Ledger(), words=True)


def test_shards_without_words_cannot_be_asked_for_them(masked_shards):
    with pytest.raises(ValueError, match="without words"):
        masked_shards.word_starts(0, 3)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"mask_units": "syllables"}, "mask_units"),
        ({"mask_span": 0}, "mask_span"),
        ({"first_mask_rate": 1.0}, "first_mask_rate"),
        ({"nsp": True, "sop": True}, "nsp"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, key):
    with pytest.raises(RecipeError) as caught:
        build({"model": {"preset": "bert-tiny"}, "task": {"name": "masked-lm", **settings}})
    assert caught.value.code == "E403" and key in str(caught.value)
