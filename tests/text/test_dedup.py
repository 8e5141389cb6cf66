"""Each document once: equal ones by what people see, nearly equal ones as a brute-force comparison finds them."""

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.ledger import Ledger
from diptych.text.corpus import Document
from diptych.text.dedup import deduplicate

EXACT, NEAR = "documents dropped because they occurred before", "documents dropped because they nearly equal an earlier one"
ENGLISH = [f"{noun}{suffix}" for noun in ("fox", "tree", "river", "stone", "cloud", "bird") for suffix in ("", "s", "y", "less")]
CHINESE = "山水日月风云花鸟鱼虫江河湖海天地人和春夏秋冬东南西北诗书琴棋"


def documents(texts: list[str]) -> list[Document]:
    return [Document(text, f"row {number}") for number, text in enumerate(texts)]


def seen(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a b", "a  b", "b", "中文", "中 文", "e\u0301", "\u00e9", "", " ", "🙂", "🙂\r\n"]), max_size=15))
def test_of_equal_documents_the_first_is_kept_and_the_others_are_counted(texts: list[str]) -> None:
    ledger = Ledger()
    kept = list(deduplicate(documents(texts), ledger))
    first = {seen(text): number for number, text in reversed(list(enumerate(texts)))}
    assert [document.where for document in kept] == [f"row {number}" for number in sorted(first.values())]
    assert [document.text for document in kept] == [texts[number] for number in sorted(first.values())]
    assert ledger.count("duplicates", EXACT) == len(texts) - len(kept)


def shingles(text: str, is_chinese: bool) -> set[str]:
    """Three words in a row, or five characters."""
    units, length = (list(text), 5) if is_chinese else (text.lower().split(), 3)
    return {" ".join(units[start : start + length]) for start in range(len(units) - length + 1)}


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def variants(is_chinese: bool, draw: random.Random) -> list[str]:
    """Texts, and copies of them with a few to many of their words or characters changed."""
    found = []
    for _ in range(12):
        units = draw.choices(CHINESE if is_chinese else ENGLISH, k=300)
        for num_changed in (0, 1, 1, 60, 150):
            copy = list(units)
            for place in draw.sample(range(len(copy)), num_changed):
                copy[place] = "改" if is_chinese else "changed"
            found.append(("" if is_chinese else " ").join(copy))
    draw.shuffle(found)
    return found


@pytest.mark.parametrize("is_chinese", [False, True], ids=["English", "Chinese"])
def test_nearly_equal_documents_are_those_that_brute_force_finds(is_chinese: bool) -> None:
    texts = variants(is_chinese, random.Random(7))
    ledger = Ledger()
    kept = {document.where for document in deduplicate(documents(texts), ledger, near=True, threshold=0.8)}
    earlier: list[set[str]] = []
    clear = 0
    for document in documents(texts):
        mine = shingles(document.text, is_chinese)
        closest = max((jaccard(mine, other) for other in earlier), default=0.0)
        if not 0.65 < closest < 0.93:  # MinHash guesses from 128 hashes; near the border it may be wrong
            clear += 1
            assert (document.where in kept) == (closest <= 0.65), f"{document.where} is {closest:.2f} like an earlier one"
        if document.where in kept:
            earlier.append(mine)
    assert clear == len(texts)
    assert 20 < ledger.count("duplicates", NEAR) + ledger.count("duplicates", EXACT) == len(texts) - len(kept)
    assert ledger.count("duplicates", NEAR) > 10


def test_what_is_alike_but_less_than_was_asked_for_stays() -> None:
    draw = random.Random(3)
    texts = []
    for _ in range(15):
        words = draw.choices(ENGLISH, k=300)
        texts += [" ".join(words), " ".join([*words[:265], *draw.choices(ENGLISH, k=35)])]
    pairs = [jaccard(shingles(one, False), shingles(other, False)) for one, other in zip(texts[::2], texts[1::2], strict=True)]
    assert 0.7 < min(pairs) < max(pairs) < 0.85, "so alike that they are compared"
    assert [document.text for document in deduplicate(documents(texts), Ledger(), near=True, threshold=0.97)] == texts
    assert len(list(deduplicate(documents(texts), Ledger(), near=True, threshold=0.5))) < 20


def test_nearly_equal_documents_stay_where_only_equal_ones_are_dropped() -> None:
    text = " ".join(random.Random(0).choices(ENGLISH, k=300))
    ledger = Ledger()
    assert len(list(deduplicate(documents([text, text + " more"]), ledger))) == 2
    assert len(ledger) == 0


@pytest.mark.parametrize("texts", [["", "a", "b", "a b", "好", "坏", "🙂", "🙃"], ["short text", "another one"]])
def test_short_texts_that_differ_are_not_nearly_equal(texts: list[str]) -> None:
    assert [document.text for document in deduplicate(documents(texts), Ledger(), near=True)] == texts


def test_documents_that_differ_in_case_and_space_alone_are_nearly_equal() -> None:
    text = " ".join(random.Random(0).choices(ENGLISH, k=50))
    ledger = Ledger()
    assert len(list(deduplicate(documents([text, text.upper()]), ledger, near=True))) == 1
    assert ledger.count("duplicates", NEAR) == 1


def test_documents_come_out_as_they_come_in() -> None:
    taken: list[int] = []

    def endless() -> object:
        number = 0
        while True:
            taken.append(number)
            yield Document(f"text {number}", "x")
            number += 1

    for near in (False, True):
        taken.clear()
        assert next(deduplicate(endless(), Ledger(), near=near)).text == "text 0"  # type: ignore[arg-type]
        assert taken == [0]
