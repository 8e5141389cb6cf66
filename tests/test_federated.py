"""Federated recipes from end to end: one client is the run without a federation, in fine-tuning and in pretraining alike."""

import pytest
import torch

from diptych.errors import TrainingError
from diptych.finetuning import finetune_recipe
from diptych.pretraining import pretrain_recipe
from diptych.recipe import build
from diptych.training.progress import Several

TINY = {"hidden_size": 32, "num_layers": 1, "head_size": 16, "context_length": 32}
ROWS = [
    (f"{what} {number} {word}", label) for number in range(10) for what in ("room", "菜") for word, label in (("好", "a"), ("bad", "b"))
]
TEXTS = [f"Text {number}: the fox and the crow.\r\n第{number}篇：狐狸和乌鸦。" for number in range(30)]


def recipe(task, *regime, cache=None, **train):
    model = {"preset": "bert-tiny", "sizes": TINY, "tokenizer": {"vocab_size": 300}}
    parts = {"model": model, "task": {"name": task}, "train": {"dropout": 0.1, "evaluations": 1, "regime": list(regime), **train}}
    return build({**parts, "run": {"precision": "float32", "threads": 1, "cache": cache}})


def same(one, other):
    left, right = one.net.state_dict(), other.net.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_one_client_is_fine_tuning_bit_for_bit():
    alone = {"name": "federated", "clients": 1, "by": "labels", "rounds": 3}
    found = [finetune_recipe(recipe("classification", *regime, epochs=2.0), ROWS, listener=Several([])) for regime in ([], [alone])]
    assert same(found[0].model, found[1].model)
    assert found[0].scores["accuracy"].value == found[1].scores["accuracy"].value


def test_one_client_is_pretraining_bit_for_bit_and_several_are_not(tmp_path):
    regimes = [[], [{"name": "federated", "clients": 1, "rounds": 2}], [{"name": "federated", "clients": 3, "rounds": 2}]]
    found = [
        pretrain_recipe(recipe("masked-lm", *regime, cache=str(tmp_path), steps=4), list(TEXTS), listener=Several([])) for regime in regimes
    ]
    assert same(found[0].model, found[1].model) and not same(found[0].model, found[2].model)


def test_another_regime_around_the_rounds_is_refused():
    with pytest.raises(TrainingError) as caught:
        finetune_recipe(recipe("classification", "federated", "lora", epochs=1.0), ROWS, listener=Several([]))
    assert caught.value.code == "E580" and "lora" in str(caught.value)
