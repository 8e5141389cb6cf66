"""Labelled tables: guesses in both languages, duplicates and contradictions counted, splits that are fair and stay."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.labels import label_name
from diptych.tasks.tables import LabelledRow, digest, drop_duplicates, read_labelled, split_rows


def row(text, label, number=0, group=None):
    return LabelledRow((text,), label, f"row {number}", group)


def rows_of(count, labels=("a", "b"), group=None):
    return [
        row(f"text {number} 文 🙂", labels[number % len(labels)], number, None if group is None else group(number))
        for number in range(count)
    ]


def texts_of(rows):
    return [each.texts for each in rows]


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        (("id", "Review", "Stars"), "Review", "Stars"),
        (("label", "sentence"), "sentence", "label"),
        (("编号", "评论", "情感"), "评论", "情感"),
        (("类别", "内容"), "内容", "类别"),
        (("number", "what was said", "mood"), "what was said", "mood"),
        (("序号", "客户说的话", "结果"), "客户说的话", "结果"),
    ],
)
def test_the_columns_are_guessed_from_their_names_or_their_values(header, text, label):
    values = {text: "这家酒店很干净, and the breakfast was good; room {}", label: "{}"}
    table = [
        {name: values.get(name, "{}").format(number if name != label else ("good", "bad", "差")[number % 3]) for name in header}
        for number in range(12)
    ]
    rows, columns = read_labelled(table, Ledger())
    assert (columns.text, columns.label, columns.pair) == (text, label, None)
    assert rows[1].label == "bad" and rows[1].texts[0].startswith("这家酒店")


def test_a_named_column_goes_before_a_guess():
    table = [{"text": f"one {n}", "notes": f"other {n}", "label": str(n % 2), "tone": "warm"} for n in range(6)]
    rows, columns = read_labelled(table, Ledger(), text="notes", label="tone")
    assert (columns.text, columns.label) == ("notes", "tone")
    assert rows[3].texts == ("other 3",) and rows[3].label == "warm"


def test_a_second_text_column_makes_pairs():
    table = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": str(n % 2)} for n in range(6)]
    rows, columns = read_labelled(table, Ledger(), text="sentence1")
    assert columns.pair == "sentence2"
    assert rows[2].texts == ("a 2", "b 2")


def test_a_csv_with_crlf_quotes_and_an_emoji_is_read(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes('评论,情感\r\n"很好，\r\n真的 🙂",pos\r\n"He said ""no""",neg\r\n'.encode("utf-8-sig"))
    rows, columns = read_labelled(path, Ledger())
    assert (columns.text, columns.label) == ("评论", "情感")
    assert [each.label for each in rows] == ["pos", "neg"]
    assert rows[0].texts[0].replace("\r", "") == "很好，\n真的 🙂" and rows[1].texts[0] == 'He said "no"'


@pytest.mark.parametrize(
    ("table", "named", "code", "word"),
    [
        ([], {}, "E132", "no rows"),
        ([{"text": "a", "label": "x"}], {"label": "lable"}, "E133", "label"),
        ([{"text": "a", "label": "x"}], {"text": "评论"}, "E133", "评论"),
        ([{"text": "a", "label": "x"}], {"group": "customer"}, "E133", "customer"),
        ([{"text": f"word {n}", "date": f"day {n}"} for n in range(9)], {}, "E134", "label"),
        ([{"score": n, "label": n % 2} for n in range(9)], {}, "E134", "text"),
    ],
)
def test_a_table_that_cannot_be_used_says_why_and_what_to_do(table, named, code, word):
    with pytest.raises(DataError) as caught:
        read_labelled(table, Ledger(), **named)
    assert caught.value.code == code
    assert word in str(caught.value)


@pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
def test_an_empty_label_is_an_error_with_its_row_or_dropped_and_counted(empty):
    table = [{"text": "a", "label": "x"}, {"text": "b", "label": empty}, {"text": "c", "label": "y"}]
    with pytest.raises(DataError) as caught:
        read_labelled(table, Ledger())
    assert caught.value.code == "E121" and "row 2" in str(caught.value) and "1 of 3" in str(caught.value)
    ledger = Ledger()
    rows, _columns = read_labelled(table, ledger, empty_labels="drop")
    assert [each.label for each in rows] == ["x", "y"]
    assert ledger.count("table", "rows without a label, dropped") == 1


def test_rows_without_a_text_are_dropped_and_counted():
    ledger = Ledger()
    rows, _columns = read_labelled([("a", "x"), ("", "y"), (" \r\n", "x"), (None, "y")], ledger)
    assert texts_of(rows) == [("a",)]
    assert ledger.count("table", "rows without a text, dropped") == 3
    assert ledger.count("table", "rows read") == 4


@pytest.mark.parametrize(
    ("value", "name"), [(1, "1"), (1.0, "1"), ("1", "1"), (0, "0"), (True, "True"), (2.5, "2.5"), (" 好 ", "好"), (None, None), ("", None)]
)
def test_one_label_has_one_name(value, name):
    assert label_name(value) == name
    assert label_name(np.float64("nan")) is None


def test_a_repeated_text_is_dropped_and_a_contradictory_one_altogether():
    table = [row("good", "pos", 1), row("fine", "pos", 2), row("good ", "pos", 3), row("fine", "neg", 4), row("bad", "neg", 5)]
    ledger = Ledger()
    kept = drop_duplicates(table, ledger)
    assert [each.where for each in kept] == ["row 1", "row 5"]
    assert ledger.count("table", "rows dropped because the text occurred before") == 1
    assert ledger.count("table", "rows dropped because the same text has several labels") == 2
    assert ledger.count("table", "texts with several labels") == 1


def test_pairs_are_the_same_only_when_both_texts_are():
    pairs = [LabelledRow(("a", "b"), "x", ""), LabelledRow(("a b", ""), "y", ""), LabelledRow(("a", "c"), "x", "")]
    assert len(drop_duplicates(pairs, Ledger())) == 3
    again = [LabelledRow(("a", "b"), "x", ""), LabelledRow(("a ", "\tb\r\n"), "x", "")]
    assert len(drop_duplicates(again, Ledger())) == 1


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 120), kinds=st.integers(1, 4), share=st.floats(0.05, 0.5), seed=st.integers(0, 9))
def test_a_split_loses_nothing_and_doubles_nothing(count, kinds, share, seed):
    rows = rows_of(count, "abcd"[:kinds])
    rest, held = split_rows(rows, share, seed, "test")
    assert Counter(texts_of(rest)) + Counter(texts_of(held)) == Counter(texts_of(rows))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25])
def test_each_label_is_held_out_in_its_proportion(share):
    rows = rows_of(400, ("a", "a", "a", "b", "差"))
    _rest, held = split_rows(rows, share, 0, "test")
    whole, part = Counter(each.label for each in rows), Counter(each.label for each in held)
    for label, count in whole.items():
        assert abs(part[label] - share * count) <= 0.5


@pytest.mark.parametrize("seed", range(5))
def test_a_group_lies_on_one_side(seed):
    rows = rows_of(200, ("a", "b", "c"), group=lambda number: f"customer {number // 7}")
    rest, held = split_rows(rows, 0.2, seed, "test")
    assert rest and held
    assert not {each.group for each in rest} & {each.group for each in held}


@pytest.mark.parametrize("seed", range(5))
def test_a_text_lies_on_one_side_though_it_occurs_twice_with_two_labels(seed):
    rows = [row(f"text {number // 2}", ("a", "b", "c")[number % 3], number) for number in range(300)]
    rest, held = split_rows(rows, 0.2, seed, "test")
    assert rest and held
    assert not set(texts_of(rest)) & set(texts_of(held))


def test_the_order_of_the_rows_does_not_decide_their_side():
    rows = rows_of(100)
    shuffled = [rows[number] for number in np.random.default_rng(0).permutation(100)]
    assert set(texts_of(split_rows(rows, 0.2, 0, "test")[1])) == set(texts_of(split_rows(shuffled, 0.2, 0, "test")[1]))


def test_the_split_is_another_for_another_seed_or_purpose():
    rows = rows_of(100)
    found = {frozenset(texts_of(split_rows(rows, 0.2, seed, purpose)[1])) for seed in (0, 1) for purpose in ("test", "dev")}
    assert len(found) == 4


@settings(max_examples=30, deadline=None)
@given(count=st.integers(40, 150), more=st.integers(1, 15), seed=st.integers(0, 5))
def test_when_rows_are_added_hardly_one_changes_its_side(count, more, seed):
    """A new row takes the place of one held-out row at most; a shuffle would move most of them."""
    rows = rows_of(count + more)
    before, after = (set(texts_of(split_rows(part, 0.2, seed, "test")[1])) for part in (rows[:count], rows))
    old = set(texts_of(rows[:count]))
    assert len(before - after) <= more
    assert len((after & old) - before) <= 0.2 * more + 2


def test_rows_of_another_label_move_nothing():
    rows = rows_of(100)
    more = [row(f"new {number}", "c", number) for number in range(50)]
    before = set(texts_of(split_rows(rows, 0.2, 0, "test")[1]))
    assert before < set(texts_of(split_rows(rows + more, 0.2, 0, "test")[1]))


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "a"], ["a", "a", "a", "a", "a", "a", "a", "b"]])
def test_so_few_rows_are_all_trained_on(labels):
    rows = [row(f"text {number}", label, number) for number, label in enumerate(labels)]
    assert split_rows(rows, 0.2, 0, "test") == (rows, [])


def test_a_digest_tells_rows_apart():
    rows = rows_of(5)
    found = {digest(rows), digest(rows[:4]), digest(rows[::-1]), digest([row("text 0 文 🙂", "b"), *rows[1:]])}
    assert len(found) == 4
    assert digest(rows) == digest(rows_of(5))
