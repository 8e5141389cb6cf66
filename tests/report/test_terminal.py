"""Tables on a terminal, where a Chinese character takes two columns."""

import unicodedata

import pytest

from diptych.evaluation.intervals import Score, Scores
from diptych.report.terminal import print_table, width


def columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(character) in ("W", "F")) for character in text)


def test_a_chinese_character_and_an_emoji_take_two_columns() -> None:
    assert width("abc") == 3 and width("汉字") == 4 and width("好a，🙂") == 7 and width("") == 0


def test_columns_line_up_under_chinese_names(capsys: pytest.CaptureFixture) -> None:
    scores = Scores([Score("accuracy", 0.9, 0.85, 0.95, 20), Score("MCC", -0.5, -1.0, 0.0, 20)])
    print_table([("微调的模型", scores), ("TF-IDF", scores), ("x", Scores([scores["accuracy"]]))])
    head, *lines = capsys.readouterr().out.splitlines()
    starts = {columns(line[: line.index("0.900")]) for line in lines}
    assert starts == {columns(head[: head.index("accuracy")])} == {columns("微调的模型") + 2}
    assert lines[2].endswith("–")
    assert "[-1.000, 0.000]" in lines[0]


def test_nothing_is_printed_where_there_is_nothing_to_show(capsys: pytest.CaptureFixture) -> None:
    print_table([])
    print_table([("model", Scores())])
    assert capsys.readouterr().out == ""


def test_more_scores_than_a_line_holds_stand_one_below_the_other(capsys: pytest.CaptureFixture) -> None:
    scores = Scores([Score(f"score {number}", 0.9, 0.8, 1.0, 20) for number in range(6)])
    print_table([("微调的模型", scores), ("TF-IDF", scores)])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["微调的模型", "TF-IDF"]
    assert [line.split("  ")[0] for line in lines] == list(scores)
