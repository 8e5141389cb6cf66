"""Checkpoints: there whole or not at all, the same tensors back, and no pickle."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from diptych.config import TrainSettings
from diptych.training import checkpoint
from diptych.training.checkpoint import (
    KEPT,
    checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
    weights,
)
from diptych.training.optimizers import adamw

GROUPS = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
    "optimizer": {"a|step": torch.tensor(7.0), "a|exp_avg": torch.full((2, 3), 1e-30)},
}


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    save_checkpoint(tmp_path, 12, GROUPS, {"run": {"seconds": 0.1 + 0.2, "best": None}, "regime": {"round": 3}})
    tensors, state = load_checkpoint(tmp_path)
    assert tensors.keys() == GROUPS.keys()
    for name, group in GROUPS.items():
        assert tensors[name].keys() == group.keys()
        assert all(torch.equal(tensors[name][key], group[key]) and tensors[name][key].dtype == group[key].dtype for key in group)
    assert state["step"] == 12 and state["run"] == {"seconds": 0.1 + 0.2, "best": None} and state["regime"] == {"round": 3}


def test_tensors_are_safetensors_and_the_rest_is_json(tmp_path):
    folder = save_checkpoint(tmp_path, 1, GROUPS, {})
    assert sorted(path.name for path in folder.iterdir()) == ["optimizer.safetensors", "state.json", "weights.safetensors"]
    assert torch.equal(load_file(folder / "weights.safetensors")["a"], GROUPS["weights"]["a"])
    json.loads((folder / "state.json").read_text(encoding="utf-8"))


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 5, 9, 100_000_000):
        save_checkpoint(tmp_path, step, GROUPS, {})
    assert [int(path.name.partition("-")[2]) for path in checkpoints(tmp_path)] == [9, 100_000_000][-KEPT:]
    assert load_checkpoint(tmp_path)[1]["step"] == 100_000_000


def test_a_step_may_be_written_again(tmp_path):
    save_checkpoint(tmp_path, 4, GROUPS, {"run": "first"})
    save_checkpoint(tmp_path, 4, GROUPS, {"run": "second"})
    assert load_checkpoint(tmp_path)[1]["run"] == "second" and len(checkpoints(tmp_path)) == 1


def test_where_there_is_none_there_is_none(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None


def test_views_and_tied_tensors_are_saved_as_they_are_seen(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save_checkpoint(tmp_path, 1, {"weights": {"turned": base.T, "part": base[1:, ::2], "learnt": nn.Parameter(base)}}, {})
    found = load_checkpoint(tmp_path)[0]["weights"]
    assert torch.equal(found["turned"], base.T) and torch.equal(found["part"], base[1:, ::2]) and torch.equal(found["learnt"], base)


def test_an_optimizer_goes_on_from_its_moments_as_if_it_had_never_stopped():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))

    def step(net, optimizer, number):
        torch.manual_seed(number)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    one, two = network(), network()
    settings = TrainSettings()
    whole, first = adamw(one, settings, 0.1), adamw(two, settings, 0.1)
    for number in range(6):
        step(one, whole, number)
    for number in range(3):
        step(two, first, number)
    three = network()
    second = adamw(three, settings, 0.1)
    restore_weights(three, {name: tensor.detach().clone() for name, tensor in weights(two).items()})
    restore_optimizer(second, three, optimizer_tensors(first, two))
    for number in range(3, 6):
        step(three, second, number)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def test_buffers_are_weights_too():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert set(weights(net)) == set(net.state_dict())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("patched", "name", "newest"),
    [(checkpoint, "_checksum_of", 1), (Path, "rename", 1), (checkpoint, "checkpoints", 2)],
    ids=["before it is described", "before it gets its name", "before the old ones go"],
)
def test_a_process_killed_while_writing_leaves_whole_checkpoints_only(patched, name, newest, tmp_path):
    save_checkpoint(tmp_path, 1, GROUPS, {})
    child = os.fork()
    if not child:
        try:
            setattr(patched, name, lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL))
            save_checkpoint(tmp_path, 2, GROUPS, {})
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    tensors, state = load_checkpoint(tmp_path)
    assert state["step"] == newest
    assert torch.equal(tensors["weights"]["a"], GROUPS["weights"]["a"])
    save_checkpoint(tmp_path, 3, GROUPS, {})
    assert not list(tmp_path.glob(".writing-*"))
