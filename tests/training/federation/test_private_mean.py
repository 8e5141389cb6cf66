"""Privacy for clients: a change is shortened to its length, the noise has the deviation it should have, and ε is Opacus'."""

import pytest
import torch

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.recipe import build
from diptych.running import check_private
from diptych.training.federation.private_mean import PrivateMean
from diptych.training.federation.update import Update
from diptych.training.regimes.federated import FederatedSettings

BEFORE = {"body.w": torch.full((40, 50), 2.0), "头.b": torch.zeros(1000)}


def update(client, change, count=5):
    return Update(client, 0, count, {name: value + change for name, value in BEFORE.items()})


def mean(updates, *, expected=4.0, clip=1.0, noise=0.0, key=1):
    merging = PrivateMean(BEFORE, 0, [each.client for each in updates], expected, clip, noise, key, Ledger())
    for each in updates:
        assert merging.take(each)
    return merging.mean()


def length(values):
    return float(torch.sqrt(sum((values[name].double() - BEFORE[name].double()).square().sum() for name in BEFORE)))


def test_one_client_moves_the_weights_by_no_more_than_its_share_of_the_length():
    # The weights around 2 are kept to 2**-22.
    assert length(mean([update("a", 7.0)])) == pytest.approx(1.0 / 4, rel=2e-3)
    # One that changes little is not made longer.
    assert length(mean([update("a", 1e-3)])) == pytest.approx(1e-3 * 3000**0.5 / 4, rel=2e-3)


def test_all_count_alike_however_many_examples_they_claim():
    one, other = mean([update("a", 7.0, 1), update("b", -7.0, 10_000)]), mean([])
    assert length(one) < 1e-6 and length(other) == 0.0


@pytest.mark.parametrize("clip", [0.5, 20.0])
def test_the_noise_has_its_deviation_and_is_another_in_each_round(clip):
    still = mean([update("a", 0.1)], clip=clip)
    noisy = mean([update("a", 0.1)], clip=clip, noise=1.5)
    noise = torch.cat([(noisy[name] - still[name]).flatten().double() for name in BEFORE])
    assert float(noise.std()) == pytest.approx(1.5 * clip / 4, rel=0.06)
    assert abs(float(noise.mean())) < 4 * 1.5 * clip / 4 / 3000**0.5
    other = PrivateMean(BEFORE, 1, [], 4.0, clip, 1.5, 1, Ledger()).mean()
    assert not torch.allclose(other["body.w"], mean([], clip=clip, noise=1.5)["body.w"])


def test_epsilon_is_opacus_own(federated):
    opacus = pytest.importorskip("opacus.accountants")
    done = federated([[0, 1, 2], [3, 4], [5, 6, 7]], epochs=2.0, share=0.5, how={"clip": 1.0, "noise": 1.2, "rounds": 4, "delta": 0.01})
    theirs = opacus.RDPAccountant()
    for _round in range(4):
        theirs.step(noise_multiplier=1.2, sample_rate=0.5)
    steps = done.listener.of("step")
    assert steps[-1]["epsilon"] == pytest.approx(theirs.get_epsilon(0.01), rel=1e-6)
    assert [event["epsilon"] for event in steps] == sorted(event["epsilon"] for event in steps)


def test_a_killed_private_federation_goes_on_with_its_account_and_its_noise(federated, heard, killed, same_bits, tmp_path):
    pytest.importorskip("opacus.accountants")
    how = {"clip": 1.0, "noise": 1.0, "rounds": 4, "delta": 0.01}
    shares, settings = [[0, 1, 2], [3, 4], [5, 6, 7]], {"epochs": 2.0, "share": 0.6, "how": how}
    with pytest.raises(killed):
        federated(shares, folder=tmp_path, listener=heard(2), **settings)
    done = federated(shares, folder=tmp_path, resume=True, **settings)
    whole = federated(shares, **settings)
    assert done.listener.of("step")[-1]["epsilon"] == whole.listener.of("step")[-1]["epsilon"]


def test_a_run_is_not_resumed_with_another_noise(federated, heard, killed, tmp_path):
    pytest.importorskip("opacus.accountants")
    with pytest.raises(killed):
        federated([[0, 1, 2], [3, 4]], folder=tmp_path, listener=heard(2), epochs=2.0, how={"clip": 1.0, "noise": 1.0, "delta": 0.01})
    with pytest.raises(TrainingError) as caught:
        federated([[0, 1, 2], [3, 4]], folder=tmp_path, resume=True, epochs=2.0, how={"clip": 1.0, "noise": 0.5, "delta": 0.01})
    assert caught.value.code == "E567"


@pytest.mark.parametrize("wrong", [{"noise": 1.0}, {"clip": 1.0, "moments": "shared"}, {"clip": 1.0, "weights": "examples"}])
def test_what_would_break_the_promise_is_refused(wrong):
    with pytest.raises(ValueError, match="clip"):
        FederatedSettings(**wrong)
    assert FederatedSettings(clip=1.0).moments == "fresh" and FederatedSettings(clip=1.0).weights == "equal"


def test_a_tokenizer_that_learns_from_the_clients_texts_is_refused():
    federated = {"name": "federated", "clip": 1.0, "noise": 1.0}
    made = build({"model": {"preset": "bert-tiny"}, "task": {"name": "classification"}, "train": {"epochs": 1.0, "regime": [federated]}})
    with pytest.raises(TrainingError) as caught:
        check_private(made)
    assert caught.value.code == "E568"
    check_private(build({**made.to_dict(), "model": {"base": "somewhere"}}))
