"""Questions on texts: from files of every format to answers with their places in the original text."""

import gzip
import itertools
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.api import load
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.presets import create
from diptych.tasks.answering import ALWAYS, LOWEST, MAYBE, Answer, Answering, AnsweringSettings, best_spans
from diptych.tasks.questions import QuestionRow, read_questions
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer

ENGLISH = "Anna lives in New York 🙂. Her café opened in 1999.\r\nBob lives in Rome."
CHINESE = "王小明住在北京市。他的咖啡馆👨‍👩‍👧于2008年开业，李雷住在上海。"
ACCENTED = unicodedata.normalize("NFD", "La résumé de José est à São Paulo")


def article(context: str, *asked: tuple[str, list[tuple[str, int]]], **more: Any) -> dict[str, Any]:
    qas = [
        {"id": f"q{number}", "question": question, "answers": [{"text": text, "answer_start": start} for text, start in answers], **more}
        for number, (question, answers) in enumerate(asked)
    ]
    return {"title": "t", "paragraphs": [{"context": context, "qas": qas}]}


def read(path: Path, data: Any, **names: str) -> tuple[list[QuestionRow], Ledger]:
    text = json.dumps(data, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    ledger = Ledger()
    return read_questions(str(path), ledger, names)[0], ledger


def said(row: QuestionRow) -> str | None:
    return None if row.place is None else row.texts[1][slice(*row.place)]


@pytest.mark.parametrize("name", ["train.json", "train.json.gz"])
def test_squads_articles_are_read_with_their_questions(tmp_path: Path, name: str) -> None:
    first = article(ENGLISH, ("Where does Anna live?", [("New York", 14), ("York", 18)]), ("When?", [("1999", ENGLISH.index("1999"))]))
    second = article(CHINESE, ("王小明住在哪里？", [("北京市", 5)]))
    rows, ledger = read(tmp_path / name, {"version": "v1.0", "data": [first, second]})
    assert [said(row) for row in rows] == ["New York", "1999", "北京市"]
    assert rows[0].gold == ("New York", "York") and rows[0].texts == ("Where does Anna live?", ENGLISH)
    assert rows[0].group == rows[1].group != rows[2].group
    assert name in rows[2].where and ledger.count("table", "questions read") == 3


def test_a_question_without_an_answer_has_none(tmp_path: Path) -> None:
    data = article(ENGLISH, ("Where is Oslo?", []))
    data["paragraphs"][0]["qas"][0] |= {"is_impossible": True, "plausible_answers": [{"text": "Rome", "answer_start": 0}]}
    rows, ledger = read(tmp_path / "a.json", {"data": [data]})
    assert rows[0].gold == () and rows[0].is_unanswerable
    assert ledger.count("table", "questions without an answer in their text") == 1


def test_cmrcs_own_format_is_read_too(tmp_path: Path) -> None:
    item = {
        "context_id": "1",
        "context_text": CHINESE,
        "qas": [{"query_id": "1Q", "query_text": "何时开业？", "answers": ["2008年", "于2008年"]}],
    }
    rows, _ledger = read(tmp_path / "a.json", [item])
    assert said(rows[0]) == "2008年" and rows[0].gold == ("2008年", "于2008年")


@pytest.mark.parametrize(
    ("answer", "start", "found", "line"),
    [
        ("New York", 14, "New York", ""),
        (" New York ", 13, "New York", ""),
        ("New York", 15, "New York", "do not lie where"),
        ("1999", -1, "1999", "do not lie where"),
        ("lives in", 0, None, "more than once"),
        ("Oslo", 3, None, "not in their text"),
        ("Bob", 10**9, "Bob", "do not lie where"),
    ],
)
def test_an_answer_that_lies_elsewhere_is_repaired_or_not_learnt_from(
    tmp_path: Path, answer: str, start: int, found: str | None, line: str
) -> None:
    rows, ledger = read(tmp_path / "a.json", {"data": [article(ENGLISH, ("Q?", [(answer, start)]))]})
    assert said(rows[0]) == found and rows[0].gold == (answer,) and not rows[0].is_unanswerable
    assert (line in " ".join(ledger.lines())) and (bool(line) == ("answers that" in " ".join(ledger.lines())))


@pytest.mark.parametrize(
    ("fields", "names", "place"),
    [
        ({"question": "Q?", "context": ENGLISH, "answer": "Rome", "answer_start": ENGLISH.index("Rome")}, {}, "Rome"),
        ({"question": "Q?", "context": ENGLISH, "answer": "Rome"}, {}, "Rome"),
        ({"问题": "哪里？", "正文": CHINESE, "答案": "上海"}, {}, "上海"),
        (
            {"id": 1, "question": "Q?", "context": ENGLISH, "answers": {"text": ["New York"], "answer_start": [14]}},
            {},
            "New York",
        ),
        ({"a": "Q?", "b": ENGLISH, "c": "1999"}, {"question": "a", "context": "b", "answer": "c"}, "1999"),
        ({"question": "Q?", "context": CHINESE, "answers": {"text": [], "answer_start": []}}, {}, None),
        ({"question": "Q?", "context": CHINESE}, {}, None),
    ],
)
def test_flat_tables_and_hugging_faces_are_read(fields: dict[str, Any], names: dict[str, str], place: str | None) -> None:
    (row,), _found = read_questions([fields], Ledger(), names)
    assert said(row) == place
    assert (row.gold is None) == (len(fields) == 2)


def test_questions_asked_twice_are_one_and_empty_ones_are_dropped() -> None:
    rows = [
        {"question": "Q?", "context": ENGLISH, "answer": "Rome"},
        {"question": "Q?", "context": ENGLISH, "answer": "New York"},
        {"question": "Q?", "context": " ", "answer": "Rome"},
        {"question": "", "context": ENGLISH, "answer": "Rome"},
    ]
    ledger = Ledger()
    found, _columns = read_questions(rows, ledger, {})
    assert [row.gold for row in found] == [("Rome", "New York")]
    assert ledger.count("table", "questions without a question or a text, dropped") == 2


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ([], "E132"),
        ([{"question": "Q?", "context": "", "answer": "a"}], "E132"),
        ([{"words": "a", "answer": "b"}], "E147"),
        ([{"paragraphs": ["x"]}], "E149"),
        ([{"paragraphs": [{"context": "a", "qas": ["x"]}]}], "E149"),
        ([{"question": "Q?", "context": "a", "answer": [["x"]]}], "E149"),
        ([{"question": "Q?", "context": "a", "answer": "a", "start": "x"}], "E149"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_where(data: list[Any], code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_questions(data, Ledger(), {})
    assert caught.value.code == code
    with pytest.raises(DataError) as caught:
        read_questions([{"question": "Q?", "context": "a"}], Ledger(), {"context": "contxt"})
    assert caught.value.code == "E133"


@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32)), min_size=1, max_size=12), st.integers(1, 14))
@settings(max_examples=200, deadline=None)
def test_the_best_spans_are_those_of_trying_all(scores: list[tuple[float, float]], longest: int) -> None:
    scores_T2 = np.array(scores, dtype=np.float64)
    every = [
        (first, last, scores_T2[first, 0] + scores_T2[last, 1])
        for first, last in itertools.product(range(len(scores)), repeat=2)
        if first <= last < first + longest
    ]
    every.sort(key=lambda each: (-each[2], each[0], each[1]))
    found = best_spans(scores_T2, longest, 5)
    assert [round(score, 9) for *_place, score in found] == [round(score, 9) for *_place, score in every[:5]]
    assert all(scores_T2[first, 0] + scores_T2[last, 1] == score and first <= last < first + longest for first, last, score in found)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([ENGLISH, CHINESE, ACCENTED, "Where does Anna live? 他在哪里"] * 4, "wordpiece", 400, panel="masked")


def row(question: str, context: str, *answers: str) -> QuestionRow:
    (found,), _columns = read_questions([{"question": question, "context": context, "answers": [*answers]}], Ledger(), {})
    return found


ROWS = [
    row("Where does Anna live?", ENGLISH, "New York"),
    row("When did it open?", ENGLISH, "1999"),
    row("他在哪里？", CHINESE, "北京市"),
    row("何时开业？", CHINESE, "2008年"),
    row("Who?", ACCENTED, unicodedata.normalize("NFD", "José")),
]
NONE = row("Why?", CHINESE)


@pytest.mark.parametrize("context", [128, 24])
def test_the_gold_tokens_are_the_answer_and_a_window_without_it_points_to_its_first_token(tokenizer: Tokenizer, context: int) -> None:
    task = Answering(AnsweringSettings())
    examples = task.examples([*ROWS, NONE], tokenizer, context, Ledger())
    batch = task.collate(examples, [Place(0, 0, number) for number in range(len(examples))])
    assert max(batch.texts.lengths) <= context and task.labels == MAYBE
    texts = batch.texts.ids_N.split(batch.texts.lengths)
    held = set()
    for number, window in enumerate(examples.windows):
        start, end = (int(batch.targets[name].gold_M[number]) for name in ("start", "end"))
        assert texts[number][0] == tokenizer.cls_id
        if start == end == 0:
            continue
        answer = [*ROWS, NONE][window.row].gold[0]
        assert texts[number][start : end + 1].tolist() == tokenizer.encode(answer)
        held.add(window.row)
    assert held == set(range(len(ROWS)))


def test_the_loss_is_that_of_trying_every_token_of_a_text(tokenizer: Tokenizer) -> None:
    task = Answering(AnsweringSettings())
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64, seed=2)
    examples = task.examples([*ROWS, NONE], tokenizer, 64, Ledger())
    task.prepare(net, 0)
    net.eval()
    batch = task.collate(examples, [Place(0, 0, number) for number in range(len(examples))])
    outputs = task.forward(net, batch)
    loss = task.loss(outputs, batch)
    assert {term.weight for term in loss.values()} == {0.5} and net.config.labels == MAYBE
    logits_N2 = net.heads["span"](net.hidden(batch.texts)).detach().split(batch.texts.lengths)
    for side, name in enumerate(("start", "end")):
        for number, logits_T2 in enumerate(logits_N2):
            gold = int(batch.targets[name].gold_M[number])
            assert loss[name].total_B[number].item() == pytest.approx(float(-torch.log_softmax(logits_T2[:, side], 0)[gold]), abs=1e-5)
        assert loss[name].count_B.tolist() == [1] * len(examples)
        assert float(outputs[name].logits().min()) == LOWEST


def test_transformers_opens_what_is_saved_and_counts_the_same_loss(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    task = Answering(AnsweringSettings())
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64, seed=2)
    # A body that judged texts before: its labels must not become those of the span.
    net.ensure_head("classes", labels=("a", "b", "c"))
    examples = task.examples([*ROWS, NONE], tokenizer, 64, Ledger())
    task.prepare(net, 0)
    net.keep_heads(task.heads)
    Model(net, tokenizer).save(tmp_path / "qa")
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "qa")
    assert type(theirs).__name__ == "BertForQuestionAnswering" and theirs.config.num_labels == 2
    net.eval()
    for number in range(len(examples)):
        batch = task.collate(examples, [Place(0, 0, number)])
        start, end = (batch.targets[name].gold_M for name in ("start", "end"))
        ids, types = batch.texts.ids_N[None], batch.texts.types_N[None]
        with torch.no_grad():
            found = theirs(input_ids=ids, token_type_ids=types, start_positions=start, end_positions=end)
            own = task.loss(task.forward(net, batch), batch)
        loss = sum(term.weight * term.total_B.sum() / term.count_B.sum() for term in own.values())
        assert float(loss) == pytest.approx(float(found.loss), abs=1e-5)
    again = load(tmp_path / "qa")
    pairs = task.inputs(ROWS)
    assert again.config.labels == MAYBE
    assert [each.to_json() for each in again.predict(pairs)] == [each.to_json() for each in task.predict(net, tokenizer, pairs)]


def learn(task: Answering, rows: list[QuestionRow], tokenizer: Tokenizer, context: int, steps: int = 120) -> Any:
    net = create("modernbert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64, context_length=context, window=65, seed=1)
    examples = task.examples(rows, tokenizer, context, Ledger())
    task.prepare(net, 0)
    net.keep_heads(task.heads)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(steps):
        batch = task.collate(examples, [Place(0, epoch, number) for number in range(len(examples))])
        terms = task.loss(task.forward(net, batch), batch).values()
        sum(term.weight * term.total_B.sum() / term.count_B.sum() for term in terms).backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


@pytest.mark.parametrize("context", [128, 32])
def test_it_learns_its_answers_by_heart_and_finds_them_in_windows_too(tokenizer: Tokenizer, context: int) -> None:
    task = Answering(AnsweringSettings())
    net = learn(task, [*ROWS, NONE], tokenizer, context)
    answers = list(Answering.of(net).predict(net, tokenizer, task.inputs([*ROWS, NONE])))
    for each, answer in zip([*ROWS, NONE], answers, strict=True):
        assert 0 < answer.probability <= 1
        assert answer.text == (each.texts[1][answer.start : answer.end] if answer.start is not None else "")
    assert [answer.text for answer in answers[:5]] == [each.gold[0] for each in ROWS if each.gold]
    # Of a text without the answer one window is learnt, so in windows the others may still tempt.
    assert context < 128 or answers[5].text == ""
    alone = [next(Answering.of(net).predict(net, tokenizer, [pair])) for pair in task.inputs(ROWS)]
    assert [answer.text for answer in alone] == [answer.text for answer in answers[:5]]


def test_without_unanswerable_questions_it_always_answers(tokenizer: Tokenizer) -> None:
    task = Answering(AnsweringSettings())
    net = learn(task, ROWS[:2], tokenizer, 24, steps=3)
    assert task.labels == ALWAYS == net.config.labels
    answers = list(task.predict(net, tokenizer, [("Why?", CHINESE * 5), ("?", "a"), ("Why?", ""), ("", ENGLISH)]))
    assert all(answer.text for answer in (answers[0], answers[1], answers[3]))
    assert answers[2] == Answer("", None, None, 1.0)


def test_a_text_of_a_hundred_thousand_tokens_and_a_question_of_a_thousand(tokenizer: Tokenizer) -> None:
    task = Answering(AnsweringSettings(), ALWAYS)
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2, context_length=512, seed=2)
    task.prepare(net, 0)
    context = "北京" * 50_000
    ledger = Ledger()
    (answer,) = task.predict(net, tokenizer, [("Where? " * 500, context)], ledger)
    assert len(tokenizer.encode(context)) >= 50_000 and answer.start is not None and answer.text == context[answer.start : answer.end]
    assert ledger.count("texts", "questions longer than a third of the context, cut at the end") == 1


def test_windows_without_the_answer_do_not_outweigh_those_with_it(tokenizer: Tokenizer) -> None:
    ledger = Ledger()
    long = row("Where?", "x y z. " * 300 + "Anna lives here." + " x y z." * 300, "Anna")
    examples = Answering(AnsweringSettings()).examples([long, *ROWS], tokenizer, 64, ledger)
    own = [window for window in examples.windows if window.row == 0]
    holds = sum(bool(window.gold.any()) for window in own)
    assert holds >= 1 and len(own) == 2 * holds
    assert ledger.count("texts", "windows without the answer, left out so that they do not outweigh it") > 10


def test_there_must_be_something_to_learn_and_pairs_to_answer(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError) as caught:
        Answering(AnsweringSettings()).examples([NONE, row("Q?", ENGLISH, "Oslo")], tokenizer, 64, Ledger())
    assert caught.value.code == "E148"
    task, net = Answering(AnsweringSettings(), ALWAYS), create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=64)
    task.prepare(net, 0)
    for item in ("Where?", ("a", "b", "c"), ("a", 1), 5):
        with pytest.raises(DataError) as caught:
            list(task.predict(net, tokenizer, [item]))
        assert caught.value.code == "E150"
    with pytest.raises(DataError) as caught:
        task.prepare(create("gpt-tiny", vocab_size=100), 0)
    assert caught.value.code == "E208"
