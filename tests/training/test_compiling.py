"""torch.compile: tried, remembered, left alone where it does not pay or cannot work, and the same model either way."""

import shutil

import pytest
import torch

from diptych.models.layers import FeedForward
from diptych.training import compiling
from diptych.training.compiling import Trial, settle

LONG = 10_000.0


@pytest.fixture
def backend(monkeypatch):
    """A compiler that compiles nothing and counts what it is given."""
    given = []

    def count(graph, inputs):
        given.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", count)
    yield given
    torch._dynamo.reset()


@pytest.fixture
def clock(monkeypatch):
    """Let steps take what a test says: plain, compiled, and the first compiled one."""

    def set_to(plain, compiled, first):
        seconds = iter([plain, first, *[plain, compiled] * compiling.ROUNDS])
        monkeypatch.setattr(compiling, "_seconds", lambda take, number: next(seconds))

    return set_to


@pytest.fixture
def settled(setting, backend):
    """Settle a small network: (whether it was compiled, what was said, the network)."""

    def go(mode="auto", *, left=lambda seconds: LONG, begin=lambda net: lambda number: None, facts=()):
        said = []
        net = setting("causal-lm").net
        return settle(net, mode, begin, left, dict(facts), said.append), " ".join(said), net

    return go


def programs(net):
    return [module for module in net.modules() if module._compiled_call_impl is not None]


def test_it_pays_where_what_is_saved_is_more_than_compiling_takes():
    trial = Trial(plain=1.0, compiled=0.8, compiling=60)
    assert trial.pays(301) and not trial.pays(299)
    assert not Trial(1.0, 0.97, 0.0).pays(1e9), "so little may be noise"


@pytest.mark.parametrize(("seconds", "pays"), [((1.0, 0.5, 30.0), True), ((1.0, 1.2, 30.0), False), ((1.0, 0.9, 2000.0), False)])
def test_a_trial_decides_and_is_remembered(seconds, pays, settled, clock):
    clock(*seconds)
    found, said, net = settled(facts={"shape": seconds})
    assert found == pays and (len(programs(net)) == 2) == pays
    assert all(isinstance(module, FeedForward) for module in programs(net))
    assert "1 as it is" in said and ("is compiled" in said) == pays
    again, _said, _net = settled(facts={"shape": seconds}, begin=lambda net: pytest.fail("it was remembered"))
    assert again == pays


def test_a_short_run_is_not_worth_a_trial(settled, clock):
    clock(1.0, 0.1, 1.0)
    found, said, net = settled(left=lambda seconds: 300 * seconds, facts={"shape": "short"})
    assert not found and "too short" in said and not programs(net)


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_without_a_compiler_the_run_goes_on_without(mode, settled, clock, monkeypatch):
    clock(1.0, 0.5, 1.0)

    def begin(net):
        if programs(net):
            raise RuntimeError("no C++ compiler\nmore")
        return lambda number: None

    found, said, net = settled(mode, begin=begin, facts={"shape": f"none {mode}"})
    assert not found and "(no C++ compiler)" in said and not programs(net)


@pytest.mark.parametrize("name", ["causal-lm", "masked-lm"])
def test_a_compiled_run_learns_what_a_plain_one_does(name, run, backend, same_bits):
    """This compiler changes nothing, so the bits show that trial and program leave the run alone; looks are not compiled."""
    settings = {"steps": 6, "evaluations": 3, "dropout": 0.1}
    plain = run(name, **settings)
    compiled = run(name, changes={"compile": "always"}, **settings)
    same_bits(plain.net, compiled.net)
    assert compiled.outcome.held_out == plain.outcome.held_out
    assert 1 <= len(backend) <= 2, "one program for all layers, steps and lengths"
    assert not programs(compiled.net)


def test_a_run_with_a_regime_goes_on_without(run, backend):
    done = run("masked-lm", steps=2, regime=("frozen",), changes={"compile": "always"})
    assert not backend
    assert done.outcome.steps == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
def test_a_really_compiled_run_stays_within_the_tolerance_of_run_settings(run):
    torch._dynamo.reset()
    plain, compiled = (run("causal-lm", steps=6, changes={"compile": mode}) for mode in ("never", "always"))
    for one, other in zip(plain.net.parameters(), compiled.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
