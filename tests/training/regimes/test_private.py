"""Runs with differential privacy: the traps of other tools each raise or are accounted for, and a resumed run is the same run."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diptych.errors import RecipeError, TrainingError
from diptych.streams import stream
from diptych.tasks.task import Place
from diptych.training.checkpoint import load_checkpoint
from diptych.training.private.accounting import Account, epsilon, noise_for, steps_for
from diptych.training.private.noise import add_noise, of_system
from diptych.training.private.units import Units, UnitTask
from diptych.training.regimes import compose
from diptych.training.regimes.private import Private
from diptych.training.regimes.regime import Surroundings
from diptych.training.sampling import Sampled

PRIVATE = {"name": "private", "noise": 1.0, "accountant": "rdp", "key": 5}


def private(**settings):
    return ({**PRIVATE, **settings},)


def test_epsilon_is_what_the_two_accountants_are_known_to_give():
    """sigma 1.1, a hundredth of the data a step, 1,000 steps, delta 1e-5."""
    history = ((1.1, 0.01, 1000),)
    assert epsilon(history, 1e-5, "rdp") == pytest.approx(1.7118, abs=5e-5)
    assert epsilon(history, 1e-5, "prv") == pytest.approx(1.5255, abs=5e-5)


def by_binomials(history, delta):
    """RDP of the subsampled Gaussian at whole orders (Mironov, Talwar and Zhang 2019, eq. 3.3), turned by Canonne et al. 2020, prop. 12."""
    best = math.inf
    for order in (*range(2, 11), *range(12, 64)):  # Opacus' list has no 11
        total = 0.0
        for noise, rate, steps in history:
            terms = [
                math.lgamma(order + 1)
                - math.lgamma(k + 1)
                - math.lgamma(order - k + 1)
                + k * math.log(rate)
                + (order - k) * math.log1p(-rate)
                + (k * k - k) / (2 * noise**2)
                for k in range(order + 1)
            ]
            total += steps * float(np.logaddexp.reduce(terms)) / (order - 1)
        best = min(best, total + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return best


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_random_schedules_cost_what_opacus_says_however_often_they_are_resumed(count):
    from opacus.accountants import RDPAccountant

    draw = stream(0, "schedules")
    for _schedule in range(count):
        theirs, ours = RDPAccountant(), Account("rdp")
        for _segment in range(int(draw.integers(1, 4))):
            noise, rate, steps = float(draw.uniform(0.6, 3)), float(draw.uniform(0.001, 0.2)), int(draw.integers(1, 30))
            for _step in range(steps):
                theirs.step(noise_multiplier=noise, sample_rate=rate)
                ours.step(noise, rate)
            resumed = Account("rdp")
            resumed.restore(ours.state())
            ours = resumed
        delta = float(10 ** draw.uniform(-8, -3))
        found = ours.epsilon(delta)
        assert found == pytest.approx(theirs.get_epsilon(delta), abs=1e-6)
        # Orders between whole numbers can only make the bound lower.
        assert found <= by_binomials(ours.history, delta) + 1e-6


def test_noise_for_a_target_is_the_least_and_steps_for_a_budget_the_most():
    noise = noise_for(3.0, 1e-5, 0.02, 500, "rdp")
    assert 2.9 < epsilon(((noise, 0.02, 500),), 1e-5, "rdp") <= 3.0
    assert epsilon(((noise * 0.998, 0.02, 500),), 1e-5, "rdp") > 3.0
    steps = steps_for(3.0, 1e-5, 0.02, 1.0, "rdp")
    assert epsilon(((1.0, 0.02, steps),), 1e-5, "rdp") <= 3.0 < epsilon(((1.0, 0.02, steps + 1),), 1e-5, "rdp")
    with pytest.raises(TrainingError, match="E558"):
        noise_for(1e-9, 1e-12, 0.9, 10_000_000, "rdp")


def test_every_unit_is_drawn_by_itself_with_its_own_probability():
    order = Sampled(200, 0.1, key=7, seed=0)
    seen = np.zeros((400, 200))
    for step in range(400):
        places = order.places(step)
        assert all(place.epoch == step and place.seed == 0 for place in places)
        seen[step, [place.index for place in places]] = 1
    sizes = seen.sum(1)
    assert abs(seen.mean() - 0.1) < 0.005
    # A binomial's variance: a sampler of fixed batches has none, one of permuted epochs has fewer repeats.
    assert sizes.var() == pytest.approx(200 * 0.1 * 0.9, rel=0.25)
    assert abs(np.corrcoef(seen[:-1].ravel(), seen[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(seen[:, :-1].ravel(), seen[:, 1:].ravel())[0, 1]) < 0.02
    assert [p.index for p in order.places(3)] == [p.index for p in Sampled(200, 0.1, key=7, seed=9).places(3)]
    assert [p.index for p in order.places(3)] != [p.index for p in Sampled(200, 0.1, key=8, seed=0).places(3)]


@pytest.mark.parametrize("is_cryptographic", [False, True])
def test_noise_is_normal_of_the_size_that_is_asked_for(is_cryptographic):
    layer = torch.nn.Linear(200, 300)
    layer.weight.grad = torch.full_like(layer.weight, 2.0)
    add_noise(layer.parameters(), 0.5, 3, 0, is_cryptographic=is_cryptographic)
    noise = layer.weight.grad - 2.0
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.std()) == pytest.approx(0.5, rel=0.01)
    assert float((noise / 0.5).pow(4).mean()) == pytest.approx(3.0, rel=0.05)
    assert float((noise.abs() > 1.5).float().mean()) == pytest.approx(0.0027, abs=0.001)
    # A weight that no unit asked for is hidden as well.
    assert layer.bias.grad is not None and float(layer.bias.grad.std()) > 0.3


def test_the_systems_noise_differs_each_time_and_the_keyed_one_does_not():
    assert not torch.equal(of_system(101), of_system(101))
    found = []
    for key, step in ((1, 0), (1, 0), (2, 0), (1, 1)):
        layer = torch.nn.Linear(5, 5)
        layer.weight.grad = layer.bias.grad = None
        add_noise(layer.parameters(), 1.0, key, step, is_cryptographic=False)
        found.append(layer.weight.grad)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


@pytest.mark.parametrize(
    ("name", "settings"),
    [("causal-lm", {}), ("masked-lm", {"nsp": False}), ("hybrid-lm", {}), ("prefix-lm", {}), ("denoising", {}), ("classification", {})],
)
def test_every_task_learns_privately_and_says_what_it_cost(name, settings, run, setting):
    made = setting(name, **settings)
    before = {key: tensor.clone() for key, tensor in made.net.state_dict().items()}
    regime = compose(private(noise=0.5))
    done = run(name, made=made, regime=regime, steps=4, batch_size=3, lr=1e-3)
    assert done.outcome.steps == 4
    told = done.listener.of("step")
    assert [event["epsilon"] for event in told] == sorted(event["epsilon"] for event in told)
    promised = regime.facts()["privacy"]
    history = ((0.5, 3 / promised["units"], 4),)
    assert promised["epsilon"] == pytest.approx(epsilon(history, promised["delta"], "rdp"))
    assert promised["epsilon"] == pytest.approx(told[-1]["epsilon"])
    # What noise has touched has moved: all that learns (a run that looks normal and moves nothing is known from elsewhere).
    still = [key for key, tensor in done.net.named_parameters() if torch.equal(tensor, before[key])]
    assert not still


def test_without_noise_and_clipping_a_private_step_is_the_mean_over_its_units(setting):
    made = setting("classification")
    regime = Private(compose(()), Private.Settings(name="private", noise=0.0, clip=1e9), Surroundings())
    net = regime.prepare(made.net, made.task).eval()
    task, units = regime.show(made.task, made.examples)
    regime.order(SimpleNamespace(num_examples=8, batches=SimpleNamespace(batch_size=4, ramp_steps=0), seed=0), SimpleNamespace(steps=2))
    pieces = [task.collate(units, [Place(0, 0, index) for index in few]) for few in ([0, 3], [5], [6, 7])]
    regime.step(net, task, pieces, (0, 0))
    found = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    net.zero_grad()
    whole = made.task.collate(made.examples, [Place(0, 0, index) for index in (0, 3, 5, 6, 7)])
    (made.task.loss(made.task.forward(net, whole), whole)["classes"].total_B.sum() / 4).backward()
    for name, parameter in net.named_parameters():
        # Nothing comes back to a key's bias, nor to token types that nobody has.
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-4)


def test_no_unit_moves_a_step_by_more_than_the_clipping_length(setting):
    made = setting("causal-lm")
    clip, found = 0.01, []
    for left_out in (None, 2):
        regime = Private(compose(()), Private.Settings(name="private", noise=0.0, clip=clip), Surroundings())
        net = regime.prepare(made.net, made.task).eval()
        task, units = regime.show(made.task, made.examples)
        regime.order(SimpleNamespace(num_examples=8, batches=SimpleNamespace(batch_size=1, ramp_steps=0), seed=0), SimpleNamespace(steps=2))
        places = [Place(0, 0, index) for index in range(5) if index != left_out]
        regime.step(net, task, [task.collate(units, places)], (0, 0))
        found.append({name: parameter.grad.clone() for name, parameter in net.named_parameters()})
        net.zero_grad()
    moved = torch.stack([(found[0][name] - found[1][name]).norm() for name in found[0]]).norm()
    assert float(moved) == pytest.approx(clip, rel=1e-3)


def test_a_resumed_run_is_the_same_run_and_is_accounted_for_once(run, tmp_path, same_bits, heard, killed):
    settings = {"steps": 6, "batch_size": 3, "checkpoint_steps": 2}
    whole = run("classification", regime=compose(private()), **settings)
    with pytest.raises(killed):
        run("classification", regime=compose(private()), folder=tmp_path, listener=heard(at_step=5), **settings)
    # The key is the run's, not the recipe's: it comes from the checkpoint.
    regime = compose(private(key=None))
    again = run("classification", regime=regime, folder=tmp_path, resume=True, **settings)
    same_bits(whole.net, again.net)
    assert regime.facts()["privacy"]["steps"] == 6


def test_two_runs_of_one_recipe_have_other_noise(run, same_bits):
    nets = [run("classification", regime=compose(private(key=None)), steps=2, batch_size=3).net for _run in range(2)]
    with pytest.raises(AssertionError):
        same_bits(*nets)


def test_a_run_is_not_resumed_with_another_noise_clipping_or_batch(run, tmp_path):
    run("classification", regime=compose(private()), folder=tmp_path, steps=2, batch_size=3)
    for changes, size, what in (({"noise": 0.9}, 3, "noise"), ({"clip": 2.0}, 3, "clip"), ({}, 4, "rate")):
        with pytest.raises(TrainingError, match="E567") as caught:
            run("classification", regime=compose(private(**changes)), folder=tmp_path, steps=4, batch_size=size, resume=True)
        assert caught.value.values["what"] == what


def test_the_checkpoint_keeps_the_account(run, tmp_path):
    run("classification", regime=compose(private()), folder=tmp_path, steps=4, batch_size=2, checkpoint_steps=2)
    _tensors, state = load_checkpoint(tmp_path)
    assert state["regime"]["private"]["history"] == [[1.0, 0.25, 4]]


@pytest.mark.slow
def test_a_budget_of_epsilon_ends_the_run_and_the_schedule_with_it(run):
    regime = compose(private(epsilon=6.0, noise=1.0))
    done = run("classification", regime=regime, steps=1000, batch_size=2, schedule="linear", warmup=0.0)
    allowed = steps_for(6.0, 0.1 / 8, 0.25, 1.0, "rdp")
    assert 1 < done.outcome.steps == allowed < 1000
    assert regime.facts()["privacy"]["epsilon"] <= 6.0
    rates = [event["lr"] for event in done.listener.of("step")]
    assert rates[-1] < 0.2 * rates[0]


def test_a_target_sets_the_noise_by_the_steps_and_needs_to_know_them(run):
    regime = compose([{"name": "private", "epsilon": 8.0, "accountant": "rdp"}])
    done = run("classification", regime=regime, epochs=2, batch_size=2)
    assert done.outcome.steps == 8
    promised = regime.facts()["privacy"]
    assert 7.9 < promised["epsilon"] <= 8.0
    for budget in ({"tokens": 500}, {"minutes": 1.0}):
        with pytest.raises(TrainingError, match="E565"):
            run("classification", regime=compose([{"name": "private", "epsilon": 8.0, "accountant": "rdp"}]), batch_size=2, **budget)


def test_a_batch_larger_than_the_data_and_batches_that_grow_are_refused(run):
    with pytest.raises(TrainingError, match=r"E563.*9.*8"):
        run("classification", regime=compose(private()), steps=2, batch_size=9)
    with pytest.raises(TrainingError, match="E564"):
        run("classification", regime=compose(private()), steps=8, batch_size=4, batch_ramp={"start": 0.5, "until": 1.0})


def test_texts_that_grow_are_refused(run):
    ramp = [{"length": 4, "until": 0.5}]
    with pytest.raises(TrainingError, match="E553"):
        run("causal-lm", regime=compose(private()), steps=2, batch_size=3, length_ramp=ramp)


def test_a_delta_that_gives_one_away_and_noise_that_is_known_are_said_aloud(run):
    done = run("classification", regime=compose(private(delta=0.2)), steps=1, batch_size=2)
    said = " ".join(event["text"] for event in done.listener.of("stage"))
    assert "no less than one in 8" in said
    assert "take the noise away" in said
    done = run("classification", regime=compose(private(noise=0.0, key=None)), steps=1, batch_size=2)
    assert "nothing is promised" in " ".join(event["text"] for event in done.listener.of("stage"))
    assert "epsilon" not in done.listener.of("step")[-1]


def test_groups_need_a_column_without_empty_cells(setting):
    made = setting("classification")
    with pytest.raises(TrainingError, match="E554"):
        Units(made.examples, "group", 8)
    with pytest.raises(TrainingError, match=r"E555.*2 of 8"):
        Units(made.examples, "group", 8, ["a", "", "b", "  ", "b", "c", "c", "c"])


def test_of_a_large_unit_some_examples_are_shown_others_each_time(setting):
    made = setting("classification")
    units = Units(made.examples, "group", 2, ["a"] * 7 + ["b"])
    assert len(units) == 2
    shown = {step: [place.index for place in units.shown(Place(0, step, 0))] for step in range(20)}
    assert all(len(rows) == 2 for rows in shown.values())
    assert len({tuple(rows) for rows in shown.values()}) > 5
    assert units.num_tokens(0) < sum(made.examples.num_tokens(row) for row in range(7))


def test_a_document_is_one_unit_however_many_rows_it_takes_and_however_they_are_packed(setting):
    made = setting("causal-lm")
    units = Units(made.examples, "document", 8)
    assert len(units) == made.examples.shards.num_documents
    assert max(len(units.of(unit)) for unit in range(len(units))) > 1
    assert len(Units(made.examples, "example", 8)) == sum(len(units.of(unit)) for unit in range(len(units)))
    for unit in range(len(units)):
        batch = UnitTask(made.task).collate(units, [Place(0, 0, unit)])
        assert set(batch.inner.keys) == {unit}


@pytest.mark.parametrize(
    ("name", "settings", "what"),
    [("masked-lm", {"nsp": True}, "passages of other documents"), ("classification", {"class_weights": "balanced"}, "how many examples")],
)
def test_a_task_whose_examples_depend_on_others_is_refused(name, settings, what, run, setting):
    with pytest.raises(TrainingError, match="E561") as caught:
        run(name, made=setting(name, **settings), regime=compose(private()), steps=2, batch_size=2)
    assert what in str(caught.value)


def test_in_batch_contrast_is_refused_and_pairs_that_cost_by_themselves_are_not():
    from diptych.tasks.embedding import Embedding, EmbeddingSettings

    assert Embedding(EmbeddingSettings()).leans_on()
    assert Embedding(EmbeddingSettings(objective="order")).leans_on()
    assert Embedding(EmbeddingSettings(objective="value")).leans_on() is None


def test_a_layer_that_nothing_comes_back_to_is_noised_and_not_measured(setting):
    made = setting("masked-lm", sop=True)
    made.task.weights = {"nsp": 0.0}
    regime = compose(private(noise=0.0))
    net = regime.prepare(made.net, made.task)
    task, units = regime.show(made.task, made.examples)
    regime.order(SimpleNamespace(num_examples=8, batches=SimpleNamespace(batch_size=2, ramp_steps=0), seed=0), SimpleNamespace(steps=2))
    made.task.forward = lambda net, batch: {"lm": type(made.task).forward(made.task, net, batch)["lm"]}
    regime.step(net, task, [task.collate(units, [Place(0, 0, 0), Place(0, 0, 1)])], (0, 0))
    assert not net.heads["pooler"].dense.weight.grad.any()
    assert net.heads["lm"].transform.dense.weight.grad.any()


def test_a_budget_that_not_one_step_fits_into_is_refused(run):
    with pytest.raises(TrainingError, match="E566"):
        run("classification", regime=compose(private(epsilon=0.5, noise=0.5)), steps=4, batch_size=4)


def test_a_regime_that_is_not_accounted_for_is_refused_inside_and_private_inside_another(setting):
    made = setting("classification")
    with pytest.raises(TrainingError, match=r"E560.*distilled"):
        compose([{"name": "distilled", "teacher": "nobody"}, *private()]).prepare(made.net, made.task)
    with pytest.raises(TrainingError, match=r"E560.*lora"):
        compose([*private(), "lora"]).prepare(made.net, made.task)


def test_layers_that_are_made_again_are_refused(setting):
    made = setting("classification")
    made.net.set_recompute(True)
    with pytest.raises(TrainingError, match="E562"):
        compose(private()).prepare(made.net, made.task)


def test_a_layer_that_clips_wrongly_is_found_before_the_first_step(run, setting, monkeypatch):
    """What no list of layers sees: a measure that forgets something."""
    from diptych.training.private.records import LinearRecord

    monkeypatch.setattr(LinearRecord, "squares", lambda self: _squares(self) * 0.5)
    with pytest.raises(TrainingError, match="E559"):
        run("classification", regime=compose(private(clip=1e-3)), steps=2, batch_size=2)


def _squares(record):
    from diptych.kernels.ghost import joined, linear_squares
    from diptych.training.private.records import one

    record._x, record._g, record._rows = [one(record._x)], [one(record._g)], [joined(record._rows)]
    return linear_squares(record._x[0], record._g[0], record._rows[0], has_bias=record.bias is not None)


def test_a_step_that_shows_nobody_is_taken_and_paid_for(run, setting, monkeypatch):
    monkeypatch.setattr(Sampled, "places", lambda self, step, spent=1.0: [])
    made = setting("classification")
    before = made.net.heads["classes"].output.weight.clone()
    regime = compose(private())
    done = run("classification", made=made, regime=regime, steps=3, batch_size=2)
    assert done.outcome.steps == 3
    assert regime.facts()["privacy"]["steps"] == 3
    assert not torch.equal(before, done.net.heads["classes"].output.weight)


def test_a_recipe_says_what_it_costs_or_how_much_noise():
    with pytest.raises(RecipeError, match="E403"):
        compose(["private"])


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    from diptych.training.private import accounting

    accounting._opacus.cache_clear()
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(TrainingError, match=r"E550.*Opacus"):
        epsilon(((1.234, 0.5, 3),), 1e-3, "rdp")
    accounting._opacus.cache_clear()


def test_what_an_accountant_cannot_tell_is_an_error_not_a_number(monkeypatch):
    from opacus.accountants import PRVAccountant

    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda self, delta: float("nan"))
    with pytest.raises(TrainingError, match="E557"):
        epsilon(((0.3217, 0.5, 3),), 1e-3, "prv")
