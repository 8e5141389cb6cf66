"""Cleaning: one way to write each character and nothing that nobody sees; what carries meaning stays, what goes is counted."""

import itertools
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diptych.ledger import Ledger
from diptych.text.clean import Cleaning, clean, clean_text
from diptych.text.corpus import Document

NOTHING = Cleaning(normalize=None, control=False, zero_width=False, white_space=False, repeated_lines=0)
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "❤️‍🔥", "🧑🏽‍🚀", "👁️‍🗨️", "🙂", "🇨🇳", "1️⃣"]
JOINED = ["می‌خواهم", "क्‍ष", "ක්‍ෂ"]
awkward = st.text(
    st.sampled_from("a e中文，　 \t\n\r\x0b\x0c\x00\x85\u2028\u00a0\u200b\u200c\u200d\u2060\ufeff\u00ad\u0301\u0308ﬁＡ①Å한🙂❤️❤️〈〉ক‍é")
    | st.characters(exclude_categories=("Cs",)),
    max_size=30,
)
cleanings = st.builds(
    Cleaning,
    normalize=st.sampled_from([None, "NFC", "NFKC"]),
    control=st.booleans(),
    zero_width=st.booleans(),
    white_space=st.booleans(),
    repeated_lines=st.integers(0, 3),
)


def cleaned(text: str, cleaning: Cleaning | None = None) -> str:
    return clean_text(text, cleaning or Cleaning(), Ledger())


@settings(deadline=None)
@given(awkward, cleanings)
@example("e\u200b\u0301", Cleaning())
@example("\u2329\u200d", Cleaning())
@example("\u212b\u00ad\u0301\r\r\n\n\n", Cleaning(normalize="NFKC"))
def test_a_text_that_is_clean_stays_as_it_is(text: str, cleaning: Cleaning) -> None:
    once = cleaned(text, cleaning)
    ledger = Ledger()
    assert clean_text(once, cleaning, ledger) == once
    assert len(ledger) == 0, "and nothing is counted"


@settings(deadline=None)
@given(awkward)
def test_nothing_is_done_where_nothing_is_asked_for(text: str) -> None:
    ledger = Ledger()
    assert clean_text(text, NOTHING, ledger) == text
    assert len(ledger) == 0


@settings(deadline=None)
@given(awkward, st.sampled_from(["NFC", "NFKC"]))
def test_every_character_is_written_one_way(text: str, form: str) -> None:
    assert unicodedata.is_normalized(form, cleaned(text, Cleaning(normalize=form)))  # type: ignore[arg-type]


@settings(deadline=None)
@given(awkward)
def test_no_control_character_is_left_but_tabs_and_line_feeds(text: str) -> None:
    assert not [character for character in cleaned(text) if unicodedata.category(character) == "Cc" and character not in "\t\n"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("Ａ，ﬁ①", "Ａ，ﬁ①"),
        ("한국", "한국"),
        ("a\x00b\x07c", "abc"),
        ("one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"),
        ("a page\x0canother page", "a page\nanother page"),
        ("a\u2028b\u0085c\x0bd", "a\nb\nc\nd"),
        ("tab\tstays", "tab\tstays"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
        ("right\u202eto\u202cleft", "righttoleft"),
        ("a\u200db 中\u200d文", "ab 中文"),
        ("ends   \n\t \nhere  ", "ends\n\nhere"),
        ("one\n\n\n\n\ntwo", "one\n\ntwo"),
        ("odd\u00a0space\u2009here", "odd space here"),
        ("中文　全角空格。", "中文　全角空格。"),
        ("if x:\n    y = 1\n\treturn", "if x:\n    y = 1\n\treturn"),
        ("a  b   c", "a  b   c"),
        ("", ""),
        (" \n\t\r\n ", ""),
    ],
)
def test_what_goes_and_what_stays(before: str, after: str) -> None:
    assert cleaned(before) == after


@pytest.mark.parametrize("text", [*EMOJI, *JOINED])
def test_emoji_and_scripts_that_join_keep_their_joiners(text: str) -> None:
    assert cleaned(f"before {text} after 中文{text}。") == f"before {text} after 中文{text}。"


def test_compatibility_forms_become_plain_ones_only_when_asked_for() -> None:
    assert cleaned("ＡＢＣ，ﬁ①㎏", Cleaning(normalize="NFKC")) == "ABC,fi1kg"


@pytest.mark.parametrize("most", [1, 2, 3])
@settings(deadline=None)
@given(lines=st.lists(st.sampled_from(["=====", "版权所有", "a", ""]), max_size=15))
def test_a_line_comes_at_most_so_often_in_a_row(most: int, lines: list[str]) -> None:
    ledger = Ledger()
    cleaning = Cleaning(normalize=None, control=False, zero_width=False, white_space=False, repeated_lines=most)
    runs = [(line, len(list(run))) for line, run in itertools.groupby(lines)]
    expected = [line for line, length in runs for _ in range(length if not line else min(length, most))]
    assert clean_text("\n".join(lines), cleaning, ledger) == "\n".join(expected)
    assert ledger.count("cleaning", "repeated lines dropped") == len(lines) - len(expected)


def test_what_is_dropped_is_counted_with_its_place() -> None:
    ledger = Ledger()
    clean_text("e\u0301\x00\x01 a\u200b\u200db\nx\nx\nx\nx\nx", Cleaning(), ledger, "a.txt")
    assert {what: (entry.count, entry.examples) for _stage, what, entry in ledger} == {
        "documents with characters written another way, normalized": (1, ["a.txt"]),
        "control characters dropped": (2, ["a.txt"]),
        "characters without a width dropped": (2, ["a.txt"]),
        "repeated lines dropped": (2, ["a.txt"]),
    }


def test_a_long_run_of_spaces_is_no_trap() -> None:
    # With a pattern that looks for spaces before the end of a line, this takes hours.
    text = "a" + " " * 400_000 + "b\n" + "c" + "\t" * 400_000
    assert cleaned(text) == "a" + " " * 400_000 + "b\nc"


def test_documents_that_are_empty_or_too_short_are_dropped_and_counted() -> None:
    rows = ["", " \r\n\u3000", "\u200b", "好", "ab", "long enough 🙂"]
    documents = [Document(text, f"row {number}", {"id": number}) for number, text in enumerate(rows)]
    ledger = Ledger()
    assert [document.text for document in clean(documents, Cleaning(), ledger)] == ["好", "ab", "long enough 🙂"]
    assert ledger.count("cleaning", "documents dropped because they are empty or too short") == 3
    kept = list(clean(documents, Cleaning(min_chars=3), Ledger()))
    assert [(document.text, document.where, document.fields) for document in kept] == [("long enough 🙂", "row 5", {"id": 5})]


def test_documents_are_cleaned_as_a_stream() -> None:
    seen: list[int] = []

    def endless() -> itertools.count:  # type: ignore[type-arg]
        for number in itertools.count():
            seen.append(number)
            yield Document(f"text {number}\r\n", "x")

    assert next(clean(endless(), Cleaning(), Ledger())).text == "text 0"
    assert seen == [0]


def test_the_one_look_finds_every_character_that_some_pattern_looks_for() -> None:
    """A text that it passes by is not looked at again; a joiner that may stay is the one thing that it finds for nothing."""
    from diptych.text import clean as module

    patterns = [module._BREAKS, module._CONTROL, module._ZERO_WIDTH, module._LOOSE_JOINER, module._WIDE_SPACES]
    found = {chr(number) for number in range(0x110000) if any(pattern.search(chr(number)) for pattern in patterns)}
    assert found == {chr(number) for number in range(0x110000) if module._ODD.search(chr(number))}
