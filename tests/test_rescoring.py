"""Rescoring lists of hypotheses: error rates by brute force, the lowest step by trying every place, and lists of both languages."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diptych as dt
from diptych.cli.main import run
from diptych.evaluation.word_errors import distance, error_counts
from diptych.ledger import Ledger
from diptych.rescoring import Mixture, lowest_step, read_lists, upper_envelope

ENGLISH = ["the cat sat on the mat", "the dog saw the cat", "a cat sat on a mat", "the dog sat on the cat"]
CHINESE = ["今天天气很好", "今天我们去公园", "天气不好我们在家", "公园里天气很好"]


def slow_distance(a: tuple, b: tuple) -> int:
    @cache
    def between(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


@settings(max_examples=300)
@given(st.lists(st.sampled_from("abc猫"), max_size=9), st.lists(st.sampled_from("abc猫"), max_size=9))
def test_the_distance_is_that_of_the_definition(ours: list[str], theirs: list[str]) -> None:
    assert distance(ours, theirs) == slow_distance(tuple(ours), tuple(theirs))


def test_rates_are_sums_over_sums_by_words_and_by_characters() -> None:
    words = error_counts(["a b c", "", "x 🙂"], ["a c", "b b", "x 🙂"], is_chinese=False)
    assert words.name == "word error rate" and words.total() == pytest.approx((1 + 2 + 0) / 6)
    characters = error_counts(["今天 很好", "去公园"], ["今天好", "去花园"], is_chinese=True)
    assert characters.name == "character error rate" and characters.total() == pytest.approx((1 + 1) / 6)


LINES = st.lists(st.tuples(st.integers(-6, 6), st.integers(-3, 3), st.integers(0, 5)), min_size=1, max_size=5)


@settings(max_examples=200)
@given(st.lists(LINES, min_size=1, max_size=4), st.booleans())
def test_the_lowest_step_is_as_low_as_any_that_is_tried(drawn: list, is_positive: bool) -> None:
    lists = [tuple(np.array(column, dtype=float) for column in zip(*lines, strict=True)) for lines in drawn]

    def errors(x: float) -> float:
        return sum(wrong[int(np.argmax(fixed + x * slope))] for fixed, slope, wrong in lists)

    least = 0.0 if is_positive else -np.inf
    found = lowest_step(lists, least=least)
    # Between places where two lines cross nothing changes: crossings of such whole numbers are at least 1/6 apart.
    tried = [x / 13 + 1e-4 for x in range(0 if is_positive else -13 * 20, 13 * 20)]
    assert found >= least and errors(found) <= min(errors(x) for x in tried)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-4, 4)), min_size=1, max_size=8))
def test_the_envelope_is_the_highest_line_everywhere(lines: list[tuple[int, int]]) -> None:
    fixed, slope = (np.array(column, dtype=float) for column in zip(*lines, strict=True))
    envelope = upper_envelope(fixed, slope)
    assert envelope[0][0] == -np.inf
    for x in np.linspace(-12.3, 12.7, 41):
        line = [number for start, number in envelope if start <= x][-1]
        assert (fixed + x * slope)[line] == pytest.approx((fixed + x * slope).max())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dt.Model:
    sizes = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 64}
    made = dt.pretrain(
        "gpt-tiny", (ENGLISH + CHINESE) * 6, sizes=sizes, tokenizer={"kind": "characters", "vocab_size": 200}, steps=60, lr=1e-2,
        precision="float32", clean={"dedup": "none"}, held_out=0.0,
    )  # fmt: skip
    made.save(tmp_path_factory.mktemp("lm") / "gpt")
    return made


def lists_of(texts: list[str]) -> list[dict]:
    """The right text second, behind one whose characters are turned round and which the recognizer likes a little better."""
    return [
        {
            "hypotheses": [{"text": text[::-1], "score": -1.0}, {"text": text, "score": -1.5}, {"text": "", "score": -30.0}],
            "reference": text,
        }
        for text in texts
        for _again in range(4)
    ]


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE])
def test_a_language_model_finds_the_text_that_is_one(model: dt.Model, texts: list[str]) -> None:
    found = dt.rescore(model, lists_of(texts))
    assert found.texts == [each["reference"] for each in lists_of(texts)] and len(found.mixtures) == 2
    rates = [next(iter(system.scores.values())) for system in found.systems]
    assert rates[0].value > 0.3 and rates[1].value == 0 == rates[2].value and rates[0].has_interval
    assert found.difference is not None and found.difference.low > 0 and "saves" in found.verdict()
    assert rates[0].name == ("word error rate" if texts is ENGLISH else "character error rate")
    # Without a weight the first stay first, and with one that was chosen elsewhere nothing is chosen here.
    still = dt.rescore(model, lists_of(texts), weight=0.0)
    assert still.texts == [text[::-1] for text in texts for _again in range(4)] and "No difference" in still.verdict()
    again = dt.rescore(model, lists_of(texts), dev=lists_of(texts[:2]))
    assert again.texts == found.texts and len(again.mixtures) == 1 and again.mixtures[0].weight > 0


def test_weights_are_not_chosen_on_what_they_are_judged_by(model: dt.Model) -> None:
    rows = lists_of(ENGLISH)
    for row in rows[::2]:
        row["reference"] = row["hypotheses"][0]["text"]  # here the recognizer is right
    found = dt.rescore(model, rows)
    # The half where it is right wants no language model, and the other half is rescored with that; and the other way round.
    assert found.texts[1::2] == [row["hypotheses"][0]["text"] for row in rows[1::2]]
    assert found.texts[::2] == [row["hypotheses"][1]["text"] for row in rows[::2]]


def test_lists_come_in_several_forms_and_broken_ones_are_said(model: dt.Model, tmp_path: Path) -> None:
    forms = [
        {"hypotheses": ["a", "b"], "scores": [-1, -2.5]},
        {"nbest": [["a", -1], ["b", -2.5]]},
        {"candidates": [{"hypothesis": "a", "logprob": -1}, {"text": "b", "score": -2.5}], "ref": "b"},
    ]
    path = tmp_path / "n.jsonl"
    path.write_text("\r\n".join(json.dumps(form) for form in forms), encoding="utf-8")
    read = read_lists(str(path), Ledger())
    assert [(each.texts, each.scores.tolist()) for each in read] == [(("a", "b"), [-1.0, -2.5])] * 3 and read[2].reference == "b"
    for broken in ({"text": "a"}, {"hypotheses": []}, {"hypotheses": [{"text": "a", "score": "x"}]}, {"hypotheses": [["a", float("nan")]]}):
        with pytest.raises(dt.DiptychError, match="E626"):
            read_lists([broken], Ledger())
    with pytest.raises(dt.DiptychError, match="E627"):
        dt.rescore(model, forms)
    ledger = Ledger()
    long = [{"hypotheses": ["cat " * 60, "cat"], "scores": [0.0, -0.1]}]
    assert dt.rescore(model, long, weight=1.0, ledger=ledger).texts == ["cat " * 60]
    assert ledger.count("rescoring", "lists left as they were: a hypothesis is longer than the context") == 1


def test_the_command_writes_the_best_texts(model: dt.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "n.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in lists_of(CHINESE)), encoding="utf-8")
    for flags in (["--weight", "0.7"], ["--dev", str(path), "--json"]):
        with pytest.raises(SystemExit) as end:
            run(["rescore", str(model.folder), str(path), "--out", str(tmp_path / "best.txt"), *flags])
        assert not end.value.code
        assert (tmp_path / "best.txt").read_text(encoding="utf-8").splitlines() == [text for text in CHINESE for _again in range(4)]
        shown = capsys.readouterr().out
    assert json.loads(shown)["scores"]["rescored"]["character error rate"]["value"] == 0
    assert Mixture(1.0).best(np.array([0.0, 0.0]), np.array([-1.0, -1.0]), np.zeros(2)) == 0
