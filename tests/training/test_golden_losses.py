"""The first twenty losses of four small runs, as they were: this is the one place where our own output is what we expect.

A refactor changes none of them. A change that is meant to change what is learnt writes them anew, and its commit says why:

    DIPTYCH_WRITE_GOLDEN=1 pytest tests/training/test_golden_losses.py

Weights, order and masks come from seeds; float32 products differ between processors in their last bits. Initial weights that
are off by a millionth change these losses by less than a hundredth of what is allowed here, a learning rate that is off by
a thousandth by more than it.
"""

import json
import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("golden_losses.json")
ALLOWED = 1e-4
"""In nats, of losses between 0.5 and 6."""
RUNS = {
    "gpt, next word, Muon": {"name": "causal-lm", "optimizer": "muon"},
    "gpt2, next word, dropout and a cosine": {"name": "causal-lm", "family": "gpt2", "dropout": 0.1, "schedule": "cosine"},
    "bert, masked words and next sentence, in pieces": {"name": "masked-lm", "micro_batch_tokens": 30},
    "modernbert, two classes, frozen body": {"name": "classification", "family": "modernbert", "regime": ("frozen",)},
}


def losses(run, recipe):
    settings = dict(recipe)
    done = run(settings.pop("name"), steps=20, **settings)
    return [event["loss"] for event in done.listener.of("step")]


@pytest.mark.parametrize("name", RUNS)
def test_the_first_losses_are_those_of_before(name, run):
    found = losses(run, RUNS[name])
    if os.environ.get("DIPTYCH_WRITE_GOLDEN"):
        kept = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
        kept[name] = [round(loss, 6) for loss in found]
        GOLDEN.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    assert len(found) == len(expected) == 20
    assert found == pytest.approx(expected, abs=ALLOWED, rel=0)


def test_a_learning_rate_that_is_off_by_a_thousandth_is_noticed(run):
    name = "gpt, next word, Muon"
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    assert losses(run, {**RUNS[name], "lr": 0.01001}) != pytest.approx(expected, abs=ALLOWED, rel=0)
