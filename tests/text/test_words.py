"""Words and sentences are places in the text: nothing is lost, nothing overlaps, in English and in Chinese."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.text.words import is_wide, language_of, sentences, word_list, words

mixed = st.text(
    st.sampled_from("ab CZé中文字很好。，！？.…'’-\n\r 12３٣_α粒я🙂。”」(\t") | st.characters(exclude_categories=("Cs",)), max_size=40
)


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize("find", [words, sentences])
@settings(deadline=None)
@given(text=mixed)
def test_places_are_in_order_inside_the_text_and_never_overlap(find: object, text: str) -> None:
    end = 0
    for start, stop in find(text):  # type: ignore[operator]
        assert end <= start < stop <= len(text)
        assert text[start:stop] == text[start:stop].strip()
        end = stop


@settings(deadline=None)
@given(mixed)
def test_every_letter_and_digit_is_in_a_word(text: str) -> None:
    covered = {place for start, end in words(text) for place in range(start, end)}
    letters = {place for place, character in enumerate(text) if re.match(r"[^\W_]", character)}
    assert letters <= covered
    assert all(is_wide(text[place]) or unicodedata.category(text[place])[0] in "LN" or text[place] in "'’-.,×÷" for place in covered)


@settings(deadline=None)
@given(mixed)
def test_every_character_that_can_be_seen_is_in_a_sentence(text: str) -> None:
    covered = {place for start, end in sentences(text) for place in range(start, end)}
    assert {place for place, character in enumerate(text) if not character.isspace()} <= covered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a well-known café, isn't it?", ["It's", "a", "well-known", "café", "isn't", "it"]),
        ("In 2024 it cost 3.14 or 1,000 yuan.", ["In", "2024", "it", "cost", "3.14", "or", "1,000", "yuan"]),
        ("snake_case and __init__", ["snake", "case", "and", "init"]),
        ("我们在北京大学学习机器学习", ["我们", "在", "北京大学", "学习", "机器", "学习"]),
        ("用Python写代码3次", ["用", "Python", "写", "代码", "3", "次"]),
        ("β受体和α粒子", ["β", "受体", "和", "α", "粒子"]),
        ("Привет, мир 안녕", ["Привет", "мир", "안녕"]),
        ("🙂 ，。!", []),
        ("", []),
        ("a\r\nb", ["a", "b"]),
    ],
)
def test_words_are_those_that_people_see(text: str, expected: list[str]) -> None:
    assert cut(text) == expected
    assert word_list(text) == [word.lower() for word in expected]


def test_chinese_words_put_together_are_the_text() -> None:
    text = "话说天下大势分久必合合久必分𠮷野家的𠀀字"
    assert "".join(cut(text)) == text
    assert max(map(len, cut(text))) > 1


def test_without_the_segmenter_every_character_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    assert cut("很好 good") == ["很", "好", "good"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. Smith met Dr. Wu, e.g. at 3.14 p.m. today.", None),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("今天很好。我们走吧！好吗？行……", ["今天很好。", "我们走吧！", "好吗？", "行……"]),
        ("他说：“很好。”然后走了。", ["他说：“很好。”", "然后走了。"]),
        ("中文。English. 混合！", ["中文。", "English.", "混合！"]),
        ("first line\r\nsecond line\n\nthird", ["first line", "second line", "third"]),
        ("  spaces around.  ", ["spaces around."]),
        ("www.example.com is a site.", ["www.example.com is a site."]),
        ("🙂！ 🙃", ["🙂！", "🙃"]),
        ("", []),
        (" \r\n\t", []),
    ],
)
def test_sentences_end_where_people_end_them(text: str, expected: list[str] | None) -> None:
    if expected is None:
        assert split(text)[0].startswith("Mr. Smith met Dr. Wu, e.g. at 3.14 p.m.")
    else:
        assert split(text) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The for statement iterates over the items.", "en"),
        ("今天天气很好，我们去公园散步吧！", "zh"),
        ("這家酒店很乾淨，服務也不錯。", "zh"),
        ("用 Python 写一个小程序", "mixed"),
        ("iPhone15 的价格 is too high", "mixed"),
        ("Привет, как дела?", "other"),
        ("こんにちは、ありがとうございます", "other"),
        ("12345 !?", "other"),
        ("🙂", "other"),
        ("", "other"),
    ],
)
def test_a_language_is_told_by_its_letters(text: str, language: str) -> None:
    assert language_of(text) == language


@settings(deadline=None)
@given(st.text("abc XYZ", min_size=1).filter(lambda text: not text.isspace()), st.text("中文很好，。 ", min_size=1))
def test_a_language_is_not_changed_by_how_often_it_is_said(english: str, chinese: str) -> None:
    assert language_of(english * 3) == "en"
    assert language_of(chinese * 3) == language_of(chinese) == ("zh" if chinese.strip("，。 ") else "other")


@settings(deadline=None)
@given(st.characters())
def test_a_wide_character_is_one_that_unicode_calls_chinese(character: str) -> None:
    name = unicodedata.name(character, "")
    if name.startswith("CJK UNIFIED IDEOGRAPH") and ord(character) < 0x30000:
        assert is_wide(character)
    if character.isascii() or name.startswith(("HIRAGANA", "KATAKANA", "HANGUL", "CYRILLIC", "FULLWIDTH")):
        assert not is_wide(character)
