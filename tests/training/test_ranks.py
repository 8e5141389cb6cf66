"""Several ranks take the steps that one process takes, agree on every turn, and go on with any number of them."""

import errno
import json
import os
import signal
import socket
import traceback

import pytest
import torch
from torch import nn

from diptych.errors import DiptychError, TrainingError
from diptych.tasks.measure import measure
from diptych.training import keeping
from diptych.training.ranks import Ranks, here, join

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SHARDINGS = ["none", "full"]
# Where the other sharding takes the way that another test goes already.
WHOLE = ["none", pytest.param("full", marks=pytest.mark.slow)]
SHARED = [pytest.param("none", marks=pytest.mark.slow), "full"]
CLOSE = 1e-5


def together(count, folder, work, *, dies=None):
    """What `work` returns on each of `count` ranks, by way of JSON; a DiptychError counts as its code.

    The ranks are forks of this process that meet over gloo, as torchrun's processes do, without its seconds of start. The one
    that `dies` is to end without an answer.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    children = []
    for index in range(count):
        child = os.fork()
        if not child:
            status = 1
            try:
                os.environ |= {"RANK": str(index), "WORLD_SIZE": str(count), "LOCAL_RANK": str(index)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                try:
                    said = work(join(torch.device("cpu")))
                except DiptychError as error:
                    said = error.code
                (folder / f"rank-{index}.json").write_text(json.dumps(said), encoding="utf-8")
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                # No clean-up that belongs to the parent: pytest's, hypothesis', open files.
                os._exit(status)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert [index for index, end in enumerate(ends) if end] == ([] if dies is None else [dies]), ends
    return [json.loads((folder / f"rank-{index}.json").read_text(encoding="utf-8")) for index in range(count) if index != dies]


def curve(done):
    return [event["loss"] for event in done.listener.of("step")]


def looks(done):
    return [event["terms"] for event in done.listener.of("evaluation")]


def same_curve(one, other):
    assert len(one) == len(other) > 0
    assert one == pytest.approx(other, rel=CLOSE)


@pytest.fixture
def both(run, tmp_path):
    """The same run alone and on two ranks: (loss curve, looks, steps, tokens, weights) of each."""

    def compare(name, *, count=2, sharding="none", **settings):
        def facts(done, where):
            if here().is_first:
                torch.save(done.net.state_dict(), where)
            return [curve(done), looks(done), done.outcome.steps, done.outcome.tokens]

        alone = facts(run(name, **settings), tmp_path / "alone.pt")
        changes = {"sharding": sharding}
        every = together(count, tmp_path, lambda _ranks: facts(run(name, changes=changes, **settings), tmp_path / "first.pt"))
        first = every[0]
        same_curve(first[0], alone[0])
        assert [look.keys() for look in first[1]] == [look.keys() for look in alone[1]]
        for mine, theirs in zip(first[1], alone[1], strict=True):
            assert mine == pytest.approx(theirs, rel=CLOSE)
        assert first[2:] == alone[2:]
        # One log: each rank knows the same, told to the listener of each.
        assert all(said == first for said in every)
        left, right = torch.load(tmp_path / "first.pt", weights_only=True), torch.load(tmp_path / "alone.pt", weights_only=True)
        assert left.keys() == right.keys()
        # A bias of the keys has no gradient but rounding, since softmax does not see it, and Adam makes a step of that.
        for key in (key for key in left if not key.endswith("qkv.bias")):
            torch.testing.assert_close(left[key], right[key], rtol=1e-4, atol=1e-5)

    return compare


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize(
    "name", ["causal-lm", pytest.param("masked-lm", marks=pytest.mark.slow), pytest.param("classification", marks=pytest.mark.slow)]
)
def test_two_ranks_learn_what_one_does(name, sharding, both):
    both(name, sharding=sharding, steps=12, batch_size=3, evaluations=2)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_ranks_without_an_example_keep_the_others_company(sharding, both):
    """Three ranks and steps of two rows; the last step of the epochs has one."""
    both("classification", count=3, sharding=sharding, epochs=1.9, batch_size=2, micro_batch_tokens=1, evaluations=2)


@pytest.mark.parametrize("sharding", WHOLE)
def test_dropout_does_not_depend_on_the_number_of_ranks(sharding, both):
    both("causal-lm", sharding=sharding, steps=8, batch_size=5, micro_batch_tokens=30, dropout=0.2)


@pytest.mark.parametrize("sharding", SHARED)
def test_muon_makes_whole_matrices_orthogonal_though_each_rank_holds_a_share(sharding, both):
    both("causal-lm", sharding=sharding, steps=8, batch_size=4, optimizer="muon")


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_lamb_measures_whole_matrices_and_a_batch_grows_for_all_ranks(sharding, both):
    ramp = {"start": 0.3, "until": 0.8}
    both("causal-lm", sharding=sharding, steps=8, batch_size=6, optimizer="lamb", batch_ramp=ramp)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_each_rank_keeps_the_mean_of_what_it_holds(sharding, both):
    both("causal-lm", sharding=sharding, steps=8, batch_size=4, ema=0.8, evaluations=2)


def test_sharded_layers_are_gathered_again_for_insides_that_are_made_again(run, setting, tmp_path):
    settings = {"steps": 6, "batch_size": 4, "dropout": 0.1, "micro_batch_tokens": 30}
    alone = curve(run("causal-lm", **settings))

    def go(_ranks):
        made = setting("causal-lm", dropout=0.1)
        made.net.set_recompute(True)
        return curve(run("causal-lm", made=made, changes={"sharding": "full"}, **settings))

    for each in together(2, tmp_path, go):
        same_curve(each, alone)


@pytest.mark.parametrize("sharding", WHOLE)
def test_a_mean_goes_on_with_another_number_of_ranks(sharding, run, heard, tmp_path):
    settings = {"steps": 8, "batch_size": 3, "ema": 0.8, "evaluations": 2}
    undisturbed, folder = run("causal-lm", **settings).outcome.held_out["lm"], tmp_path / "kept"

    def begin(_ranks):
        listener = heard(4, lambda: signal.raise_signal(signal.SIGINT))
        return run("causal-lm", folder=folder, listener=listener, changes={"sharding": sharding}, **settings).outcome.stopped

    assert together(2, tmp_path, begin) == ["interrupted"] * 2
    assert run("causal-lm", folder=folder, resume=True, **settings).outcome.held_out["lm"] == pytest.approx(undisturbed, rel=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("name", ["causal-lm", "masked-lm"])
def test_two_hundred_steps_stay_together(name, sharding, both):
    """At a rate that suits the net: steps that are too large make any rounding grow, whoever adds."""
    both(name, sharding=sharding, steps=200, batch_size=4, evaluations=4, lr=0.003)


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize(
    "counts", [(2, 1, 2), pytest.param((1, 2, 1), marks=pytest.mark.slow), pytest.param((3, 2, 1), marks=pytest.mark.slow)]
)
def test_a_run_goes_on_with_another_number_of_ranks(counts, sharding, run, heard, tmp_path):
    """Each part of the run ends by Ctrl-C at a step of its own; the curve is that of a run that nothing happened to."""
    settings = {"steps": 12, "batch_size": 3, "dropout": 0.1, "micro_batch_tokens": 30, "lr": 0.01}
    undisturbed = curve(run("causal-lm", **settings))
    folder, found = tmp_path / "kept", []
    for part, (count, last) in enumerate(zip(counts, (4, 8, 99), strict=True)):

        def go(_ranks, last=last):
            listener = heard(last, lambda: signal.raise_signal(signal.SIGINT))
            done = run("causal-lm", folder=folder, resume=True, listener=listener, changes={"sharding": sharding}, **settings)
            return [curve(done), done.outcome.stopped]

        said = together(count, tmp_path, go) if count > 1 else [go(None)]
        assert all(each == said[0] for each in said)
        assert said[0][1] == ("budget" if part == 2 else "interrupted")
        found += said[0][0]
    same_curve(found, undisturbed)


def test_what_ranks_write_is_safetensors_and_json(run, tmp_path):
    together(2, tmp_path, lambda _ranks: bool(run("causal-lm", folder=tmp_path / "kept", steps=4, changes={"sharding": "full"})))
    kinds = {path.suffix for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}
    assert not list((tmp_path / "kept").glob(".writing-*"))


def test_ctrl_c_that_reaches_one_rank_ends_all_after_the_same_step(run, heard, tmp_path):
    def go(ranks):
        listener = heard(3, lambda: signal.raise_signal(signal.SIGINT)) if ranks.index == 1 else heard()
        done = run("causal-lm", folder=tmp_path / "kept", steps=9, listener=listener)
        return [done.outcome.stopped, done.outcome.steps]

    assert together(2, tmp_path, go) == [["interrupted", 3]] * 2
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_loss_that_is_no_number_ends_all_ranks_with_the_same_error(sharding, run, tmp_path):
    def go(_ranks):
        return run("causal-lm", folder=tmp_path / "kept", steps=9, lr=1e30, clip=0.0, warmup=0.0, changes={"sharding": sharding})

    assert together(2, tmp_path, go) == ["E503"] * 2


def test_early_stopping_is_decided_together(both):
    both("classification", steps=40, batch_size=4, evaluations=20, patience=2, lr=0.1)


def test_ranks_with_another_recipe_or_other_data_are_named(tmp_path):
    def recipe(ranks):
        ranks.check_recipe({"train": {"seed": 7 if ranks.index == 2 else 0}, "run": {"threads": ranks.index}})

    def data(ranks):
        ranks.check_data("另一本书" if ranks.index == 1 else "a book")

    def shown(check):
        def work(ranks):
            with pytest.raises(TrainingError) as caught:
                check(ranks)
            return [caught.value.code, str(caught.value)]

        return work

    for code, text in together(3, tmp_path, shown(recipe)):
        assert code == "E520" and "Rank 2" in text and "train.seed: 0 -> 7" in text
    for code, text in together(2, tmp_path, shown(data)):
        assert code == "E521" and "Rank 1" in text and "另一本书" in text


def test_a_rank_that_does_not_see_the_folder_is_named(tmp_path):
    seen = tmp_path / "共享"
    seen.mkdir()
    assert together(2, tmp_path, lambda ranks: ranks.check_folder(seen)) == [None, None]
    assert together(2, tmp_path, lambda ranks: ranks.check_folder(seen if ranks.is_first else tmp_path / "elsewhere")) == ["E523"] * 2


def test_a_device_that_ranks_cannot_share_is_refused_before_they_meet(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError) as caught:
        join(torch.device("mps"))
    assert caught.value.code == "E524" and "mps" in str(caught.value)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_rank_whose_neighbour_dies_says_so(sharding, run, heard, tmp_path):
    def go(ranks):
        listener = heard(3, lambda: os.kill(os.getpid(), signal.SIGKILL)) if ranks.index == 1 else heard()
        return run("causal-lm", steps=9, listener=listener, changes={"sharding": sharding})

    assert together(2, tmp_path, go, dies=1) == ["E522"]


def test_a_full_disk_is_said_and_survived(run, tmp_path, monkeypatch):
    """The first rank alone is told of it, and the others neither wait nor stop."""
    real = keeping.put_in_place

    def full(part, target, state):
        if target.name == "step-00000004":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(part, target, state)

    monkeypatch.setattr(keeping, "put_in_place", full)

    def go(_ranks):
        done = run("causal-lm", folder=tmp_path / "kept", steps=8)
        return [done.outcome.steps, [event["text"][:4] for event in done.listener.of("stage")]]

    assert together(2, tmp_path, go) == [[8, ["E902"]], [8, []]]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["step-00000006", "step-00000008"]


def test_a_checkpoint_cut_short_is_passed_over(run, tmp_path):
    together(2, tmp_path, lambda _ranks: bool(run("causal-lm", folder=tmp_path / "kept", steps=4)))
    newest = sorted((tmp_path / "kept").glob("step-*"))[-1]
    file = sorted(newest.glob("*.safetensors"))[-1]
    file.write_bytes(file.read_bytes()[:-7])
    done = run("causal-lm", folder=tmp_path / "kept", steps=4, resume=True)
    assert [event["step"] for event in done.listener.of("resumed")] == [2]


def test_a_look_over_several_ranks_is_the_look_of_one_to_the_bit(setting, tmp_path):
    made = setting("causal-lm")

    def look(among):
        found = measure(made.net, made.task, made.examples, batch_tokens=30, among=among)
        return [found.keys.tolist(), {name: total.tolist() for name, total in found.totals.items()}, found.num_tokens]

    alone = look(None)
    assert together(3, tmp_path, look) == [alone] * 3


def test_a_gradient_that_only_some_ranks_have_is_added_everywhere(tmp_path):
    """Against the sums by hand; a parameter that nobody asked has none afterwards either."""

    def go(ranks):
        parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1))]
        parameters[0].grad = torch.full((3,), 1.0 + ranks.index)
        if ranks.index == 1:
            parameters[1].grad = torch.ones(2, 2)
        ranks.sum_gradients(parameters)
        return [None if each.grad is None else each.grad.tolist() for each in parameters]

    assert together(2, tmp_path, go) == [[[3.0] * 3, [[1.0, 1.0], [1.0, 1.0]], None]] * 2


def test_what_ranks_tell_each_other_arrives_whole(tmp_path):
    """Short and long, Chinese and an emoji, nothing at all."""
    values = [{"话": "说" * 2000, "🙂": [1.5, None, float("inf")]}, "", "x" * 508, 0]

    def go(ranks):
        return [ranks.gather(values[ranks.index]) == values[:3], ranks.of_first(values[ranks.index]) == values[0]]

    assert together(3, tmp_path, go) == [[True, True]] * 3


def test_what_the_first_fails_to_make_ends_the_others_quietly(tmp_path):
    def go(ranks):
        def make():
            raise OSError("disk")

        with pytest.raises(OSError if ranks.is_first else SystemExit):
            ranks.first_makes(make, str, str)
        with pytest.raises(OSError if ranks.index == 1 else SystemExit):
            ranks.in_turn(make if ranks.index == 1 else list)
        return "through"

    assert together(3, tmp_path, go) == ["through"] * 3


def test_ranks_go_in_turn(tmp_path):
    """The first before all others: what it makes is there when the next one looks."""
    mark = tmp_path / "made"

    def go(ranks):
        def make():
            was_there = mark.exists()
            mark.touch()
            return was_there

        return ranks.in_turn(make)

    assert together(3, tmp_path, go) == [False, True, True]


def test_alone_nothing_changes():
    alone = Ranks()
    assert alone.gather(3) == [3] and alone.of_first("a") == "a" and alone.any(True) and not alone.any(False)
    assert alone.share([1, 2, 3]) == [1, 2, 3] and alone.number(2) == 2 and alone.sum({"a": 1.5}) == {"a": 1.5}
    assert here().is_alone


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("pieces", range(7))
def test_every_piece_is_dealt_once_and_all_get_equally_many(count, pieces):
    shares = [Ranks(index, count).share(list(range(pieces))) for index in range(count)]
    assert len({len(share) for share in shares}) == 1
    dealt = [
        (Ranks(index, count).number(at), piece) for index, share in enumerate(shares) for at, piece in enumerate(share) if piece is not None
    ]
    assert sorted(dealt) == [(piece, piece) for piece in range(pieces)]
