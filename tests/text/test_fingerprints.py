"""Fingerprints: a document is found whatever its white space, near ones by as much as they really share, and nothing can be read back."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.text.fingerprints import FILE, RUN, Fingerprints

TEXTS = [
    "",
    "短",
    "The cat sat on the mat 🙂\r\nand slept.",
    "今天天气很好，我们去公园散步吧！",
    *(f"document {n} 第{n}篇" for n in range(50)),
]


def runs(text):
    folded = " ".join(text.lower().split())
    return {folded[start : start + RUN] for start in range(max(1, len(folded) - RUN + 1))}


def shared(one, other):
    return len(runs(one) & runs(other)) / len(runs(one) | runs(other))


def words(count, seed, vocabulary=2000):
    draw = random.Random(seed)
    return [f"{draw.choice('词文字段落')}{draw.randrange(vocabulary)}" for _ in range(count)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=20))
def test_what_was_noted_is_found_exactly(texts):
    found = Fingerprints.of(texts)
    assert all(found.find(text).is_exact for text in texts)
    assert not found.find("a text that hypothesis has not thought of: 好的").is_exact


def test_white_space_and_the_way_of_writing_an_accent_make_no_other_document():
    found = Fingerprints.of(["café  noir\r\n好"])
    assert found.find("cafe\u0301 noir 好").is_exact


@pytest.mark.parametrize("kept", [1.0, 0.95, 0.9, 0.8, 0.6, 0.3])
def test_the_estimate_is_what_the_texts_really_share(kept):
    errors = []
    for seed in range(20):
        one = words(300, seed)
        other = one[: round(kept * 300)] + words(300 - round(kept * 300), 1000 + seed)
        true = shared(" ".join(one), " ".join(other))
        estimate = Fingerprints.of([" ".join(one)]).find(" ".join(other)).similarity
        errors.append(estimate - true)
        # Four standard errors of 64 bins.
        assert abs(estimate - true) <= 4 * np.sqrt(max(true * (1 - true), 0.01) / 64) + 0.02
    assert abs(np.mean(errors)) < 0.04


def test_texts_that_have_nothing_in_common_are_not_near():
    found = Fingerprints.of(" ".join(words(100, seed)) for seed in range(500))
    assert not any(found.find(" ".join(f"other{n}x" for n in range(seed, seed + 100))).is_near for seed in range(20))


def test_the_file_holds_72_bytes_a_document_and_comes_back_as_it_was(tmp_path):
    found = Fingerprints.of(TEXTS)
    found.save(tmp_path)
    again = Fingerprints.load(tmp_path)
    assert again is not None
    np.testing.assert_array_equal(again.prints_N, found.prints_N)
    np.testing.assert_array_equal(again.sketches_NB, found.sketches_NB)
    assert len(again) == len(TEXTS) and (tmp_path / FILE).stat().st_size < 72 * len(TEXTS) + 400
    assert b"cat" not in (tmp_path / FILE).read_bytes()


def test_a_folder_without_any_has_none_and_a_damaged_file_says_so(tmp_path):
    assert Fingerprints.load(tmp_path) is None
    Fingerprints.of(TEXTS).save(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for broken in (whole[:-5], b"", b"x" * 200):
        (tmp_path / FILE).write_bytes(broken)
        with pytest.raises(DataError) as caught:
            Fingerprints.load(tmp_path)
        assert caught.value.code == "E197"
