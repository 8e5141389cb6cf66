"""`data check`: every defect is planted once, and found where it was planted; clean data in both languages is left alone."""

import json
from pathlib import Path

import pytest

import diptych as dt
from diptych.ledger import Ledger


def counts(ledger: Ledger) -> dict[str, int]:
    return {what: entry.count for _stage, what, entry in ledger if entry.count}


CLEAN = [
    (f"第{number}条评论，很不错 🙂" if number % 2 else f'review number {number}, "fine"', "正" if number % 3 else "负")
    for number in range(30)
]


def test_clean_data_in_both_languages_is_left_alone() -> None:
    assert counts(dt.check_data(CLEAN)) == {"rows read": 30}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("a text", "-")], "labels that look like a missing one, such as “-”"),
        ([("a text", None)], "rows without a label"),
        ([("", "正")], "empty texts"),
        ([("one text", "正"), ("One  text", "负")], "texts that have another label elsewhere"),
        ([("one text", "正"), ("one text", "正")], "texts that occur more than once"),
        ([("bell \x07", "正")], "texts with control characters"),
        ([("turned \u202e text", "正")], "texts with characters that turn the direction of writing"),
        ([("שלום עולם", "正")], "texts that run from right to left"),
        ([("lost \ufffd here", "正")], "texts with characters that were lost in decoding"),
        ([('he said "no', "正")], "texts with quotes that are not closed or doubled: read by another rule than they were written"),
        ([("a", "1"), ("b", "1")], "classes that are numbers among classes that are words, or the reverse"),
        ([("a", "Ｓpam"), ("b", "spam"), ("c", "Spam")], "classes that differ in capitals or width alone"),
        ([("a", "稀有")], "classes with one example only"),
    ],
)
def test_a_planted_defect_is_found(rows: list, found: str) -> None:
    ledger = dt.check_data([*CLEAN, *rows])
    assert counts(ledger).get(found, 0) >= 1
    assert any(entry.examples for _stage, what, entry in ledger if what == found)


def test_a_line_that_was_broken_in_two_is_found_without_a_usual_ending(tmp_path: Path) -> None:
    path = tmp_path / "Collection"
    lines = [f"{'ham' if number % 2 else 'spam'}\tmessage {number} 你好" for number in range(40)]
    lines[20] = "ham\ta message that\ngoes on"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = counts(dt.check_data(path))
    assert found["rows with too many or too few cells"] == 1 and found["rows read"] == 41


def test_a_label_before_the_first_space_and_bytes_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "subj.all"
    path.write_bytes(b"".join(b"%d a sentence %d\n" % (number % 2, number) for number in range(300)) + "1 caf\u00e9\n".encode("latin-1"))
    found = counts(dt.check_data(path))
    assert found["rows read"] == 301 and found["texts with characters that were lost in decoding"] == 1
    assert "empty texts" not in found


def test_leaks_and_lengths(tmp_path: Path) -> None:
    model = dt.pretrain(
        "bert-tiny",
        ["some words 你好"] * 8,
        sizes={"hidden_size": 16, "num_layers": 1, "head_size": 8, "context_length": 16},
        tokenizer={"vocab_size": 120},
        steps=1,
        precision="float32",
    )
    model.save(tmp_path / "bert")
    test = [("第1条评论，很不错 🙂", "正"), ("quite another", "负"), ("第二个", "正")]
    ledger = dt.check_data([*CLEAN, ("long " * 30, "正")], test=test, base=tmp_path / "bert")
    assert ledger.count("test", "texts of the test that lie in the training as well: the scores will flatter") == 1
    assert ledger.count("text", "texts longer than the model's context") >= 1


def test_tags_that_break_their_scheme_are_found_and_do_not_stop_the_check(tmp_path: Path) -> None:
    path = tmp_path / "ner.conll"
    good = "".join(f"在 O\n北{n} B-LOC\n京 I-LOC\n\n" for n in range(20))
    path.write_text(good + "他 O\n京 I-LOC\n\n坏 X?-LOC\n\nx O extra\n\n", encoding="utf-8")
    found = counts(dt.check_data(path, "ner"))
    assert found["tags that go on with what did not begin: right in IOB1 alone"] == 1
    assert found["tags of no known scheme"] == 1 and found["lines with more or fewer columns than the others"] == 1


def test_spans_that_do_not_lie_where_the_data_says(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    rows = [{"text": f"我在北京{n}", "spans": [{"start": 2, "end": 4, "label": "LOC", "text": "北京"}]} for n in range(10)]
    rows += [{"text": "Anna lives here", "spans": [{"start": 1, "end": 5, "label": "PER", "text": "Anna"}]}]
    rows += [{"text": "我在北京0", "spans": []}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = counts(dt.check_data(path, "tagging"))
    assert found["spans that do not lie where the data says, dropped"] == 1
    assert found["texts that are marked in another way elsewhere"] == 1


def test_what_is_refused(tmp_path: Path) -> None:
    for call, code in (
        (lambda: dt.check_data(CLEAN, "causal-lm"), "E123"),
        (lambda: dt.check_data(CLEAN, "nonsense"), "E406"),
        (lambda: dt.check_data([]), "E132"),
        (lambda: dt.check_data(tmp_path / "nowhere.csv"), "E101"),
        (lambda: dt.check_data(CLEAN, label="stars"), "E133"),
    ):
        with pytest.raises(dt.DiptychError) as caught:
            call()
        assert caught.value.code == code
