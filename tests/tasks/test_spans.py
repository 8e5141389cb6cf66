"""Schemes of tags beside seqeval's rules written out, and spans from characters to tokens and back."""

import unicodedata
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.tasks.spans import Span, best_path, encode_places, spans_of_path, spans_of_tags, tag_set, tags_of_spans
from diptych.text.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        # IOB1: a stretch begins with I, and B only parts two of one kind.
        ("I-PER I-PER B-PER I-LOC O", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "LOC")]),
        ("S-PER B-LOC I-LOC E-LOC O", [(0, 1, "PER"), (1, 4, "LOC")]),
        ("B-PER L-PER U-LOC", [(0, 2, "PER"), (2, 3, "LOC")]),
        ("B M E S B E", [(0, 3, "word"), (3, 4, "word"), (4, 6, "word")]),
        ("B_人名 I_人名 O", [(0, 2, "人名")]),
        ("O I-PER I-LOC", [(1, 2, "PER"), (2, 3, "LOC")]),
        ("", []),
    ],
)
def test_every_scheme_gives_the_same_stretches(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert spans_of_tags(tags.split(), "a file") == expected


def test_a_tag_of_no_scheme_is_named_with_its_place() -> None:
    with pytest.raises(DataError) as caught:
        spans_of_tags(["B-PER", "X-PER"], "train.conll, line 7")
    assert caught.value.code == "E141" and "line 7" in str(caught.value) and "X-PER" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=12))
def test_stretches_are_those_of_conlleval(tags: list[str]) -> None:
    """conlleval's own rules: a chunk starts and ends by the tags on both sides."""
    expected, start, kind = [], None, ""
    for number, tag in enumerate([*tags, "O"]):
        place, label = (tag[0], tag[2:]) if tag != "O" else ("O", "")
        ends = start is not None and (place in "OB" or label != kind)
        if ends:
            expected.append((start, number, kind))
            start = None
        if place == "B" or (place == "I" and start is None):
            start, kind = number, label
    assert spans_of_tags(tags, "") == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_the_best_path_is_the_best_of_all_that_are_allowed(length: int, seed: int) -> None:
    tags = tag_set(["A", "B"])
    scores_TC = np.random.default_rng(seed).normal(size=(length, len(tags)))

    def is_allowed(path: tuple[int, ...]) -> bool:
        names = ["O", *(tags[number] for number in path)]
        return all(not now.startswith("I-") or before[2:] == now[2:] for before, now in pairwise(names))

    best = max(filter(is_allowed, product(range(len(tags)), repeat=length)), key=lambda p: sum(scores_TC[i, c] for i, c in enumerate(p)))
    assert tuple(best_path(scores_TC, tags)) == best


def test_spans_go_to_tokens_and_back_in_chinese_emoji_and_combining_marks() -> None:
    text = "王小明🙂 met Zoë in 北京。"
    offsets = [(i, i + 1) for i, character in enumerate(text)]
    spans = [
        Span(0, 3, "PER"),
        Span(text.index("Zoë"), text.index("Zoë") + 3, "PER"),
        Span(text.index("北京"), text.index("北京") + 2, "LOC"),
    ]
    tags = tag_set(["LOC", "PER"])
    gold, torn = tags_of_spans(spans, offsets, {tag: number for number, tag in enumerate(tags)})
    assert torn == 0
    chances = np.eye(len(tags))[gold]
    assert [(text[each.start : each.stop], each.label) for each in spans_of_path(gold, chances, offsets, tags)] == [
        ("王小明", "PER"),
        ("Zoë", "PER"),
        ("北京", "LOC"),
    ]


def test_a_span_whose_border_lies_within_a_token_is_counted() -> None:
    gold, torn = tags_of_spans([Span(1, 3, "A")], [(0, 2), (2, 5)], {"O": 0, "B-A": 1, "I-A": 2})
    assert torn == 1 and gold.tolist() == [1, 2]


TEXTS = ["Le café 🙂 est là.", unicodedata.normalize("NFD", "Le café est là, São Paulo"), "王小明👨‍👩‍👧住在北京", "", "हिन्दी ❤️ ok"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_letters_marks_belong_to_its_token(kind: str) -> None:
    tokenizer = Tokenizer.train(TEXTS * 3, kind, 320, panel="masked")
    for text, (ids, places) in zip(TEXTS, encode_places(TEXTS, tokenizer), strict=True):
        assert len(ids) == len(places)
        assert all(0 <= start <= stop <= len(text) for start, stop in places)
        for start, stop in places:
            assert text[start:stop] == text[start:stop].lstrip()
    words = [TEXTS[1][start:stop] for start, stop in encode_places(TEXTS[1:2], tokenizer)[0][1]]
    whole = "".join(words).replace(" ", "")
    assert unicodedata.normalize("NFD", "café") in whole and unicodedata.normalize("NFD", "São") in whole
