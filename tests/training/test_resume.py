"""A run that was killed and resumed ends with the same bits as one that was not.

Here the run dies of an exception that nothing catches; `test_killed_processes.py` does the same with SIGKILL.
"""

import shutil

import pytest
import torch

from diptych.errors import TrainingError
from diptych.training import loop
from diptych.training.checkpoint import checkpoints

# Eight texts make 14 rows of next words, 3 to a step: an epoch ends within step 5, 10 and so on.
CONDITIONS = {
    "mid-epoch": {"steps": 4},
    "across epochs": {"steps": 11},
    "in epochs, with a partial last step": {"epochs": 1.6},
    "with dropout": {"steps": 9, "dropout": 0.1},
    "in windows, with dropout": {"steps": 9, "dropout": 0.1, "micro_batch_tokens": 30},
    "a budget in tokens": {"tokens": 500},
    "evaluating": {"steps": 9, "evaluations": 4},
    "stopping early": {"steps": 12, "evaluations": 12, "patience": 2, "lr": 0.3},
    "cosine": {"steps": 9, "schedule": "cosine"},
    "with cautious decay": {"steps": 9, "dropout": 0.1, "cautious_decay": True},
    "with Muon": {"steps": 9, "dropout": 0.1, "optimizer": "muon"},
    "with LAMB": {"steps": 9, "dropout": 0.1, "optimizer": "lamb"},
    "with a batch that grows": {"steps": 9, "dropout": 0.1, "batch_size": 6, "batch_ramp": {"start": 0.2, "until": 0.7}},
    "with a batch that grows, in epochs": {"epochs": 2.3, "batch_size": 5, "batch_ramp": {"start": 0.3}},
}


# The loop knows no task: each condition meets one of them here, and all of them among the slow tests.
TASKS = ["causal-lm", "masked-lm", "classification"]
PAIRS = [
    pytest.param(name, condition, marks=[] if number % len(TASKS) == at else [pytest.mark.slow])
    for number, condition in enumerate(CONDITIONS)
    for at, name in enumerate(TASKS)
]


@pytest.mark.parametrize("name, condition", PAIRS)
def test_a_killed_run_that_is_resumed_ends_with_the_same_bits(name, condition, run, heard, killed, same_bits, tmp_path):
    settings = CONDITIONS[condition]
    undisturbed = run(name, folder=tmp_path / "undisturbed", **settings)
    for at_step in (1, 3):  # before there is a checkpoint; between two
        folder = tmp_path / f"killed-{at_step}"
        with pytest.raises(killed):
            run(name, folder=folder, listener=heard(at_step), **settings)
        assert len(checkpoints(folder)) == (at_step > 2)
        resumed = run(name, folder=folder, resume=True, **settings)
        assert len(resumed.listener.of("resumed")) == (at_step > 2)
        same_bits(undisturbed.net, resumed.net)
        for field in ("steps", "tokens", "best", "best_step", "stopped", "held_out"):
            assert getattr(resumed.outcome, field) == getattr(undisturbed.outcome, field), field


@pytest.mark.parametrize("name", ["hybrid-lm", "prefix-lm", "denoising"])
def test_other_objectives_are_resumed_as_exactly(name, run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "dropout": 0.1, "micro_batch_tokens": 60, "evaluations": 3}
    undisturbed = run(name, folder=tmp_path / "undisturbed", **settings)
    with pytest.raises(killed):
        run(name, folder=tmp_path / "killed", listener=heard(3), **settings)
    resumed = run(name, folder=tmp_path / "killed", resume=True, **settings)
    assert resumed.listener.of("resumed")
    same_bits(undisturbed.net, resumed.net)
    assert resumed.outcome.held_out == undisturbed.outcome.held_out


def test_texts_that_grow_go_on_where_they_were(run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "dropout": 0.1, "length_ramp": [{"length": 4, "until": 0.4}, {"length": 9, "until": 0.7}]}
    undisturbed = run("causal-lm", folder=tmp_path / "undisturbed", **settings)
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path / "killed", listener=heard(3), **settings)
    resumed = run("causal-lm", folder=tmp_path / "killed", resume=True, **settings)
    assert resumed.listener.of("resumed")
    same_bits(undisturbed.net, resumed.net)
    assert run("causal-lm", **{**settings, "length_ramp": None}).outcome.loss != undisturbed.outcome.loss


@pytest.mark.parametrize("budget", [{"steps": 9}, {"tokens": 500}, {"epochs": 1.6}], ids=str)
def test_a_mask_rate_that_falls_goes_on_where_it_was(budget, run, setting, heard, killed, same_bits, tmp_path):
    def go(first, folder, **settings):
        made = setting("masked-lm", first_mask_rate=first, nsp=False)
        return run("masked-lm", made=made, folder=folder, evaluations=3, **budget, **settings)

    undisturbed = go(0.8, tmp_path / "undisturbed")
    with pytest.raises(killed):
        go(0.8, tmp_path / "killed", listener=heard(3))
    resumed = go(0.8, tmp_path / "killed", resume=True)
    assert resumed.listener.of("resumed")
    same_bits(undisturbed.net, resumed.net)
    assert resumed.outcome.held_out == undisturbed.outcome.held_out
    assert go(None, None).outcome.loss != undisturbed.outcome.loss


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluations": 1},
        {"evaluations": 9},
        {"log_steps": 4},
        {"checkpoint_steps": 1},
        {"checkpoint_steps": None},
        {"changes": {"eval_tokens": 30}, "evaluations": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["causal-lm", "classification"])
def test_what_only_watches_may_be_changed_when_resuming(name, changes, run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "dropout": 0.1}
    undisturbed = run(name, evaluations=4, folder=tmp_path / "undisturbed", **settings)
    with pytest.raises(killed):
        run(name, evaluations=4, folder=tmp_path / "killed", listener=heard(5), **settings)
    same_bits(undisturbed.net, run(name, folder=tmp_path / "killed", resume=True, **{**settings, **changes}).net)


def test_a_run_may_die_again_and_again(run, heard, killed, same_bits, tmp_path):
    settings = {"epochs": 2.0, "dropout": 0.1, "evaluations": 3}
    undisturbed = run("masked-lm", **settings)
    deaths = 0
    for at_step in range(2, 30, 2):
        try:
            resumed = run("masked-lm", folder=tmp_path, resume=True, listener=heard(at_step), **settings)
            break
        except killed:
            deaths += 1
    assert deaths >= 3
    same_bits(undisturbed.net, resumed.net)


def test_the_moments_of_the_optimizer_are_needed_and_kept(run, heard, killed, tmp_path):
    """Weights alone would not do: with fresh moments the run ends elsewhere, so the tests above can fail."""
    settings = {"steps": 9}
    undisturbed = run("causal-lm", **settings)
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path, listener=heard(5), **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "restore_optimizer", lambda *_arguments: None)
        other = run("causal-lm", folder=tmp_path, resume=True, **settings)
    assert any(not torch.equal(a, b) for a, b in zip(undisturbed.net.parameters(), other.net.parameters(), strict=True))


@pytest.mark.parametrize("name", ["masked-lm", "classification"])
def test_a_frozen_run_is_resumed_to_the_bit_as_well(name, run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "dropout": 0.1, "regime": ("frozen",)}
    undisturbed = run(name, **settings)
    with pytest.raises(killed):
        run(name, folder=tmp_path, listener=heard(5), **settings)
    same_bits(undisturbed.net, run(name, folder=tmp_path, resume=True, **settings).net)


def test_resuming_a_run_that_is_over_changes_nothing(run, same_bits, tmp_path):
    done = run("causal-lm", steps=5, folder=tmp_path)
    again = run("causal-lm", steps=5, folder=tmp_path, resume=True)
    assert again.listener.of("step") == []
    same_bits(done.net, again.net)


def test_resume_without_a_checkpoint_starts_from_the_beginning(run, same_bits, tmp_path):
    done, resumed = run("causal-lm", steps=5), run("causal-lm", steps=5, folder=tmp_path / "new", resume=True)
    assert resumed.listener.of("resumed") == []
    same_bits(done.net, resumed.net)


def test_other_data_is_refused_when_resuming(run, heard, killed, tmp_path):
    settings = {"steps": 9, "folder": tmp_path}
    with pytest.raises(killed):
        run("causal-lm", listener=heard(5), changes={"data": "novels"}, **settings)
    with pytest.raises(TrainingError) as caught:
        run("causal-lm", resume=True, changes={"data": "letters"}, **settings)
    assert caught.value.code == "E506" and str(tmp_path) in str(caught.value)
    assert run("causal-lm", resume=True, changes={"data": "novels"}, **settings).outcome.steps == 9


@pytest.mark.parametrize(
    "damage", ["flip a bit", "cut short", "remove a file", "change the description", "break the description", "half a description"]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(damage, run, heard, killed, same_bits, tmp_path):
    settings = {"steps": 9, "dropout": 0.1}
    undisturbed = run("causal-lm", **settings)
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path, listener=heard(7), **settings)
    before, newest = checkpoints(tmp_path)
    assert (before.name, newest.name) == ("step-00000004", "step-00000006")
    weights, state = newest / "weights.safetensors", newest / "state.json"
    if damage == "flip a bit":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(bytes(data))
    elif damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "remove a file":
        (newest / "optimizer.safetensors").unlink()
    elif damage == "change the description":
        state.write_text(state.read_text().replace('"step": 6', '"step": 7'))
    elif damage == "break the description":
        state.write_text("[]")
    else:
        state.write_text(state.read_text()[:40])
    resumed = run("causal-lm", folder=tmp_path, resume=True, **settings)
    assert [event["step"] for event in resumed.listener.of("resumed")] == [4]
    same_bits(undisturbed.net, resumed.net)


def test_when_every_checkpoint_is_damaged_it_is_said_and_nothing_is_started(run, heard, killed, tmp_path):
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path, listener=heard(7), steps=9)
    for path in checkpoints(tmp_path):
        (path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError) as caught:
        run("causal-lm", folder=tmp_path, resume=True, steps=9)
    assert caught.value.code == "E502" and "--overwrite" in str(caught.value)


def test_a_checkpoint_that_was_being_written_is_no_checkpoint(run, heard, killed, same_bits, tmp_path):
    undisturbed = run("causal-lm", steps=9)
    with pytest.raises(killed):
        run("causal-lm", folder=tmp_path, listener=heard(5), steps=9)
    half = tmp_path / ".writing-12345"
    shutil.copytree(checkpoints(tmp_path)[-1], half)
    (half / "state.json").unlink()
    resumed = run("causal-lm", folder=tmp_path, resume=True, steps=9)
    same_bits(undisturbed.net, resumed.net)
    assert not half.exists()
