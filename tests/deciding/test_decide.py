"""The table that decides, from the table of labels to the sentence, with a tiny model in both languages."""

import json
from pathlib import Path

import pytest

import diptych as dt
from diptych.cli.main import run
from diptych.errors import DataError
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
GOOD, BAD = ("good", "great", "好吃", "干净"), ("bad", "awful", "难吃", "很脏")
PLACES = ("food", "room", "菜", "房间", "🙂")


def reviews(count: int) -> list[dict[str, str]]:
    """Texts in two languages whose label one word gives away, of four houses."""
    return [
        {"review": f"{place} {number} {word}\r\n", "stars": label, "house": f"号{number % 4}"}
        for number in range(count)
        for words, label in ((GOOD, "好评"), (BAD, "差评"))
        for word, place in zip(words, PLACES[number % 2 :])
    ]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [row["review"] for row in reviews(12)]
    folder = tmp_path_factory.mktemp("bert") / "bert"
    dt.pretrain("bert-tiny", texts, sizes=TINY, tokenizer={"vocab_size": 300}, steps=3, precision="float32").save(folder)
    return folder


class Told:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def tell(self, event: dict) -> None:
        self.texts.append(event["text"])

    def close(self) -> None:
        return


@pytest.mark.slow
def test_of_few_labels_the_choice_is_made_by_cross_validation_and_said(bert: Path) -> None:
    told = Told()
    rows = reviews(8)
    found = dt.decide(rows, base=bert, minutes=0.3, curve=True, text="review", label="stars", listener=told)
    assert {system.name for system in found.systems} == {"majority", "TF-IDF", "frozen embeddings", "contrastive few-shot"}
    assert found.num_asked == len(rows) == 64
    assert "cross-validation" in told.texts[0] and len(told.texts) == 5
    assert found.chosen.scores["accuracy"].value > 0.8, "one word gives the label away"
    assert [point.num_labels for point in found.curve] == sorted(point.num_labels for point in found.curve)
    assert found.curve[-1].num_labels == 51 and [each.name for each in found.curve[0].systems] == ["TF-IDF", "frozen embeddings"]
    assert any("From 25 to 51 labels" in note for note in found.notes)
    assert all(each.milliseconds > 0 and each.size_bytes > 0 for each in found.systems)


@pytest.mark.slow
def test_of_many_labels_fine_tuning_stands_in_the_table_beside_a_preset_from_nothing(bert: Path, tmp_path: Path) -> None:
    rows = [row for number in range(2) for row in reviews(16 + number)]
    found = dt.decide(rows + reviews(40), base=[bert, "bilstm-tiny"], minutes=0.4, text="review", label="stars")
    names = {system.name for system in found.systems}
    assert names == {"majority", "TF-IDF", "frozen embeddings (bert)", "fine-tuned (bert)", "bilstm-tiny"}
    assert found.num_asked == 64 and "others to be asked about" in found.how
    assert found.ledger.count("table", "rows dropped because the text occurred before") == len(rows)


def test_a_group_that_is_left_out_has_its_own_line(bert: Path) -> None:
    found = dt.decide(reviews(16), base=bert, minutes=0.4, leave_out="house", text="review", label="stars", listener=Several([]))
    assert list(found.groups) == ["号0", "号1", "号2", "号3"]
    assert all(scores[0]["accuracy"].n == 32 for scores in found.groups.values())
    totals = [sum(each[number]["accuracy"].value for each in found.groups.values()) / 4 for number in range(len(found.systems))]
    assert totals == pytest.approx([system.scores["accuracy"].value for system in found.systems])


def test_several_labels_at_once_are_sent_to_fine_tuning() -> None:
    with pytest.raises(DataError) as caught:
        dt.decide([{"text": f"text {n}", "label": ["a", "b"][: n % 3]} for n in range(9)])
    assert caught.value.code == "E175"


def test_the_command_prints_tables_and_one_sentence(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{row['review'].strip()},{row['stars']},{row['house']}" for row in reviews(8)]
    Path("reviews.csv").write_text("review,stars,house\n" + "\n".join(lines), encoding="utf-8")
    flags = ["--base", str(bert), "--minutes", "0.1", "--label", "stars"]
    with pytest.raises(SystemExit) as end:
        run(["decide", "reviews.csv", *flags, "--curve"])
    shown = capsys.readouterr()
    assert not end.value.code
    assert "TF-IDF" in shown.out and "per text" in shown.out and "labels  " in shown.out and "cross-validation" in shown.out + shown.err
    with pytest.raises(SystemExit):
        run(["decide", "reviews.csv", *flags, "--leave-out", "house", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["verdict"] and set(found["groups"]) == {"号0", "号1", "号2", "号3"}
