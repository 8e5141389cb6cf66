"""Rounds: one client is central training to the last bit, several are a mean that can be worked out by hand, and a killed run goes on."""

from dataclasses import replace

import pytest
import torch

from diptych.config import TrainSettings
from diptych.errors import TrainingError
from diptych.training.federation import Client
from diptych.training.federation.server import STAGE
from diptych.training.plan import Plan
from diptych.training.regimes import compose
from diptych.training.stepping import NoNumber

ALL = range(8)
"""The indices of all rows of the federation."""


class Failing(Client):
    """A client that answers as it is told to: with an exception, or with something done to its update."""

    def train(self, net, task, regime, plan, asked):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(super().train(net, task, regime, plan, asked))


def failing(name, examples, answer):
    client = Failing(name, examples, 1)
    object.__setattr__(client, "answer", answer)
    return client


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "lamb"])
def test_one_client_is_central_training_bit_for_bit(rounds, optimizer, federated, central, same_bits):
    settings = {"epochs": 2.5, "dropout": 0.1, "optimizer": optimizer}
    alone = federated([ALL], how={"rounds": rounds}, **settings)
    same_bits(alone.net, central(**settings).net)
    assert alone.outcome.steps == rounds


def test_fresh_moments_are_central_training_in_one_round_and_lose_something_in_more(federated, central):
    def end(rounds):
        return federated([ALL], how={"rounds": rounds, "moments": "fresh"}, epochs=2.0).net.state_dict()

    whole = central(epochs=2.0).net.state_dict()
    assert all(torch.equal(whole[name], value) for name, value in end(1).items())
    assert not all(torch.equal(whole[name], value) for name, value in end(4).items())


def test_one_client_with_lora_is_central_lora_bit_for_bit(federated, central, same_bits):
    same_bits(federated([ALL], regime=["lora"], steps=6).net, central(regime=["lora"], steps=6).net)


def test_two_clients_are_the_mean_by_examples_of_what_each_would_have_become(federated, central):
    shares = ([0, 1, 2, 3, 4, 5], [6, 7])
    both = federated(shares, how={"rounds": 1, "moments": "fresh"}, steps=3).net.state_dict()
    first = central(shares[0], steps=3).net.state_dict()
    # The second one draws an order of its own, so it is asked for alone.
    second = federated([shares[0], shares[1]], how={"rounds": 1, "moments": "fresh"}, steps=3)
    client = second.clients[1]
    assert client.number == 1
    alone = _end_of(client, second.made)
    for name, value in both.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, ((6 * first[name].double() + 2 * alone[name].double()) / 8).float(), rtol=0, atol=1e-7)


def _end_of(client, made):
    """What a client alone makes of the weights that everybody started from."""
    from diptych.presets import create

    shape = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "context_length": 24, "vocab_size": made.tokenizer.vocab_size}
    net = create("bert-tiny", seed=0, initializer_range=0.1, **shape)
    made.task.prepare(net, 0)
    net.set_config(dropout=0.0, attention_dropout=0.0)
    plan = Plan(TrainSettings(steps=3), 3, 0.01)
    stepper = client.stepper(net.train(), made.task, compose([]), plan)
    for step in range(3):
        stepper.take(step, stepper.order.places(step, step / 3), step / 3)
    return net.state_dict()


def test_a_strong_pull_keeps_the_weights_where_they_were(federated):
    def moved(proximal):
        done = federated([[0, 1, 2, 3], [4, 5, 6, 7]], how={"rounds": 2, "proximal": proximal}, steps=8, clip=0.0, optimizer="adamw")
        start = federated([[0, 1, 2, 3], [4, 5, 6, 7]], how={"rounds": 1}, steps=1, warmup=1.0, clip=0.0).net.state_dict()
        ended = done.net.state_dict()
        return sum(float((ended[name] - start[name]).square().sum()) for name in start if start[name].is_floating_point())

    assert moved(1000.0) < 0.5 * moved(0.0)


def test_a_killed_federation_goes_on_as_if_nothing_had_been(federated, heard, killed, same_bits, tmp_path):
    shares, settings = [[0, 1, 2, 3], [4, 5], [6, 7]], {"epochs": 3.0, "dropout": 0.1, "share": 0.7}
    undisturbed = federated(shares, **settings)
    with pytest.raises(killed):
        federated(shares, folder=tmp_path, listener=heard(2), **settings)
    resumed = federated(shares, folder=tmp_path, resume=True, **settings)
    assert resumed.listener.of("resumed")
    same_bits(undisturbed.net, resumed.net)


def broken(update):
    name = next(iter(update.values))
    return replace(update, values={**update.values, name: torch.full_like(update.values[name], float("nan"))})


def misshapen(update):
    name = next(iter(update.values))
    return replace(update, values={**update.values, name: update.values[name].flatten()[:-1]})


LIARS = {
    "NaN": (broken, "updates that are no numbers, left out"),
    "shape": (misshapen, "updates of another shape, left out"),
    "replay": (lambda update: replace(update, round=update.round - 1), "updates of another round, left out"),
    "names": (lambda update: replace(update, values={}), "updates of other weights, left out"),
    "count": (lambda update: replace(update, num_examples=0), "updates from no number of examples, left out"),
    "impostor": (lambda update: replace(update, client="c0"), "second updates of a client in one round, left out"),
    "stranger": (lambda update: replace(update, client="X"), "updates of somebody who was not asked, left out"),
    "gone": (TimeoutError(), "clients that did not answer, left out"),
    "diverged": (NoNumber(0.1), "clients whose loss was no longer a number, left out"),
}


@pytest.mark.parametrize("lie", list(LIARS))
def test_a_lost_or_lying_client_is_named_left_out_and_changes_nothing(lie, federated, same_bits):
    answer, what = LIARS[lie]
    honest = [ALL]
    done = federated([*honest, lambda name, examples: failing(name, examples, answer)], epochs=2.0)
    same_bits(done.net, federated(honest, epochs=2.0).net)
    lines = {(stage, line): entry for stage, line, entry in done.ledger}
    assert lines[STAGE, what].count == 3
    assert lines[STAGE, what].examples == [{"impostor": "c0", "stranger": "X"}.get(lie, "c1")]


def test_a_round_in_which_nobody_can_be_used_ends_the_run_with_the_weights_of_before(federated):
    with pytest.raises(TrainingError) as caught:
        federated([lambda name, examples: failing(name, examples, broken)], epochs=1.0)
    assert caught.value.code == "E579"


def test_who_was_left_out_is_known_after_a_resume(federated, heard, killed, tmp_path):
    shares = [ALL, lambda name, examples: failing(name, examples, broken)]
    with pytest.raises(killed):
        federated(shares, epochs=2.0, folder=tmp_path, listener=heard(2))
    done = federated(shares, epochs=2.0, folder=tmp_path, resume=True)
    assert done.ledger.count(STAGE, "updates that are no numbers, left out") == 3


@pytest.mark.parametrize(("settings", "code"), [({"minutes": 1.0}, "E576"), ({"tokens": 100}, "E576")])
def test_a_budget_that_cannot_be_cut_into_rounds_is_refused(settings, code, federated):
    with pytest.raises(TrainingError) as caught:
        federated([range(4)], **settings)
    assert caught.value.code == code


def test_a_client_without_an_example_is_refused(federated):
    with pytest.raises(TrainingError) as caught:
        federated([range(4), []], epochs=1.0)
    assert caught.value.code == "E578" and "c1" in str(caught.value)


def test_without_clients_there_is_no_federation(run):
    with pytest.raises(TrainingError) as caught:
        run("classification", steps=2, regime=("federated",))
    assert caught.value.code == "E575"


def test_a_client_with_fewer_steps_than_rounds_is_asked_when_it_has_one(federated):
    done = federated([range(6), [6, 7]], how={"rounds": 4}, epochs=1.0)
    assert done.outcome.steps == 4
    assert sum(len(done.clients[1].steps(Plan(TrainSettings(epochs=1.0), 3, 0.1), round, 4)) for round in range(4)) == 1


def test_the_share_of_clients_that_is_asked_changes_from_round_to_round(federated):
    seen = []

    def watching(name, examples):
        def note(update):
            seen.append((update.round, name))
            return update

        return failing(name, examples, note)

    federated([watching] * 6, how={"rounds": 5}, share=0.5, epochs=5.0)
    by_round = [{name for number, name in seen if number == round} for round in range(5)]
    assert [len(names) for names in by_round] == [3] * 5
    assert len({frozenset(names) for names in by_round}) > 1
