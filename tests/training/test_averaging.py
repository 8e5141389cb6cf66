"""The mean of the weights against a recomputed one: looked at, kept and handed over, and without a trace in the steps."""

import copy

import pytest
import torch

from diptych.config import TrainSettings, parse
from diptych.errors import RecipeError
from diptych.training.averaging import WeightMean
from diptych.training.checkpoint import load_checkpoint


def trail(run, steps, **settings):
    """The weights after each of the first steps, each from a run of its own without a mean that ends there."""
    nets = []
    changes = {"snapshots": tuple(range(1, 10_000)), "keep_snapshot": lambda net, _place: nets.append(net)}
    run("causal-lm", steps=steps, changes=changes, schedule="constant", warmup=0.0, **settings)
    distinct = [nets[0]]
    for net in nets[1:]:
        if any(not torch.equal(a, b) for a, b in zip(net.parameters(), distinct[-1].parameters(), strict=True)):
            distinct.append(net)
    assert len(distinct) == steps
    return distinct


def expected_mean(start, after, decay):
    """The mean as its definition has it, in double precision."""
    means = {name: parameter.detach().double() for name, parameter in start.named_parameters()}
    for step, net in enumerate(after, 1):
        keep = min(decay, (1 + step) / (10 + step))
        means = {name: keep * means[name] + (1 - keep) * parameter.detach().double() for name, parameter in net.named_parameters()}
    return means


def close(net, means):
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), means[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_what_a_run_leaves_is_the_mean_of_the_weights_it_passed(decay, run, setting):
    start = copy.deepcopy(setting("causal-lm").net)
    done = run("causal-lm", steps=6, ema=decay, schedule="constant", warmup=0.0)
    close(done.net, expected_mean(start, trail(run, 6), decay))


def test_the_steps_are_those_of_a_run_without_a_mean(run):
    runs = [run("causal-lm", steps=8, evaluations=4, **mean) for mean in ({}, {"ema": 0.9})]
    one, other = ([event["loss"] for event in each.listener.of("step")] for each in runs)
    assert one == other


def test_the_looks_are_at_the_mean(run):
    """The last look sees what is handed over, and not the weights."""
    plain, mean = (run("causal-lm", steps=8, evaluations=1, **settings) for settings in ({}, {"ema": 0.9}))
    assert plain.outcome.held_out != mean.outcome.held_out
    again = run("causal-lm", steps=1, lr=1e-30, weight_decay=0.0, evaluations=1, made=mean.made)
    assert again.outcome.held_out["lm"] == pytest.approx(mean.outcome.held_out["lm"], rel=1e-6)


@pytest.mark.slow
def test_a_snapshot_is_the_mean_as_well(run, setting):
    start, kept = copy.deepcopy(setting("causal-lm").net), []
    changes = {"snapshots": (150,), "keep_snapshot": lambda net, _place: kept.append(net)}
    run("causal-lm", steps=6, ema=0.5, changes=changes, schedule="constant", warmup=0.0)
    after = trail(run, 6)
    matches = []
    for step in range(1, 7):
        means = expected_mean(start, after[:step], 0.5)
        pairs = [(parameter.detach().double(), means[name]) for name, parameter in kept[0].named_parameters()]
        matches.append(all(torch.allclose(*pair, rtol=1e-5, atol=1e-6) for pair in pairs))
    assert sum(matches) == 1


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, marks=pytest.mark.slow), {"dropout": 0.1}, {"optimizer": "muon"}, {"patience": 2, "evaluations": 9, "lr": 0.3}],
    ids=str,
)
@pytest.mark.parametrize("name", ["causal-lm", "classification"])
def test_a_killed_run_goes_on_with_the_mean_it_had(name, settings, run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "ema": 0.8, **settings}
    undisturbed = run(name, folder=tmp_path / "undisturbed", **settings)
    with pytest.raises(killed):
        run(name, folder=tmp_path / "killed", listener=heard(3), **settings)
    resumed = run(name, folder=tmp_path / "killed", resume=True, **settings)
    assert resumed.listener.of("resumed")
    same_bits(undisturbed.net, resumed.net)
    assert resumed.outcome.held_out == undisturbed.outcome.held_out


def test_a_run_that_is_over_gives_the_mean_again(run, same_bits, tmp_path):
    done = run("causal-lm", steps=5, ema=0.9, folder=tmp_path)
    same_bits(done.net, run("causal-lm", steps=5, ema=0.9, folder=tmp_path, resume=True).net)


def test_a_checkpoint_has_both(run, tmp_path):
    done = run("causal-lm", steps=4, ema=0.9, folder=tmp_path)
    tensors = load_checkpoint(tmp_path)[0]
    for name, parameter in done.net.named_parameters():
        assert torch.equal(tensors["mean"][name], parameter)
        assert not torch.equal(tensors["weights"][name], parameter) or not parameter.any()


def test_weights_that_do_not_learn_have_no_mean(setting):
    net = setting("classification").net
    net.body.requires_grad_(False)
    assert WeightMean(net, 0.9).means.keys() == {name for name, _p in net.named_parameters() if name.startswith("heads.")}


def test_the_weights_come_back_bit_for_bit_though_something_fails(setting):
    net = setting("causal-lm").net
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    mean = WeightMean(net, 0.9)
    for tensor in mean.means.values():
        tensor.zero_()
    with pytest.raises(KeyError), mean.in_place():
        assert not any(parameter.any() for parameter in net.parameters())
        raise KeyError
    assert all(torch.equal(before[name], parameter) for name, parameter in net.named_parameters())


@pytest.mark.parametrize("decay", [0, 1, -0.5, "much"])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(RecipeError, match="ema"):
        parse(TrainSettings, {"ema": decay}, where="recipe.yaml")
