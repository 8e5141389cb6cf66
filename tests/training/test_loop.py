"""The loop: what ends a run, what it says, what it keeps, and that watching it changes nothing."""

import errno
import os
import signal
import threading

import pytest
import torch
from safetensors import SafetensorError

from diptych.config import TrainSettings
from diptych.errors import TrainingError
from diptych.tasks.causal_lm import CausalLM, CausalLMSettings
from diptych.tasks.measure import measure
from diptych.tasks.task import Term
from diptych.training import checkpoint, loop
from diptych.training.checkpoint import checkpoints, load_checkpoint, weights
from diptych.training.loop import Plan, train
from diptych.training.order import Order
from diptych.training.ramps import Batches
from diptych.training.regimes import Plain


class Turning(CausalLM):
    """Next words whose loss is no number from step `at` on (counted from 1), or whose gradient is not."""

    def __init__(self, at, value=float("nan")):
        super().__init__(CausalLMSettings())
        self.at, self.value, self.asked = at, value, 0

    def loss(self, outputs, batch):
        term = super().loss(outputs, batch)["lm"]
        self.asked += 1
        return {"lm": Term(term.total_B * self.value if self.asked >= self.at else term.total_B, term.count_B)}


class Steep(Turning):
    """The loss stays finite; its gradient does not."""

    def loss(self, outputs, batch):
        term = CausalLM.loss(self, outputs, batch)["lm"]
        self.asked += 1
        if self.asked < self.at:
            return {"lm": term}
        zero = term.total_B - term.total_B.detach()  # 0, whose square root climbs without end there
        return {"lm": Term(term.total_B + zero.abs().sqrt(), term.count_B)}


@pytest.fixture
def turning(setting):
    """A setting whose loss turns at a step; the tokenizer and the rows are those of the plain task."""

    def build(kind, *arguments):
        made = setting("causal-lm")
        made.task = kind(*arguments)
        return made

    return build


@pytest.mark.parametrize("name", ["causal-lm", "masked-lm", "classification"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_looking_at_the_held_out_part_changes_nothing(name, precision, run, same_bits):
    settings = {"steps": 6, "dropout": 0.1, "changes": {"precision": precision}}
    never, often = run(name, evaluations=0, **settings), run(name, evaluations=6, **settings)
    assert len(never.listener.of("evaluation")) == 0 and len(often.listener.of("evaluation")) == 6
    same_bits(never.net, often.net)


@pytest.mark.parametrize(
    "changes", [{"log_steps": 3}, {"log_steps": 100}, {"checkpoint_steps": 1}, {"patience": 9, "evaluations": 0}], ids=str
)
def test_logging_and_saving_change_nothing(changes, run, same_bits, tmp_path):
    same_bits(run("masked-lm", steps=6, dropout=0.1).net, run("masked-lm", steps=6, dropout=0.1, folder=tmp_path, **changes).net)


def test_two_runs_with_one_seed_are_one_and_another_seed_is_another(run, same_bits):
    one, same, other = (run("masked-lm", steps=4, dropout=0.1, seed=seed) for seed in (0, 0, 1))
    same_bits(one.net, same.net)
    assert any(not torch.equal(a, b) for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True))


@pytest.mark.parametrize("name", ["causal-lm", pytest.param("classification", marks=pytest.mark.slow)])
def test_the_number_of_threads_changes_the_last_bits_at_most(name, run):
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        done = run(name, steps=2, dropout=0.1)
        answers.append(measure(done.net, done.made.task, done.made.held_out).totals[done.made.task.heads[0]])
    assert answers[1] == pytest.approx(answers[0], abs=2e-3)


def test_training_lowers_the_loss_and_leaves_the_model_ready_for_use(run):
    done = run("causal-lm", steps=40, lr=0.02, schedule="constant")
    losses = [event["loss"] for event in done.listener.of("step")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert not done.net.training
    assert done.outcome.loss == losses[-1]
    assert all(parameter.grad is None for parameter in done.net.parameters())


def test_a_text_in_two_languages_is_learnt_by_masked_words(run):
    done = run("masked-lm", steps=60, lr=0.02, schedule="constant", batch_size=8)
    terms = [event["terms"]["lm"] for event in done.listener.of("step")]
    assert sum(terms[-10:]) < 0.9 * sum(terms[:10])


def test_the_loss_of_a_window_is_the_sum_over_its_sums(run, monkeypatch):
    """Ten steps in one line of the log: their nats over their targets, not the mean of their means."""
    monkeypatch.setattr(loop, "LOG_SECONDS", float("inf"))
    single = run("masked-lm", epochs=1.0, batch_size=2, log_steps=1).listener.of("step")
    (window,) = run("masked-lm", epochs=1.0, batch_size=2, log_steps=10_000).listener.of("step")
    assert window["step"] == len(single) > 2
    made = run("masked-lm", epochs=1.0, batch_size=2)
    counts = {"lm": [], "nsp": []}
    order = Order(len(made.made.examples), Batches(2), 0, len(made.made.examples))
    for step in range(len(single)):
        for name, count in made.made.task.collate(made.made.examples, order.places(step)).counts().items():
            counts[name].append(count)
    for name, numbers in counts.items():
        nats = sum(event["terms"][name] * count for event, count in zip(single, numbers, strict=True))
        assert window["terms"][name] == pytest.approx(nats / sum(numbers), rel=1e-5)
    weight = made.made.task.settings.nsp_weight
    assert window["loss"] == pytest.approx(window["terms"]["lm"] + weight * window["terms"]["nsp"], rel=1e-6)


def test_a_step_says_all_that_a_person_or_a_machine_wants_to_know(run):
    events = run("causal-lm", steps=4).listener.of("step")
    for number, event in enumerate(events, 1):
        assert event["step"] == number
        assert event["spent"] == pytest.approx(number / 4)
        assert event["tokens_per_second"] > 0 and event["memory_bytes"] > 0
        assert event["seconds_left"] == pytest.approx(event["seconds"] * (4 - number) / number, abs=0.1)
    assert [event["tokens"] for event in events] == sorted({event["tokens"] for event in events})


def test_evaluations_are_spread_evenly_over_the_budget(run):
    for count in (1, 3, 4):
        events = run("causal-lm", steps=12, evaluations=count).listener.of("evaluation")
        assert [event["step"] for event in events] == [12 * number // count for number in range(1, count + 1)]


def test_nothing_to_train_on_is_said(setting):
    made = setting("causal-lm")
    made.examples._inputs = 0
    with pytest.raises(TrainingError) as caught:
        train(made.net, made.task, made.examples, None, Plain(), Plan(TrainSettings(steps=1), 1, 0.1))
    assert caught.value.code == "E501"


def test_the_best_weights_are_restored_when_nothing_better_comes(run):
    """A learning rate that is far too high: the first looks are better than the later ones."""
    done = run("classification", steps=40, lr=0.5, schedule="constant", warmup=0.0, evaluations=20, patience=3)
    events = done.listener.of("evaluation")
    values = [event["terms"]["errors"] for event in events]
    assert done.outcome.stopped == "early"
    assert done.outcome.best == min(values)
    best = next(number for number, value in enumerate(values) if value == min(values))
    assert done.outcome.best_step == events[best]["step"]
    assert len(values) == best + 1 + 3
    (said,) = done.listener.of("stopped early")
    assert said["step"] == events[-1]["step"] == done.outcome.steps and said["patience"] == 3
    measured = measure(done.net, done.made.task, done.made.held_out)
    for name, value in events[best]["terms"].items():
        assert measured.mean(name) == pytest.approx(value, rel=1e-5)


def test_the_weights_that_are_restored_are_those_of_the_best_step(run, same_bits):
    settings = {"lr": 0.3, "schedule": "constant", "warmup": 0.0}
    done = run("causal-lm", steps=30, evaluations=30, patience=2, **settings)
    assert done.outcome.best_step is not None and done.outcome.best_step < done.outcome.steps
    same_bits(done.net, run("causal-lm", steps=done.outcome.best_step, **settings).net)


def test_a_run_that_reaches_its_end_goes_back_only_where_the_end_is_worse_beyond_chance(run, same_bits):
    settings = {"steps": 12, "schedule": "constant", "warmup": 0.0}
    bad = run("causal-lm", lr=2.0, evaluations=12, patience=99, **settings)
    assert bad.outcome.stopped == "budget" and bad.outcome.best_step < 12
    same_bits(bad.net, run("causal-lm", lr=2.0, **{**settings, "steps": bad.outcome.best_step}).net)
    fine = run("classification", lr=1e-4, evaluations=12, patience=99, **settings)
    assert fine.outcome.stopped == "budget"
    same_bits(fine.net, run("classification", lr=1e-4, **settings).net)


def test_without_patience_a_run_goes_to_the_end_and_keeps_its_last_weights(run, same_bits):
    settings = {"steps": 12, "lr": 0.3, "schedule": "constant", "warmup": 0.0}
    done = run("causal-lm", evaluations=12, **settings)
    assert done.outcome.stopped == "budget" and done.outcome.steps == 12 and done.outcome.best is None
    same_bits(done.net, run("causal-lm", **settings).net)


def test_a_held_out_part_that_can_tell_nothing_stops_no_run(run, setting, same_bits):
    """Every label there is an unknown one: no value is better or worse, so the run goes to its end."""
    made = setting("classification")
    made.held_out.gold[:] = -1
    made.held_out.known[:] = False
    done = run("classification", steps=8, evaluations=8, patience=1, made=made)
    assert done.outcome.stopped == "budget" and done.outcome.steps == 8
    assert all(event["terms"] == {} for event in done.listener.of("evaluation"))
    same_bits(done.net, run("classification", steps=8).net)


@pytest.mark.parametrize(
    ("kind", "value"), [(Turning, float("nan")), (Turning, float("inf")), (Steep, None)], ids=["nan", "inf", "gradient"]
)
@pytest.mark.parametrize("at", [1, 6])
def test_a_loss_that_is_no_number_stops_at_the_state_before_that_step(kind, value, at, turning, run, heard, same_bits, tmp_path):
    made, listener = turning(kind, at) if value is None else turning(kind, at, value), heard()
    with pytest.raises(TrainingError) as caught:
        run("causal-lm", steps=9, made=made, folder=tmp_path, checkpoint_steps=4, listener=listener)
    error = caught.value
    assert error.code == "E503"
    assert error.values["step"] == at and error.values["good"] == at - 1
    assert "--resume" in str(error) and "train.lr=0.0033" in str(error) and "warm-up" in str(error)
    _tensors, state = load_checkpoint(tmp_path)
    assert state["run"]["step"] == at - 1
    assert [event["step"] for event in listener.of("step")] == list(range(1, at))
    # The remedy, with the loss mended: the same bits as if nothing had happened.
    resumed = run("causal-lm", steps=9, folder=tmp_path, resume=True)
    same_bits(resumed.net, run("causal-lm", steps=9).net)


def test_a_lower_learning_rate_goes_on_from_there(turning, run, tmp_path):
    with pytest.raises(TrainingError):
        run("causal-lm", steps=9, made=turning(Turning, 6), folder=tmp_path)
    resumed = run("causal-lm", steps=9, folder=tmp_path, resume=True, lr=0.0033)
    assert resumed.outcome.steps == 9
    assert max(event["lr"] for event in resumed.listener.of("step")) <= 0.0033


def test_without_checkpoints_it_is_not_claimed_that_anything_is_kept(turning, run, same_bits):
    made = turning(Turning, 4)
    with pytest.raises(TrainingError) as caught:
        run("causal-lm", steps=9, made=made)
    assert caught.value.code == "E504"
    assert "--resume" not in str(caught.value) and "0.0033" in str(caught.value)
    # The network in memory stands as it was before the step, and the same again ends where it stands.
    assert all(torch.isfinite(parameter).all() for parameter in made.net.parameters())


def full_disk(error):
    def refuse(*_arguments, **_named):
        raise error

    return refuse


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device (os error 28)")],
    ids=["system", "safetensors"],
)
def test_a_full_disk_is_said_and_training_goes_on_with_the_last_checkpoint_intact(error, run, heard, same_bits, tmp_path, monkeypatch):
    undisturbed = run("causal-lm", steps=9)
    listener = heard(5, lambda: monkeypatch.setattr(checkpoint, "save_file", full_disk(error)))
    done = run("causal-lm", steps=9, folder=tmp_path, listener=listener)
    assert done.outcome.steps == 9
    same_bits(done.net, undisturbed.net)
    said = [event["text"] for event in listener.of("stage")]
    assert said and all("E902" in text and "No space" in text for text in said)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]
    assert not list(tmp_path.glob(".writing-*"))
    monkeypatch.undo()
    same_bits(run("causal-lm", steps=9, folder=tmp_path, resume=True).net, undisturbed.net)


def test_a_disk_that_fails_while_flushing_leaves_no_checkpoint_that_claims_to_be_whole(run, heard, tmp_path, monkeypatch):
    def fail(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    listener = heard(5, lambda: monkeypatch.setattr(os, "fsync", fail))
    run("causal-lm", steps=9, folder=tmp_path, listener=listener)
    assert "E902" in listener.of("stage")[0]["text"]
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]


def test_a_folder_that_may_not_be_written_is_said_as_well(run, heard, tmp_path, monkeypatch):
    refused = full_disk(PermissionError(errno.EACCES, "Permission denied"))
    listener = heard(5, lambda: monkeypatch.setattr(checkpoint, "save_file", refused))
    assert run("causal-lm", steps=9, folder=tmp_path, listener=listener).outcome.steps == 9
    assert "E904" in listener.of("stage")[0]["text"] and "Permission denied" in listener.of("stage")[0]["text"]


def test_checkpoints_are_written_at_their_interval_and_the_last_two_are_kept(run, heard, tmp_path):
    found = []
    listener = heard(1, lambda: None)
    listener.tell = lambda event: found.append([path.name[-1] for path in checkpoints(tmp_path)]) if event["kind"] == "step" else None
    run("causal-lm", steps=8, folder=tmp_path, checkpoint_steps=2, listener=listener)
    assert found == [[], [], ["2"], ["2"], ["2", "4"], ["2", "4"], ["4", "6"], ["4", "6"]]
    assert [path.name[-1] for path in checkpoints(tmp_path)] == ["6", "8"]


def test_a_checkpoint_holds_every_weight_moment_and_best_weight(run, tmp_path):
    done = run("causal-lm", steps=6, lr=0.3, evaluations=6, patience=5, folder=tmp_path, checkpoint_steps=1)
    tensors, state = load_checkpoint(tmp_path)
    assert tensors["weights"].keys() == weights(done.net).keys() == tensors["best"].keys()
    trained = {name for name, _parameter in done.net.named_parameters()}
    assert {name.split("|")[0] for name in tensors["optimizer"]} == trained
    assert {name.split("|")[1] for name in tensors["optimizer"]} == {"step", "exp_avg", "exp_avg_sq"}
    assert state["run"]["best_step"] == done.outcome.best_step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_after_the_step_and_the_run_can_go_on(number, run, heard, same_bits, tmp_path):
    before = signal.getsignal(number)
    listener = heard(3, lambda: os.kill(os.getpid(), number))
    stopped = run("causal-lm", steps=9, dropout=0.1, folder=tmp_path, checkpoint_steps=100, listener=listener)
    assert stopped.outcome.stopped == "interrupted" and stopped.outcome.steps == 3
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003"]
    assert signal.getsignal(number) is before
    resumed = run("causal-lm", steps=9, dropout=0.1, folder=tmp_path, resume=True)
    same_bits(resumed.net, run("causal-lm", steps=9, dropout=0.1).net)


def test_ctrl_c_keeps_the_best_weights_for_later_and_not_in_place_of_the_last(run, heard, same_bits, tmp_path):
    settings = {"steps": 30, "lr": 0.3, "schedule": "constant", "warmup": 0.0, "evaluations": 30, "patience": 4}
    undisturbed = run("causal-lm", **settings)
    assert undisturbed.outcome.best_step < undisturbed.outcome.steps - 1
    listener = heard(undisturbed.outcome.steps - 1, lambda: signal.raise_signal(signal.SIGINT))
    assert run("causal-lm", folder=tmp_path, listener=listener, **settings).outcome.stopped == "interrupted"
    resumed = run("causal-lm", folder=tmp_path, resume=True, **settings)
    assert (resumed.outcome.best_step, resumed.outcome.steps) == (undisturbed.outcome.best_step, undisturbed.outcome.steps)
    same_bits(resumed.net, undisturbed.net)


def test_a_second_ctrl_c_ends_the_run_at_once(run, heard):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run("causal-lm", steps=9, listener=heard(2, twice))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_another_thread_leaves_the_signals_alone(run):
    done = []
    thread = threading.Thread(target=lambda: done.append(run("causal-lm", steps=2).outcome.steps))
    thread.start()
    thread.join()
    assert done == [2]


@pytest.mark.parametrize("budget", [{"tokens": 1}, {"minutes": 1e-9}], ids=str)
def test_a_budget_too_short_for_a_second_step_is_said_to_have_taught_nothing(budget, run, setting):
    fresh = {name: parameter.detach().clone() for name, parameter in setting("causal-lm").net.named_parameters()}
    done = run("causal-lm", **budget)
    assert done.outcome.steps == 1 and all(torch.equal(fresh[name], parameter) for name, parameter in done.net.named_parameters())
    (said,) = [event["text"] for event in done.listener.of("stage")]
    assert "nothing has been learnt" in said and f"{done.outcome.tokens:,} tokens" in said
    enough = run("causal-lm", steps=1)
    assert not enough.listener.of("stage")
