"""`calibrate` on a tiny classifier: the folder says so everywhere, and no answer changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diptych as dt
from diptych.calibrating import calibrate
from diptych.errors import UsageError
from diptych.model import Model
from diptych.text.tokenizer import Tokenizer

WORDS = ("good", "fine", "bad", "很好", "很差", "🙂")


@pytest.fixture
def classifier(random_net: Callable[..., Any]) -> Model:
    tokenizer = Tokenizer.train([" ".join(WORDS)], "characters", 120, panel="masked")
    net = random_net("bert", vocab_size=tokenizer.vocab_size, token_ids=tokenizer.token_ids, num_layers=1)
    net.ensure_head("classes", labels=("差", "good"), seed=1)
    with torch.no_grad():
        net.heads["classes"].output.weight *= 40.0
    return Model(net.eval(), tokenizer)


def rows_for(model: Model, count: int) -> list[tuple[str, str]]:
    """Texts with the answer of the model, a quarter of them turned round: it is far too sure."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, 5)) + f" {number}" for number in range(count)]
    said = model.predict(texts)
    return [
        (text, each.label if draw.random() < 0.75 else {"差": "good", "good": "差"}[each.label])
        for text, each in zip(texts, said, strict=True)
    ]


def test_the_error_falls_on_rows_it_was_not_found_on_and_no_answer_changes(classifier: Model, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    rows = rows_for(classifier, 240)
    before = classifier.predict([text for text, _label in rows])
    found = calibrate(classifier, rows, tmp_path / "out", target=0.6)
    assert found.is_better and found.temperature > 1 and found.after.error.value < 0.5 * found.before.error.value
    assert found.after.nats.value < found.before.nats.value and found.num_fitted + found.before.error.n == len({text for text, _ in rows})
    opened = dt.load(tmp_path / "out")
    after = opened.predict([text for text, _label in rows])
    assert [each.label for each in before] == [each.label for each in after]
    for first, second in zip(before, after, strict=True):
        if first.probability < 0.9999:  # a probability of one in float32 has no odds
            odds = [np.log(each.probability / (1 - each.probability)) for each in (first, second)]
            assert odds[0] / found.temperature == pytest.approx(odds[1], rel=1e-2, abs=1e-3)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids, _types = opened.tokenizer.frame(opened.tokenizer.encode(rows[0][0]))
    with torch.no_grad():
        chance = theirs(torch.tensor([ids])).logits.softmax(-1).max()
    assert float(chance) == pytest.approx(after[0].probability, abs=1e-5)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "diptych" / "calibration.html").read_text(encoding="utf-8")
    assert found.verdict in card and page.count("<svg") == 2 and "<script" not in page


def test_what_cannot_be_calibrated_is_said(classifier: Model) -> None:
    with pytest.raises(UsageError, match="E848"):
        calibrate(classifier, [("good", "good"), ("bad", "差")])
    with pytest.raises(UsageError, match="E849"):
        calibrate(classifier, [("good", "good")], target=1.5)
    with pytest.raises(UsageError, match="E847"):
        calibrate(dt.create("gpt-tiny"), [("good", "good")])
