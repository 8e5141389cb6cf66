"""Mentions are found where a person would find them, and exchanging them there and back is the text again."""

import pytest

from diptych.text.people import AXES, TABLES, Table, tables_of


def table(axis: str, tongue: str) -> Table:
    return next(each for each in TABLES if (each.axis, each.tongue) == (axis, tongue))


@pytest.mark.parametrize(
    ("text", "female"),
    [
        ("He lost his keys. They were HIS, said Mr Li to him.", "She lost her keys. They were HERS, said Ms Li to her."),
        ("The sheriff saw that this theme was theirs.", "The sheriff saw that this theme was theirs."),
        ("My brother saw himself; I gave it to him and left.", "My sister saw herself; I gave it to her and left."),
        ("他和爸爸去了其他地方，他妈的！吉他是他们的。🙂\r\n", "她和妈妈去了其他地方，他妈的！吉他是她们的。🙂\r\n"),
        ("这位先生说，男孩子都很好", "这位女士说，女孩子都很好"),
        ("", ""),
    ],
)
def test_a_text_about_men_becomes_one_about_women(text: str, female: str) -> None:
    tongue = "en" if text.isascii() else "zh"
    assert table("gender", tongue).about(text, 1) == female


def test_her_is_a_person_or_goes_before_a_noun() -> None:
    gender = table("gender", "en")
    assert gender.about("I saw her and her dog, I told her that it is hers.", 0) == "I saw him and his dog, I told him that it is his."


def test_a_text_that_mentions_both_is_about_no_one_group() -> None:
    gender = table("gender", "zh")
    assert gender.only_group("他来了") == 0 and gender.only_group("她来了") == 1
    assert gender.only_group("他和她来了") is None and gender.only_group("其他人来了") is None


def test_names_count_only_as_names_are_written() -> None:
    names = table("names of men and women", "en")
    assert not names.mentions("they mark and john the paper") and len(names.mentions("Mary met Susan")) == 2
    assert names.about("Mary met Susan", 0) == "James met Jessica".replace("Jessica", "William")


@pytest.mark.parametrize("each", TABLES, ids=lambda each: f"{each.axis} {each.tongue}")
def test_every_word_of_a_table_is_found_as_itself_and_every_carrier_is_about_its_group(each: Table) -> None:
    assert len({len(row) for row in each.rows}) == 1 == len({len(each.groups), len(each.rows[0])})
    for row in each.rows:
        for group, word in enumerate(row):
            text = f"Here {word} is." if each.tongue == "en" else f"看{word}在这里"
            (mention,) = each.mentions(text)
            assert text[mention.start : mention.stop] == word and mention.group == group
    for number in range(2 * len(each.carried)):
        _row, beginnings = each.carried_by(number)
        assert [each.only_group(beginning) for beginning in beginnings] == list(range(len(each.groups)))
    if each.is_sample:
        assert len(each.rows) >= 8  # fewer would never be enough to claim anything


def test_axes_name_every_table() -> None:
    assert list(tables_of(tuple(AXES))) and {each for few in AXES.values() for each in few} == set(TABLES)
    assert all(each.tongue == "zh" for each in tables_of(("gender", "regions"), ("zh",)))
