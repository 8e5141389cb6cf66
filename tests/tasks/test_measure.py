"""Measuring: sums over sums, whatever the batches are, and a model that is left as it was."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diptych.ledger import Ledger
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.classification import Classification, ClassificationSettings
from diptych.tasks.masked_lm import MaskedLM, MaskedLMSettings
from diptych.tasks.measure import Measured, by_tokens, measure
from diptych.tasks.tables import LabelledRow
from diptych.tasks.task import Place


@pytest.fixture(params=["causal-lm", "masked-lm", "classification"])
def setting(request, texts, causal_tokenizer, masked_tokenizer, causal_shards, masked_shards, tiny_net):
    """(network, task, examples) of each task."""
    if request.param == "causal-lm":
        task, tokenizer, source, net = (
            CausalLM(CausalLMSettings()),
            causal_tokenizer,
            causal_shards,
            tiny_net("gpt", causal_tokenizer.vocab_size),
        )
    elif request.param == "masked-lm":
        task, tokenizer, source, net = (
            MaskedLM(MaskedLMSettings()),
            masked_tokenizer,
            masked_shards,
            tiny_net("bert", masked_tokenizer.vocab_size),
        )
    else:
        task, tokenizer = Classification(ClassificationSettings()), masked_tokenizer
        source = [LabelledRow((text,), label, "") for text, label in zip(texts, "aabbca", strict=True)]
        net = tiny_net("modernbert", masked_tokenizer.vocab_size)
    examples = task.examples(source, tokenizer, 24, Ledger())
    task.prepare(net, 0)
    return net, task, examples


def test_the_mean_is_the_sum_of_all_nats_over_the_number_of_all_targets(setting):
    net, task, examples = setting
    measured = measure(net, task, examples)
    for name in task.heads:
        total, count = 0.0, 0
        for index in range(len(examples)):
            batch = task.collate(examples, [Place(0, -1, index)])
            targets = batch.targets[name]
            if not len(targets.gold_M):
                continue
            with torch.inference_mode():
                logits = task.forward(net, batch)[name].logits()
            total += float(F.cross_entropy(logits, targets.gold_M, reduction="sum"))
            count += len(targets.gold_M)
        assert measured.counts[name].sum() == count
        assert measured.mean(name) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 17, 60])
def test_the_result_does_not_depend_on_the_size_of_the_batches(setting, batch_tokens):
    net, task, examples = setting
    whole, parts = measure(net, task, examples), measure(net, task, examples, batch_tokens=batch_tokens)
    assert whole.keys.tolist() == parts.keys.tolist()
    assert whole.num_tokens == parts.num_tokens
    for name in whole.totals:
        assert whole.counts[name].tolist() == parts.counts[name].tolist()
        np.testing.assert_allclose(parts.totals[name], whole.totals[name], rtol=1e-5, atol=1e-5)


def test_two_looks_see_the_same(setting):
    net, task, examples = setting
    first, second = measure(net, task, examples), measure(net, task, examples)
    assert all(np.array_equal(first.totals[name], second.totals[name]) for name in first.totals)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_look_leaves_mode_gradients_and_chance_as_they_were(setting, is_training):
    net, task, examples = setting
    net.train(is_training)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    measure(net, task, examples)
    assert torch.equal(torch.get_rng_state(), before)
    assert net.training is is_training
    assert all(module.training is is_training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_dropout_is_off_while_measuring(setting):
    net, task, examples = setting
    expected = measure(net, task, examples)
    net.set_config(dropout=0.5)
    net.train()
    found = measure(net, task, examples)
    assert all(np.array_equal(found.totals[name], expected.totals[name]) for name in found.totals)


def test_a_sample_is_the_same_each_time_and_holds_what_was_asked(setting):
    net, task, examples = setting
    first, second = (measure(net, task, examples, max_tokens=40) for _ in range(2))
    assert first.keys.tolist() == second.keys.tolist()
    longest = max(examples.num_tokens(index) for index in range(len(examples)))
    assert 40 <= first.num_tokens <= 40 + 2 * longest
    assert len(first.keys) < len(measure(net, task, examples).keys)


def test_at_least_one_example_is_looked_at(setting):
    net, task, examples = setting
    assert measure(net, task, examples, max_tokens=1).num_tokens > 0


def test_a_term_that_nothing_was_asked_of_has_no_mean(texts, masked_tokenizer, tiny_net):
    task = Classification(ClassificationSettings(), ("a", "b"))
    examples = task.examples([LabelledRow((texts[0],), "never seen", "")], masked_tokenizer, 24, Ledger())
    net = tiny_net("bert", masked_tokenizer.vocab_size)
    task.prepare(net, 0)
    measured = measure(net, task, examples)
    assert np.isnan(measured.mean("classes")) and measured.counts["classes"].sum() == 0


@pytest.mark.parametrize("limit", [1, 24, 50, 10_000])
def test_groups_hold_every_place_in_order_and_no_more_tokens_than_they_may(setting, limit):
    _net, _task, examples = setting
    places = [Place(0, 0, index) for index in reversed(range(len(examples)))]
    groups = list(by_tokens(examples, places, limit))
    assert [place for group in groups for place in group] == places
    for group in groups:
        assert len(group) == 1 or sum(examples.num_tokens(place.index) for place in group) <= limit


def test_the_standard_error_is_that_of_a_mean_where_every_example_counts_once() -> None:
    values = np.random.default_rng(0).normal(2.0, 0.5, 400)
    measured = Measured(np.arange(400), {"errors": values}, {"errors": np.ones(400, np.int64)}, 400)
    assert measured.standard_error("errors") == pytest.approx(values.std() / 20)
