"""Mistakes in texts: as many as asked for, of the kind asked for, a function of seed and position, and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.evaluation.noise import MISTAKES, disturbed, neighbours
from diptych.text.words import is_wide

TEXT = "The room was clean and the staff friendly. 这家酒店很干净，早餐也不错🙂\r\n" * 40


def can_be_wrong(character: str) -> bool:
    return (character.isascii() and character.isalpha()) or is_wide(character)


@given(st.text(max_size=60), st.sampled_from(list(MISTAKES)), st.integers(0, 3), st.integers(0, 3))
def test_a_text_is_a_function_of_seed_and_position_and_untouched_at_rate_0(text: str, kind: str, seed: int, position: int) -> None:
    assert disturbed(text, kind, 0.0, seed, position) == text
    assert disturbed(text, kind, 0.5, seed, position) == disturbed(text, kind, 0.5, seed, position)


@given(st.text(alphabet="ab 中文，🙂\n1", max_size=60), st.sampled_from(list(MISTAKES)))
def test_what_is_neither_letter_nor_chinese_character_stays(text: str, kind: str) -> None:
    def others(some: str) -> list[str]:
        return sorted(character for character in some if not can_be_wrong(character))

    assert others(disturbed(text, kind, 1.0, 0, 0)) == others(text)
    assert len(disturbed(text, kind, 1.0, 0, 0)) == (len(others(text)) if kind == "dropped" else len(text))


def test_about_as_many_are_wrong_as_were_asked_for() -> None:
    count = sum(map(can_be_wrong, TEXT))
    dropped = disturbed(TEXT, "dropped", 0.1, 0, 0)
    assert len(TEXT) - len(dropped) == pytest.approx(0.1 * count, rel=0.2)
    mistyped = disturbed(TEXT, "mistyped", 0.1, 0, 0)
    assert sum(a != b for a, b in zip(TEXT, mistyped, strict=True)) == pytest.approx(0.1 * count, rel=0.2)


def test_swapping_moves_characters_and_loses_none() -> None:
    swapped = disturbed(TEXT, "swapped", 0.2, 0, 0)
    assert sorted(swapped) == sorted(TEXT) and swapped != TEXT
    moved = [place for place, (a, b) in enumerate(zip(TEXT, swapped, strict=True)) if a != b]
    for place in moved:
        assert swapped[place] in (TEXT[place - 1], TEXT[place + 1]), "no further than one place"
    assert 0.12 * len(TEXT) < len(moved) < 0.4 * len(TEXT)


def test_other_seeds_and_positions_make_other_mistakes() -> None:
    texts = {disturbed(TEXT, "mistyped", 0.1, seed, position) for seed in range(2) for position in range(2)}
    assert len(texts) == 4


def test_a_letter_goes_wrong_by_a_key_beside_it() -> None:
    assert set(neighbours("g")) == set("fhtyvb")
    assert set(neighbours("Q")) == set("WA") and set(neighbours("m")) == set("njk")
    for letter in "abcdefghijklmnopqrstuvwxyz":
        assert all(letter in neighbours(other) for other in neighbours(letter)), letter


@pytest.mark.parametrize(
    ("character", "sound"),
    [
        ("是", "士世柿事拭誓逝势是嗜噬适仕侍释饰氏市恃室视试"),
        ("做", "昨左佐柞做作坐座"),
        ("城", "称城橙成呈乘程惩澄诚承逞骋秤"),
        ("马", "妈麻玛码蚂马骂嘛吗"),
    ],
)
def test_a_chinese_character_goes_wrong_by_one_that_sounds_alike(character: str, sound: str) -> None:
    assert neighbours(character) and set(neighbours(character)) <= set(sound)


def test_traditional_characters_and_other_scripts_have_no_neighbours() -> None:
    assert neighbours("龍") == neighbours("б") == neighbours("1") == neighbours("🙂") == ""
