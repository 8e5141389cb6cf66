"""A tagger beside the rules, and scrubbing in a recipe."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import diptych as dt
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.scrubbing import recall_of
from diptych.tasks.spans import Span
from diptych.tasks.tagging import Tagged
from diptych.text.corpus import Corpus
from diptych.tokenizing import tidy


def tagger(random_net: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, labels: tuple[str, ...]) -> Any:
    """A model with such tags, which says that Wuppertal is a LOC and Grzegorz a PER."""
    net = random_net("bert")
    net.ensure_head("tags", labels=("O", *(f"{place}-{label}" for label in labels for place in "BI")))
    model = dt.Model(net)
    known = {"Wuppertal": "LOC", "Grzegorz": "PER"}

    def predict(texts: list[str]) -> list[Tagged]:
        return [
            Tagged(text, tuple(Span(text.index(w), text.index(w) + len(w), k) for w, k in known.items() if w in text)) for text in texts
        ]

    monkeypatch.setattr(model, "predict", predict)
    return model


def test_a_tagger_finds_people_that_rules_miss(random_net: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tagger(random_net, monkeypatch, ("PER", "LOC"))
    text = "then Grzegorz of Wuppertal wrote to a.b@example.org 🙂"
    assert [each.kind for each in dt.find_personal(text)] == ["email"]
    first = dt.find_personal(text, tagger=model)[0]
    assert (first.kind, text[first.start : first.stop]) == ("name", "Grzegorz")
    assert dt.scrub(text, kinds="all", tagger=model) == "then [NAME] of [PLACE] wrote to [EMAIL] 🙂"


def test_what_tags_no_people_is_refused(random_net: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="E195") as caught:
        dt.find_personal("x", tagger=tagger(random_net, monkeypatch, ("DRUG", "DOSE")))
    assert "DOSE, DRUG" in str(caught.value)


def test_the_recall_is_the_one_in_the_folder(tmp_path: Path) -> None:
    assert "evaluate it" in recall_of(tmp_path)
    (tmp_path / "diptych").mkdir()
    scores = {"my-tagger": {"f1": {"value": 0.9}, "recall": {"value": 0.875}}}
    (tmp_path / "diptych" / "provenance.json").write_text(json.dumps({"scores": scores}), encoding="utf-8")
    assert "87.5%" in recall_of(tmp_path)


def test_a_recipe_takes_personal_data_out_before_anything_is_learnt() -> None:
    settings = {"model": {"preset": "gpt-tiny"}, "task": {"name": "causal-lm", "clean": {"scrub": {"mode": "mask"}}}, "train": {"steps": 1}}
    ledger = Ledger()
    corpus = Corpus([{"text": "手机13912345678"}, {"text": "手机13987654321"}, {"text": "天气很好"}])
    texts = [document.text for document in tidy(corpus.split(0)[0], build(settings), ledger)]
    assert texts == ["手机[MOBILE]", "天气很好"], "what is equal afterwards is kept once"
    assert ledger.count("personal data", "mobile numbers") == 2
