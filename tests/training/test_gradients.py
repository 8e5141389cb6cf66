"""The gradient of a step: the same for one batch of eight, eight of one and ragged windows, and that of sum over count."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diptych.config import TrainSettings
from diptych.packed import Packed
from diptych.tasks.measure import by_tokens, measure
from diptych.tasks.task import Place
from diptych.training.order import Order
from diptych.training.ramps import Batches
from diptych.training.regimes import Plain, compose

TASKS = [
    ("causal-lm", "gpt", {}),
    ("causal-lm", "gpt2", {}),
    ("masked-lm", "bert", {"nsp": False}),
    ("masked-lm", "bert", {"nsp_weight": 1.0}),
    ("masked-lm", "modernbert", {"nsp_weight": 0.25}),
    ("masked-lm", "modernbert", {"nsp": False}),
    ("hybrid-lm", "hybrid", {"causal_share": 0.5, "mask_rate": 0.3}),
    ("hybrid-lm", "hybrid", {"causal_share": 0.2, "mask_span": 3}),
    ("prefix-lm", "gpt", {}),
    ("prefix-lm", "bart", {}),
    ("denoising", "t5", {}),
    ("denoising", "bart", {"noise": "infilling", "shuffle_sentences": True}),
    ("denoising", "transformer", {"noise": "infilling"}),
    ("classification", "bert", {}),
    ("classification", "modernbert", {}),
]
WINDOWS = {"1x8": [8], "8x1": [1] * 8, "ragged": [3, 1, 4], "partial last": [5, 3]}


def gradient(made, places, sizes):
    made.net.zero_grad(set_to_none=True)
    batches, start = [], 0
    for size in sizes:
        groups = by_tokens(made.examples, places[start : start + size], 10_000)
        batches += [made.task.collate(made.examples, group) for group in groups]
        start += size
    assert start == len(places)
    result = Plain().step(made.net, made.task, batches, (0, 0))
    return result, {name: parameter.grad.clone() for name, parameter in made.net.named_parameters() if parameter.grad is not None}


def answers(net, texts, number, ids, types):
    """The logits of one text alone, read in the way in which it was packed."""
    if texts.source is not None:
        start, length = int(texts.source.starts_B[number]), texts.source.lengths[number]
        return net.logits(texts.source.ids_N[None, start : start + length], decoder_input_ids=ids)[0]
    if texts.is_causal is None:
        return net.logits(ids, token_type_ids=types)[0]
    prefix = None if texts.prefix_lengths is None else texts.prefix_lengths[number : number + 1]
    return net.heads["lm"](net.hidden(Packed(ids[0], ids.shape[1:], is_causal=texts.is_causal, prefix_lengths=prefix)))


def brute_force(made, places):
    """The objective by the padded way through the network, text by text: sums over all places, then one division each."""
    net, totals, counts = made.net, {}, {}

    def add(name, nats):
        totals[name] = totals.get(name, 0.0) + nats.sum()
        counts[name] = counts.get(name, 0) + nats.numel()

    for place in places:
        batch = made.task.collate(made.examples, [place])
        lengths, start, votes = batch.texts.lengths, 0, []
        for number, length in enumerate(lengths):
            ids = batch.texts.ids_N[start : start + length][None]
            types = None if batch.texts.types_N is None else batch.texts.types_N[start : start + length][None]
            for name in {"lm", "causal", "masked"} & set(batch.targets):
                asked = batch.targets[name]
                mine = (asked.at_M >= start) & (asked.at_M < start + length)
                logits = answers(net, batch.texts, number, ids, types)
                add(name, F.cross_entropy(logits[asked.at_M[mine] - start], asked.gold_M[mine], reduction="none"))
            alone = Packed(ids[0], (length,), None if types is None else types[0])
            if "nsp" in batch.targets and number in batch.targets["nsp"].at_M.tolist():
                gold = batch.targets["nsp"].gold_M[batch.targets["nsp"].at_M == number]
                add("nsp", F.cross_entropy(net.heads["nsp"](net.hidden(alone), alone), gold, reduction="none"))
            if "classes" in batch.targets:
                votes.append(net.heads["classes"](net.hidden(alone), alone))
            start += length
        if "classes" in batch.targets:
            # A text that is longer than the context is judged by the mean of its windows' logits.
            asked = batch.targets["classes"]
            for first, count, gold in zip(asked.at_M.tolist(), asked.counts_M.tolist(), asked.gold_M, strict=True):
                mean = torch.cat(votes[first : first + count]).mean(0, keepdim=True)
                add("classes", F.cross_entropy(mean, gold[None], reduction="none"))
    weights = made.task.weights
    objective = sum(weights.get(name, 1.0) * totals[name] / counts[name] for name in totals)
    return objective, {name: float(total.detach()) for name, total in totals.items()}, counts


@pytest.mark.parametrize(("name", "family", "settings"), TASKS)
def test_windows_of_any_size_give_the_gradient_of_sum_over_count(name, family, settings, setting):
    made = setting(name, family=family, **settings)
    count = len(made.examples)
    places = [Place(5, 1, index % count) for index in (0, 3, 1, 6, 2, 5, 4, 7)]
    objective, totals, counts = brute_force(made, places)
    made.net.zero_grad(set_to_none=True)
    objective.backward()
    expected = {key: parameter.grad.clone() for key, parameter in made.net.named_parameters() if parameter.grad is not None}
    largest = max(float(tensor.abs().max()) for tensor in expected.values())
    assert largest > 1e-3
    for sizes in WINDOWS.values():
        result, found = gradient(made, places, sizes)
        assert result.counts == counts
        assert result.totals == pytest.approx(totals, rel=1e-5)
        assert result.loss == pytest.approx(float(objective.detach()), rel=1e-5)
        for key, tensor in found.items():
            assert key in expected or not tensor.abs().max()
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", ["causal-lm", "masked-lm", "prefix-lm", "classification"])
def test_a_mean_of_means_would_be_another_gradient(name, setting):
    """The rows are ragged enough that the test above can fail."""
    made = setting(name)
    count = len(made.examples)
    places = [Place(5, 1, index) for index in (0, 1, 2, count - 1)]
    whole, _gradient = gradient(made, places, [4])
    singles = [gradient(made, [place], [1])[0].loss for place in places]
    if name == "classification":
        assert whole.loss == pytest.approx(sum(singles) / 4, rel=1e-5)
    else:
        assert whole.loss != pytest.approx(sum(singles) / 4, rel=1e-4)


@pytest.mark.parametrize("name", ["causal-lm", "masked-lm", "hybrid-lm", "prefix-lm", "denoising", "classification"])
def test_whole_runs_in_windows_of_any_size_end_alike(name, run, setting):
    """An epoch and a half whose last step is a partial one. Answers are compared, not weights: a key's bias has no effect at
    all, so its gradient is nothing but rounding, which AdamW makes steps of."""
    runs = [run(name, epochs=1.5, batch_size=5, checkpoint_steps=None, micro_batch_tokens=size) for size in (10_000, 60, 1)]
    totals = [measure(one.net, one.made.task, one.made.held_out).totals for one in runs]
    fresh = setting(name)
    for head, before in measure(fresh.net, fresh.task, fresh.held_out).totals.items():
        assert head == "errors" or abs(totals[0][head] - before).max() > 0.05
        for other in totals[1:]:
            np.testing.assert_allclose(other[head], totals[0][head], atol=2e-3)


def test_a_step_is_cut_into_windows_by_its_tokens(setting):
    made = setting("classification")
    places = Order(len(made.examples), Batches(8), 0).places(0)
    groups = list(by_tokens(made.examples, places, TrainSettings(micro_batch_tokens=40).micro_batch_tokens))
    assert len(groups) > 2
    assert [place for group in groups for place in group] == places


def test_dropout_is_drawn_from_the_seed_the_step_and_the_window(setting):
    made = setting("classification", dropout=0.3)
    made.net.train()
    places = [Place(0, 0, index) for index in range(6)]
    batches = [made.task.collate(made.examples, places[:3]), made.task.collate(made.examples, places[3:])]

    def loss(seed, step):
        made.net.zero_grad(set_to_none=True)
        torch.rand(int(torch.randint(9, ())))  # whatever came before
        return Plain().step(made.net, made.task, batches, (seed, step)).loss

    assert loss(0, 4) == loss(0, 4)
    assert len({loss(seed, step) for seed in range(3) for step in range(3)}) == 9


def test_a_plain_regime_changes_no_model_and_keeps_no_state(setting):
    made = setting("causal-lm")
    regime = compose(())
    assert regime.prepare(made.net, made.task) is made.net
    assert regime.state() == {}
    assert regime.finish(made.net) is made.net
