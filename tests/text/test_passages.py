"""Passages: nothing but white space is lost, none is too long, and each says where it begins."""

from hypothesis import given
from hypothesis import strategies as st

from diptych.text.passages import passages
from diptych.text.words import is_wide

LINES = st.lists(st.text(st.sampled_from("ab .。！公园花🙂\t"), max_size=60), max_size=12)


def weight(text: str) -> int:
    return sum(4 if is_wide(character) else 1 for character in text)


@given(LINES, st.integers(8, 40))
def test_nothing_is_lost_and_none_is_too_long(lines: list[str], limit: int) -> None:
    found = list(passages((line + "\n" for line in lines), limit))
    assert "".join("".join(text for _line, text in found).split()) == "".join("".join(lines).split())
    assert all(text.strip() and sum(weight(part) for part in text.split("\n")) <= limit for _line, text in found)
    numbers = [line for line, _text in found]
    assert numbers == sorted(numbers)
    for number, text in found:
        assert text.split("\n")[0] in lines[number - 1]


def test_paragraphs_and_sentences_are_kept_together(both_languages: list[str]) -> None:
    lines = ["First paragraph, rather short.\n", "\n", "公园里有很多花。今天天气很好！\n", "\n", "One. " + "Two is a longer sentence. " * 3]
    found = list(passages(lines, 48))
    assert found[0] == (1, "First paragraph, rather short.") and found[1] == (3, "公园里有很多花。") and found[2] == (3, "今天天气很好！")
    assert found[3] == (5, "One. Two is a longer sentence.") and len(found) == 6
    assert list(passages([])) == [] and list(passages(both_languages))
