"""How far scores carry: other sets beside the first, groups one by one, and mistakes in the texts."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import diptych as dt
from diptych.cli.main import run
from diptych.errors import UsageError

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}


def reviews(count: int, first: int = 0) -> list[dict[str, str]]:
    """One word of each text gives its label away; a third of the texts are of the small house, or of no house at all."""
    words = (("好吃", "good"), ("难吃", "awful"))
    return [
        {"text": f"{words[number % 2][number // 2 % 2]} food {number} 🙂\r\n", "label": ("好评", "差评")[number % 2], "house": house}
        for number in range(first, first + count)
        for house in [("大", "大", "小" if number < first + 30 else "")[number % 3]]
    ]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [row["text"] for row in reviews(40)]
    folder = tmp_path_factory.mktemp("models")
    bert = dt.pretrain("bert-tiny", texts, sizes=TINY, tokenizer={"vocab_size": 300}, steps=3, precision="float32").save(folder / "bert")
    rows = [(row["text"], row["label"]) for row in reviews(120)]
    dt.finetune(bert, rows, steps=40, lr=3e-3, precision="float32", out=str(folder / "classifier"))
    return folder / "classifier"


def test_each_group_is_scored_as_if_it_were_alone_and_small_ones_are_flagged(classifier: Path) -> None:
    rows = reviews(90, 200)
    found = dt.generalize(classifier, rows, by="house")
    assert list(found.groups) == ["大", "–", "小"]
    said = [each.label for each in dt.load(classifier).predict([row["text"] for row in rows])]
    for group, house in (("大", "大"), ("–", ""), ("小", "小")):
        own = [number for number, row in enumerate(rows) if row["house"] == house]
        score = found.groups[group]["accuracy"]
        assert score.n == len(own)
        assert score.value == pytest.approx(accuracy_score([rows[n]["label"] for n in own], [said[n] for n in own]))
    assert set(found.small_groups) == {"–", "小"}
    assert any(row[0] == "小 !" for row in found.tables()[1]) and "小" in found.caveats()[0]


def test_other_sets_stand_beside_the_first_with_the_scores_they_have_alone(classifier: Path) -> None:
    first, other = reviews(40, 300), reviews(24, 400)
    found = dt.generalize(classifier, first, also=[other])
    assert list(found.sets) == ["set 1", "set 2"]
    assert found.sets["set 2"] == dt.evaluate(classifier, None, other)
    head, *lines = found.tables()[0]
    assert head == ["", "set 1", "set 2"] and lines[0][0] == "accuracy" and len(lines[0]) == 3


def test_noise_costs_a_classifier_that_lives_by_one_word_and_the_difference_is_paired(classifier: Path) -> None:
    rows = reviews(120, 500)
    found = dt.generalize(classifier, rows, noise=0.6, seed=1)
    assert list(found.noise) == ["mistyped", "swapped", "dropped"]
    plain = found.sets["set 1"]["accuracy"].value
    for scores, gap in found.noise.values():
        assert gap.value == pytest.approx(scores["accuracy"].value - plain) and gap.low <= gap.value <= gap.high
    assert min(gap.value for _scores, gap in found.noise.values()) < 0
    again = dt.generalize(classifier, rows, noise=0.6, seed=1)
    assert again.noise == found.noise
    none = dt.generalize(classifier, rows, noise=0.0)
    assert all(gap.value == 0 for _scores, gap in none.noise.values())


def test_a_language_model_has_other_texts_beside_it_and_no_groups(tmp_path: Path) -> None:
    gpt = dt.pretrain(
        "gpt-tiny", ["The cat sat. 今天天气很好。"] * 3, sizes=TINY, tokenizer={"vocab_size": 280}, steps=2, precision="float32"
    )
    found = dt.generalize(gpt, ["A cat sat."], also=[["天气很好。", "今天"]])
    assert all(np.isfinite(scores["bits per byte"].value) for scores in found.sets.values())
    with pytest.raises(UsageError) as caught:
        dt.generalize(gpt, ["A cat sat."], by="house")
    assert caught.value.code == "E708"


def test_the_command_prints_a_table_for_each_question(classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rows in (("a.jsonl", reviews(60, 600)), ("b.jsonl", reviews(30, 700))):
        Path(name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    flags = ["evaluate", str(classifier), "a.jsonl", "--also", "b.jsonl", "--by", "house", "--noise", "0.1"]
    with pytest.raises(SystemExit) as end:
        run(flags)
    shown = capsys.readouterr().out
    assert not end.value.code
    assert all(word in shown for word in ("a.jsonl", "b.jsonl", "group", "大", "小 !", "10% of the characters", "mistyped", "dropped"))
    with pytest.raises(SystemExit):
        run([*flags, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"accuracy", "also", "groups", "small groups", "noise"} <= set(found) and "difference" in found["noise"]["swapped"]
