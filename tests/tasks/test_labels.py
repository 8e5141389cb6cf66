"""What a label column holds: the guess, the cells, and what is refused, in both languages."""

import pandas as pd
import pytest

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.tasks.labels import classes_of, guess_kind, kind_of, label_of, shown
from diptych.tasks.tables import read_labelled, split_rows


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["good", "bad", "good"], "single"),
        ([1, 0, 1], "single"),
        ([1, 2, 3, 4, 5] * 4, "single"),
        ([1.0, 2.5], "single"),
        ([True, False], "single"),
        ([["a"], [], ["a", "b"]], "several"),
        (['["价格", "质量"]', "[]", '["质量"]'], "several"),
        (["['a', 'b']", "['a']"], "several"),
        (["a|b", "b|c", "a|c", "a", "b", "c", "a|b|c"], "several"),
        (["价格；质量", "质量；物流", "物流", "价格", "质量", "价格；物流"], "several"),
        (["价格、质量", "质量、物流", "物流", "价格", "质量", "价格、物流"], "several"),
        (["Books", "Sports, outdoors", "Books", "Toys, games"] * 5, "single"),
        ([number / 4 for number in range(21)], "graded"),
        (["0.2", "3.75", "5.000", "1.1", "2.2", "3.3", "4.4", "0.6", "0.7", "0.8", "0.9", "1.0"], "graded"),
        ([], "single"),
        ([None, "", float("nan")], "single"),
    ],
)
def test_the_kind_is_guessed_from_the_cells(values, kind):
    assert guess_kind(values)[0] == kind


def test_cells_are_read_as_their_kind_says():
    assert label_of("b| a |b", "several", "|", "row 1") == ("b", "a")
    assert label_of(["b", "a"], "several", None, "row 1") == ("b", "a")
    assert label_of("", "several", "|", "row 1") == label_of([], "several", None, "row 1") == ()
    assert label_of(None, "several", "|", "row 1") is None and label_of("", "single", None, "row 1") is None
    assert label_of("3.50", "graded", None, "row 1") == label_of(3.5, "graded", None, "row 1") == 3.5
    assert label_of(pd.NA, "graded", None, "row 1") is None
    assert [shown(label) for label in (("a", "价格"), (), 3.5, "好", None)] == ["a, 价格", "–", "3.5", "好", ""]


@pytest.mark.parametrize("value", ["很好", "nan", "inf", "3,5"])
def test_a_grade_that_is_no_number_is_refused_with_its_row(value):
    with pytest.raises(DataError) as caught:
        label_of(value, "graded", None, "grades.csv, line 7")
    assert caught.value.code == "E122" and "grades.csv, line 7" in str(caught.value) and value in str(caught.value)


def test_classes_follow_from_the_kind():
    assert classes_of([("b", "a"), (), ("质量",)], "several") == ("a", "b", "质量")
    assert classes_of([0.5, 3.0], "graded") == ("score",)
    assert kind_of([None, ("a",)]) == "several" and kind_of([1.0]) == "graded" and kind_of(["1.0"]) == "single"
    for labels, kind in (([("a",), ("a",)], "several"), ([(), ()], "several"), ([1.0, 1.0], "graded"), (["a", "a"], "single")):
        with pytest.raises(DataError) as caught:
            classes_of(labels, kind)
        assert caught.value.code == "E131"
    assert classes_of([("a",), ()], "several") == ("a",), "one label that applies or does not is something to tell"


def test_a_table_of_several_labels_is_read_split_and_counted(tmp_path):
    path = tmp_path / "topics.csv"
    cells = ["价格|质量", "质量", "", "物流|价格", "物流"]
    path.write_text("正文,标签\n" + "".join(f"第{number}条评论 🙂,{cells[number % 5]}\n" for number in range(50)), encoding="utf-8")
    ledger = Ledger()
    rows, columns = read_labelled(path, ledger)
    assert columns.kind == "several" and (columns.text, columns.label) == ("正文", "标签")
    assert rows[0].label == ("价格", "质量") and rows[2].label == () and rows[0].stratum is None
    assert ledger.count("table", "rows to which no label applies") == 10
    kept, held = split_rows(rows, 0.2, 0, "test")
    assert len(held) == 10 and len(kept) == 40
    named, columns = read_labelled(path, Ledger(), kind="single", empty_labels="drop")
    assert columns.kind == "single" and named[0].label == "价格|质量"


def test_a_named_kind_is_taken_over_the_guess():
    rows, columns = read_labelled([("a", 1), ("b", 2), ("c", 5)], Ledger(), kind="graded")
    assert columns.kind == "graded" and [row.label for row in rows] == [1.0, 2.0, 5.0]
