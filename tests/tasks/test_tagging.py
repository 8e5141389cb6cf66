"""Tagging from files of every format to stretches in the original text."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.errors import DataError
from diptych.evaluation.judges import judge_of
from diptych.finetuning import read_parts
from diptych.ledger import Ledger
from diptych.presets import create
from diptych.recipe import build
from diptych.tasks.spans import Span
from diptych.tasks.tagged_texts import TaggedRow, join_tokens, read_tagged
from diptych.tasks.tagging import Tagged, Tagging, TaggingSettings
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer

TEXTS = ["Anna lives in New York 🙂.", "王小明住在北京市。", "", "Bob 和 李雷 in Paris"]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, **options) -> tuple[list[TaggedRow], Ledger]:
    ledger = Ledger()
    return read_tagged(str(path), ledger, **options)[0], ledger


def marked(row: TaggedRow) -> list[tuple[str, str]]:
    return [(row.texts[0][span.start : span.stop], span.label) for span in row.spans]


def test_columns_are_joined_as_their_language_is_written(tmp_path: Path) -> None:
    rows, _ledger = read(
        write(tmp_path / "a.conll", "Anna B-PER\nlives O\nin O\nNew B-LOC\nYork I-LOC\n\n王 B-PER\n明 I-PER\n在 O\n京 B-LOC\n")
    )
    assert [row.texts[0] for row in rows] == ["Anna lives in New York", "王明在京"]
    assert marked(rows[0]) == [("Anna", "PER"), ("New York", "LOC")] and marked(rows[1]) == [("王明", "PER"), ("京", "LOC")]


def test_comments_numbers_and_other_columns_are_passed_over(tmp_path: Path) -> None:
    text = "# text = a b\n1\twhere\tO\t-\n2\ttampa\tB-LOC\t-\n3\tbay\tI-LOC\t-\n\n"
    rows, _ledger = read(write(tmp_path / "a.iob2", text))
    assert rows[0].texts == ("where tampa bay",) and marked(rows[0]) == [("tampa bay", "LOC")]


def test_weibos_numbered_characters_are_read_as_characters(tmp_path: Path) -> None:
    rows, _ledger = read(write(tmp_path / "w.conll", "口0\tO\n腔1\tO\n北0\tB-LOC\n京1\tI-LOC\n"))
    assert rows[0].texts == ("口腔北京",) and marked(rows[0]) == [("北京", "LOC")]


def test_parts_of_speech_and_segmented_text_are_spans_of_every_word(tmp_path: Path) -> None:
    rows, _ledger = read(write(tmp_path / "p.conll", "I\tPRON\nrun\tVERB\n\n我\tPRON\n跑步\tVERB\n"))
    assert marked(rows[0]) == [("I", "PRON"), ("run", "VERB")] and marked(rows[1]) == [("我", "PRON"), ("跑步", "VERB")]
    rows, _ledger = read(write(tmp_path / "s.txt", "我 爱 北京 天安门\r\n今天 天气 好\r\n", "gb18030"), form="words")
    assert [word for word, _label in marked(rows[0])] == ["我", "爱", "北京", "天安门"] and rows[0].texts == ("我爱北京天安门",)
    rows, _ledger = read(write(tmp_path / "t.txt", "我/r 爱/v 北京/ns\n"), form="words")
    assert marked(rows[0]) == [("我", "r"), ("爱", "v"), ("北京", "ns")]


@pytest.mark.parametrize("ends", ["exclusive", "inclusive"])
def test_whether_ends_are_inclusive_is_found_out(tmp_path: Path, ends: str) -> None:
    shift = 1 if ends == "inclusive" else 0
    items = [
        {"text": text, "spans": [[start, stop - shift, label] for start, stop, label in spans]}
        for text, spans in [
            ("Anna in New York", [(0, 4, "PER"), (8, 16, "LOC")]),
            ("王明在北京", [(0, 2, "PER"), (3, 5, "LOC")]),
            ("a cat", [(0, 1, "X")]),
        ]
    ]
    rows, _ledger = read(write(tmp_path / "a.jsonl", "\n".join(json.dumps(item, ensure_ascii=False) for item in items)))
    assert marked(rows[0]) == [("Anna", "PER"), ("New York", "LOC")] and marked(rows[1]) == [("王明", "PER"), ("北京", "LOC")]


def test_spans_that_lie_elsewhere_or_over_each_other_are_counted_and_dropped(tmp_path: Path) -> None:
    items = [
        {
            "text": "Anna in Rome",
            "spans": [{"start": 0, "end": 4, "label": "PER", "text": "Anna"}, {"start": 0, "end": 2, "label": "X", "text": "An"}],
        },
        {"text": "Rome", "spans": [{"start": 0, "end": 4, "label": "LOC", "text": "Oslo"}, {"start": 2, "end": 99, "label": "LOC"}]},
    ]
    rows, ledger = read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, items))))
    assert marked(rows[0]) == [("Anna", "PER")] and marked(rows[1]) == []
    said = " ".join(ledger.lines())
    assert "do not lie where the data says" in said and "overlap" in said


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.conll", "Anna B-PER\nlives\n\n" + "x O\n" * 30, "E143"),
        ("a.jsonl", '{"text": "a", "spans": ["x"]}', "E145"),
        ("a.jsonl", '{"words": "a"}', "E144"),
        ("a.conll", "\n\n", "E132"),
    ],
)
def test_a_broken_file_is_an_error_that_says_where(tmp_path: Path, name: str, text: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / name, text))
    assert caught.value.code == code and "a." in str(caught.value)


def test_as_many_tags_as_tokens_are_asked_for_in_python() -> None:
    with pytest.raises(DataError) as caught:
        read_tagged([(["a", "b"], ["O"])], Ledger())
    assert caught.value.code == "E146"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 4, "wordpiece", 300, panel="masked")


def rows() -> list[TaggedRow]:
    return [
        TaggedRow((TEXTS[0],), (Span(0, 4, "PER"), Span(14, 22, "LOC")), "1"),
        TaggedRow((TEXTS[1],), (Span(0, 3, "PER"), Span(5, 8, "LOC")), "2"),
        TaggedRow((TEXTS[3],), (Span(0, 3, "PER"), Span(6, 8, "PER"), Span(12, 17, "LOC")), "3"),
    ]


@pytest.mark.parametrize("context", [64, 8])
def test_every_token_is_asked_once_and_no_special_one(tokenizer: Tokenizer, context: int) -> None:
    task = Tagging(TaggingSettings())
    examples = task.examples(rows(), tokenizer, context, Ledger())
    batch = task.collate(examples, [Place(0, 0, number) for number in range(len(examples))])
    targets = batch.targets["tags"]
    assert len(targets.gold_M) == sum(len(tokenizer.encode(row.texts[0])) for row in rows())
    assert not np.isin(batch.texts.ids_N[targets.at_M].numpy(), sorted(tokenizer.special_ids - {tokenizer.unk_id})).any()
    assert max(batch.texts.lengths) <= context


@pytest.mark.parametrize("context", [64, 9])
def test_it_learns_its_texts_by_heart_and_finds_them_in_windows_too(tokenizer: Tokenizer, context: int) -> None:
    task = Tagging(TaggingSettings())
    net = create("modernbert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64, context_length=context, window=9, seed=1)
    examples = task.examples(rows(), tokenizer, context, Ledger())
    task.prepare(net, 0)
    net.keep_heads(("tags",))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(150):
        batch = task.collate(examples, [Place(0, epoch, number) for number in range(len(examples))])
        loss = task.loss(task.forward(net, batch), batch)["tags"]
        (loss.total_B.sum() / loss.count_B.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    found = list(task.predict(net, tokenizer, TEXTS))
    assert [answer.text for answer in found] == TEXTS and found[2].spans == ()
    if context == 64:
        assert [[span.key for span in found[number].spans] for number in (0, 1, 3)] == [list(row.gold) for row in rows()]


def test_f1_is_that_of_conlleval_and_the_dictionary_knows_what_it_saw() -> None:
    judge, task = judge_of("tagging"), Tagging(TaggingSettings(), ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    answers = [
        Tagged(TEXTS[0], (Span(0, 4, "PER"), Span(14, 17, "LOC"))),  # one right, one too short
        Tagged(TEXTS[1], (Span(0, 3, "LOC"),)),  # the wrong kind
        Tagged(TEXTS[3], tuple(rows()[2].spans)),
    ]
    scores = judge.scores(task, rows(), answers)
    assert scores["precision"].value == pytest.approx(4 / 6) and scores["recall"].value == pytest.approx(4 / 7)
    assert scores["span F1"].value == pytest.approx(2 * 4 / 13)
    (dictionary,) = judge.baselines(task, rows())
    assert [answer.spans for answer in dictionary.answers([TEXTS[0], "Annabel"])] == [tuple(rows()[0].spans), ()]


def test_tokens_are_joined_with_spaces_beside_letters_alone() -> None:
    text, offsets = join_tokens(["我", "用", "Python", "3", "，", "very", "good"])
    assert text == "我用Python 3，very good" and [text[start:stop] for start, stop in offsets][2:4] == ["Python", "3"]


def test_what_belongs_together_is_said_by_a_field_or_a_comment(tmp_path: Path) -> None:
    ledger = Ledger()
    task = Tagging(TaggingSettings(group="doc"))
    items = [{"text": "Anna 在这", "spans": [[0, 4, "PER"]], "doc": doc} for doc in ("a", 2, None)]
    write(tmp_path / "a.jsonl", "\n".join(json.dumps(item) for item in items))
    assert [row.group for row in task.read(str(tmp_path / "a.jsonl"), ledger)[0]] == ["a", "2", None]
    tokens = [{"tokens": ["王", "明"], "tags": ["B-PER", "I-PER"], "doc": "z"}]
    assert task.read(tokens, ledger)[0][0].group == "z"
    columns = "# doc = 一\nAnna\tB-PER\n\nBob\tB-PER\n\n# doc = two\n# text = x\n李雷\tB-PER\n"
    write(tmp_path / "a.conll", columns)
    assert [row.group for row in task.read(str(tmp_path / "a.conll"), ledger)[0]] == ["一", "一", "two"]
    for source in (str(write(tmp_path / "b.conll", columns.replace("doc", "dog"))), [("Anna", [(0, 4, "PER")])]):
        with pytest.raises(DataError, match=r"E180.*doc"):
            task.read(source, ledger)
    with pytest.raises(DataError, match=r"E133.*doc"):
        task.read([{"text": "Anna", "spans": []}], ledger)
    with pytest.raises(DataError, match=r"E180.*doc"):
        Tagging(TaggingSettings(group="doc", form="words")).read(str(write(tmp_path / "w.txt", "我 爱 你\n")), ledger)


def test_a_group_stays_on_one_side_of_the_split() -> None:
    rows = [{"text": f"Anna {number} 在", "spans": [[0, 4, "PER"]], "doc": number // 5} for number in range(60)]
    recipe = build({"model": {"preset": "bilstm-tiny"}, "task": {"name": "tagging", "group": "doc"}, "train": {"steps": 1}})
    parts = read_parts(recipe, rows, Ledger())
    owners = [{row.group for row in part} for part in (parts.train, parts.dev, parts.test)]
    assert all(owners) and not (owners[0] & owners[2] or owners[0] & owners[1] or owners[1] & owners[2])
