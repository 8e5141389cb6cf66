"""Recommending: nearest items, histories, and a judgement that sees nothing of the future, against sums by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

import diptych as dt
from diptych.cli.main import run
from diptych.errors import DiptychError
from diptych.ledger import Ledger
from diptych.searching import judge_recommendations
from diptych.searching.choices import Choice, read_choices, read_items
from diptych.searching.recommending import best, by_meaning, by_words, recall, split_by_time

BOOKS = [
    {"id": f"b{n}", "title": f"{kind} number {n} 🙂"} for n, kind in enumerate(["cats and dogs", "红楼梦 贾宝玉", "physics of stars"] * 4)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    sizes = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
    made = dt.pretrain("bert-tiny", [book["title"] for book in BOOKS], sizes=sizes, tokenizer={"vocab_size": 200}, steps=2)
    return str(made.save(tmp_path_factory.mktemp("m") / "bert"))


def code_of(action) -> str:
    with pytest.raises(DiptychError) as error:
        action()
    return error.value.code


def test_an_item_is_recommended_by_its_vector_and_never_itself(model: str) -> None:
    vectors = dt.load(model).embed([book["title"] for book in BOOKS], normalize=True).numpy()
    order = [number for number in np.argsort(-(vectors @ vectors[3]), kind="stable").tolist() if number != 3]
    found = dt.recommend(BOOKS, like="b3", model=model, top=4)
    assert [each.item for each in found] == [f"b{number}" for number in order[:4]]
    assert found[0].score == pytest.approx(float(vectors[order[0]] @ vectors[3]), abs=1e-5) and found[0].text == BOOKS[order[0]]["title"]
    assert len(dt.recommend(BOOKS, like=["b1", "b4"], model=model, top=99)) == len(BOOKS) - 2
    # A list of texts is called by numbers from 1.
    assert dt.recommend([book["title"] for book in BOOKS], like=4, model=model, top=1)[0].item == str(order[0] + 1)


def test_later_choices_weigh_more_by_half_every_five() -> None:
    vectors = np.eye(3, dtype=np.float32)
    scores = by_meaning(vectors)([0] + [1] * 5)
    assert scores[0] / scores[1] == pytest.approx(0.5 / sum(0.5 ** (age / 5) for age in range(5)), rel=1e-5)
    assert best(np.array([1.0, 3.0, 2.0, 2.0]), [1], 2) == [2, 3] and best(np.array([1.0, 2.0]), [0, 1], 5) == []


def test_the_moment_is_one_for_all_and_nothing_after_it_is_known() -> None:
    choices = [Choice("a", 0, 1.0), Choice("b", 1, 2.0), Choice("a", 2, 3.0), Choice("c", 3, 4.0), Choice("a", 0, 5.0), Choice("a", 4, 5.0)]
    choices += [Choice("b", 1, 5.0), Choice("d", 2, 6.0)]
    before, wanted = split_by_time(choices)
    # The moment is that of the seventh of eight choices: five seconds.
    assert before == {"a": [0, 2], "b": [1], "c": [3]}
    # b chose nothing new and d nothing before; what a chose before is not asked for again.
    assert wanted == {"a": {4}}
    assert recall([4, 3], {4, 5}) == 0.5


def test_a_reader_of_one_kind_is_found_more_of_it_than_by_what_all_choose(model: str) -> None:
    rows = []
    for user in range(40):
        kind = user % 3
        own = [number for number in range(len(BOOKS)) if number % 3 == kind]
        rows += [(user, f"b{own[at]}", f"2024-01-{at + 1:02d}T00:{user:02d}:00") for at in range(3)]
        rows.append((user, f"b{own[3]}", f"2024-03-01T00:{user:02d}:00"))
    ledger = Ledger()
    judged = judge_recommendations(BOOKS, rows, model=model, top=3, ledger=ledger)
    assert [system.name for system in judged.systems] == ["by meaning", "most chosen", "shared words (BM25)"]
    scores = {system.name: system.scores["recall of 3"] for system in judged.systems}
    assert scores["by meaning"].n > 20 and scores["by meaning"].has_interval and scores["shared words (BM25)"].value == 1
    assert scores["most chosen"].value < 0.7 and judged.verdict()
    items = read_items(BOOKS, Ledger())
    assert by_words(items)([0]).argmax() == 0
    known = {"b0", "b3", "b6", "b9"}
    assert known.isdisjoint(each.item for each in dt.recommend(BOOKS, choices=rows, user="3", model=model, top=99))


def test_tables_are_read_and_what_is_missing_is_said(model: str, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "编号,标题\r\nx1,红楼梦里的故事，说的是贾宝玉和林黛玉\r\nx2,\r\nx3,西游记里的故事，说的是孙悟空\r\n", encoding="gb18030"
    )
    ledger = Ledger()
    items = read_items(str(tmp_path / "items.csv"), ledger, text="标题")
    assert items.ids == ["x1", "x3"] and ledger.count("items", "items without a text, left out") == 1
    choices, has_times = read_choices([{"用户": 1, "商品": "x3"}, {"用户": 1, "商品": "x9"}, {"用户": 2, "商品": "x1"}], items, ledger)
    assert not has_times and [(each.user, each.item) for each in choices] == [("1", 1), ("2", 0)]
    assert ledger.count("items", "choices of items that there are not, left out") == 1
    assert [each.item for each in read_choices([("u", "x1", "2024-02-01"), ("u", "x3", "2024-01-01")], items, ledger)[0]] == [1, 0]
    assert code_of(lambda: read_choices([("u", "x1", "soon")], items, ledger)) == "E629"
    assert code_of(lambda: read_choices([{"a": 1, "b": 2}], items, ledger)) == "E629"
    assert code_of(lambda: dt.recommend(BOOKS, like="z", model=model)) == "E628"
    assert code_of(lambda: dt.recommend(BOOKS, model=model)) == "E630"
    assert code_of(lambda: dt.recommend(BOOKS, choices=[("a", "b1")], user="b", model=model)) == "E630"
    assert code_of(lambda: judge_recommendations(BOOKS, [("a", "b1")], model=model)) == "E629"
    assert code_of(lambda: read_items(BOOKS, Ledger(), text="body")) == "E103"


def test_the_command_recommends_and_judges(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "books.jsonl").write_text("\n".join(json.dumps(book, ensure_ascii=False) for book in BOOKS), encoding="utf-8")
    lines = [f"{user},b{(user + at) % 12},{at}" for at in range(5) for user in range(6)]
    (tmp_path / "loans.csv").write_text("user,item,time\n" + "\n".join(lines) + "\n", encoding="utf-8")

    def shown(*flags: str) -> str:
        with pytest.raises(SystemExit) as end:
            run(["recommend", str(tmp_path / "books.jsonl"), "--model", model, *flags])
        assert not end.value.code
        return capsys.readouterr().out

    assert len(shown("--like", "b1", "--top", "3").splitlines()) == 3
    loans = str(tmp_path / "loans.csv")
    assert {json.loads(line)["item"] for line in shown("--choices", loans, "--user", "2", "--json").splitlines()}.isdisjoint(
        {f"b{n}" for n in range(2, 7)}
    )
    assert set(json.loads(shown("--choices", loans, "--json"))) == {"by meaning", "most chosen", "shared words (BM25)"}
    assert "recall of 5" in shown("--choices", loans)
