"""The model card: Markdown that a person reads, with front matter that the Hub reads."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from diptych.evaluation.intervals import Score, Scores, language_scores
from diptych.ledger import Ledger
from diptych.messages import set_language
from diptych.report.card import CardData, render, write_card


def card(**changes) -> CardData:
    ledger = Ledger()
    ledger.add("corpus", "documents read", 12)
    values = {
        "name": "my-bert",
        "what": "A model.",
        "languages": ["en", "zh"],
        "task": "text-classification",
        "data": ["1,200 rows"],
        "scores": {
            "fine-tuned": Scores([Score("accuracy", 0.9, 0.85, 0.95, 200)]),
            "TF-IDF": Scores([Score("accuracy", 0.8, 0.7, 0.9, 200)]),
        },
        "cost": [("training time", "1.0 min")],
        "limits": ["It was tested on little."],
        "ledger": ledger,
        "parent": "minilm",
        "use": 'diptych predict my-bert "…"',
    }
    return CardData(**{**values, **changes})


def parts(text: str) -> tuple[dict, str]:
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), body


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_front_matter_is_what_the_hub_asks_for(language: str) -> None:
    set_language(language)
    front, body = parts(render(card()))
    assert front == {
        "language": ["en", "zh"],
        "pipeline_tag": "text-classification",
        "tags": ["diptych"],
        "library_name": "transformers",
        "base_model": "minilm",
    }
    assert body.lstrip().startswith("# my-bert")


def test_the_hubs_own_reader_opens_the_card() -> None:
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(render(card()), ignore_metadata_errors=False).data
    assert data.pipeline_tag == "text-classification" and data.language == ["en", "zh"] and data.base_model == "minilm"


@pytest.mark.parametrize("parent", ['a: "b" # c', "- x", "模型/我的", "yes", "---", "C:\\models\\bert", "🙂", "{a}"])
def test_any_name_of_a_parent_stays_a_string(parent: str) -> None:
    front, _ = parts(render(card(parent=parent)))
    assert front["base_model"] == parent


def test_every_score_stands_with_its_interval_and_the_number_of_its_examples() -> None:
    text = render(card())
    assert "fine-tuned: accuracy 0.900 [0.850, 0.950] (n = 200)" in text and "TF-IDF: accuracy 0.800" in text
    assert "documents read" in text and "It was tested on little." in text and 'diptych predict my-bert "…"' in text


def test_one_document_makes_no_endless_numbers() -> None:
    text = render(card(scores={"gpt": language_scores(np.array([900.0]), np.array([9.0]), np.array([20.0]))}))
    assert "inf" not in text and "no interval" in text
    assert max(map(len, text.splitlines())) < 300


def test_what_is_empty_has_no_heading() -> None:
    text = render(card(data=[], scores={"gpt": Scores()}, cost=[], limits=[], ledger=None, parent=None, use=""))
    front, body = parts(text)
    assert "base_model" not in front
    headings = [line for line in body.splitlines() if line.startswith("## ")]
    assert headings == ["## Privacy", "## Licence"], "what is not known is said; what is not there is left out"


def test_a_card_in_utf8_holds_chinese_and_survives_half_a_character(tmp_path: Path) -> None:
    path = write_card(tmp_path / "README.md", card(name="中文🙂", limits=["half \ud83d of one"]))
    text = path.read_text(encoding="utf-8")
    assert "# 中文🙂" in text and "half ? of one" in text
