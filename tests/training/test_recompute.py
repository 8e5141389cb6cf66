"""Insides that are made again are the same to the last bit, and are not kept in between."""

from dataclasses import replace

import pytest
import torch

from diptych import runtime
from diptych.packed import Packed
from diptych.presets import create, preset_config
from diptych.tasks.task import Place
from diptych.training.regimes import compose
from diptych.training.regimes.insides import watched
from diptych.training.rehearsal import _kept_by, kept_bytes
from diptych.training.sizing import Workload

NAMES = ["causal-lm", "masked-lm", "hybrid-lm", "prefix-lm", "denoising", "classification"]
FAMILIES = ["gpt2", "llama", "modernbert-decoder", "mpt"]


def gradient(made, *, recompute, precision="float32"):
    """The loss and gradient of a step with dropout, in pieces of several texts of different lengths."""
    made.net.set_recompute(recompute)
    made.net.train()
    batches = [made.task.collate(made.examples, [Place(0, 0, index, 0.5) for index in group]) for group in ((0, 1), (2,))]
    with runtime.precision(precision, "cpu"):
        result = compose(()).step(made.net, made.task, batches, (0, 3))
    return result.loss, {name: parameter.grad.clone() for name, parameter in made.net.named_parameters() if parameter.grad is not None}


def same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys() and one[1]
    assert [name for name in one[1] if not torch.equal(one[1][name], other[1][name])] == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_bit_equal_for_every_objective(name, precision, setting):
    """The hybrid reads texts in both ways, prefixes and a source come with the texts, and T5's bias is shared by its layers."""
    same(*(gradient(setting(name, dropout=0.2), recompute=on, precision=precision) for on in (False, True)))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_bit_equal_for_every_kind_of_layer(family, setting):
    same(*(gradient(setting("causal-lm", family=family, dropout=0.2), recompute=on) for on in (False, True)))


@pytest.mark.parametrize("lengths", [(6, 6), (7, 5)])
@pytest.mark.parametrize("cell", ["rnn", "bigru", "lstm"])
def test_gradients_of_recurrent_layers_are_bit_equal(cell, lengths):
    found = []
    for is_on in (False, True):
        net = create(f"{cell}-tiny", hidden_size=16, num_layers=2, context_length=32, vocab_size=50)
        net.set_config(dropout=0.2)
        net.set_recompute(is_on)
        net.train()
        torch.manual_seed(0)
        net.hidden(Packed(torch.arange(12), lengths)).square().sum().backward()
        found.append((0.0, {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}))
    same(*found)


def test_the_insides_are_not_kept():
    """What autograd keeps of the layers themselves is nothing; their inputs are held besides."""
    net = create("gpt-tiny", hidden_size=16, head_size=8, num_layers=4, context_length=32, vocab_size=50)
    texts = Packed(torch.zeros(32, dtype=torch.int64), (32,))
    net.train()
    kept = {}
    for is_on in (False, True):
        net.set_recompute(is_on)
        kept[is_on] = sum(storage.nbytes() for storage in _kept_by(net, texts).values())
    assert kept[True] < kept[False] / 3


def test_nothing_is_made_twice_where_nothing_is_learnt():
    net = create("gpt-tiny", hidden_size=16, head_size=8, num_layers=2, context_length=32, vocab_size=50)
    passes = []
    net.body.layers[0].register_forward_pre_hook(lambda *_arguments: passes.append(1))
    net.set_recompute(True)
    texts = Packed(torch.zeros(8, dtype=torch.int64), (5, 3))
    with torch.no_grad():
        net.hidden(texts)
    assert len(passes) == 1
    net.hidden(texts).sum().backward()
    assert len(passes) == 3


def test_a_run_is_the_same_and_may_be_resumed_with_it(run, setting, heard, killed, same_bits, tmp_path):
    settings = {"steps": 6, "dropout": 0.1}
    plain = run("causal-lm", **settings)
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path, listener=heard(3), **settings)
    made = setting("causal-lm", dropout=0.1)
    made.net.set_recompute(True)
    resumed = run("causal-lm", folder=tmp_path, resume=True, made=made, **settings)
    assert resumed.listener.of("resumed")
    same_bits(plain.net, resumed.net)


def test_a_student_is_compared_inside_all_the_same(setting):
    """Distillation looks at queries and keys, which are insides of a layer."""
    found = []
    for is_on in (False, True):
        net = setting("causal-lm", dropout=0.1).net
        net.set_recompute(is_on)
        net.train()
        torch.manual_seed(0)
        texts = Packed(torch.arange(20) % 9, (12, 8))
        with watched(net, hidden=[0], qkv=[1]) as seen:
            last = net.hidden(texts)
        (last.sum() + seen.hidden_ND[0].square().sum() + sum(part.square().sum() for part in seen.qkv_NW[1])).backward()
        found.append((0.0, {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}))
    same(*found)


def test_a_plan_knows_that_less_is_kept():
    load, config = Workload(256, 64, 256), preset_config("gpt-mini")
    less = kept_bytes(config, replace(load, is_recomputed=True), "float32")
    one = kept_bytes(replace(config, num_layers=1), load, "float32")
    assert less == one + 256 * config.num_layers * config.hidden_size * 4
    assert less < kept_bytes(config, load, "float32")
