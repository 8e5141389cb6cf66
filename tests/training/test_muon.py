"""Muon against torch's own, a polynomial of singular values, and the same matrices apart."""

import pytest
import torch
from torch import nn

from diptych.config import TrainSettings
from diptych.models.layers import Joined
from diptych.presets import create
from diptych.training import muon as module
from diptych.training.checkpoint import load_checkpoint
from diptych.training.muon import Muon, is_safe_in_bfloat16, orthogonalize
from diptych.training.optimizers import build_optimizer, muon


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shapes", [[(8, 8)], [(5, 9), (9, 5), (5, 9)], [(3, 3), (12, 4), (1, 7)]])
def test_newton_schulz_is_its_polynomial_of_the_singular_values(shapes):
    matrices = [draw(*shape, seed=number) for number, shape in enumerate(shapes)]
    found = list(matrices)
    orthogonalize(found)
    for before, after in zip(matrices, found, strict=True):
        left, values, right = torch.linalg.svd(before.double(), full_matrices=False)
        values /= values.norm()
        for _step in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        torch.testing.assert_close(after.double(), left * values @ right, atol=1e-5, rtol=1e-5)


def test_matrices_that_are_too_many_for_one_batch_come_out_the_same(monkeypatch):
    whole, apart = ([draw(6, 4, seed=seed) for seed in range(5)] for _ in range(2))
    orthogonalize(whole)
    monkeypatch.setattr(module, "BATCH_ELEMENTS", 50)
    orthogonalize(apart)
    torch.testing.assert_close(whole, apart, atol=1e-6, rtol=1e-5)


def test_a_matrix_of_zeros_stays_one():
    found = [torch.zeros(3, 4)]
    orthogonalize(found)
    assert torch.equal(found[0], torch.zeros(3, 4))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_is_that_of_torchs_own_muon(decay):
    """Theirs always computes in bfloat16; so does ours here, and the updates agree to what that can tell."""
    ours, theirs = nn.Linear(16, 48, bias=False), nn.Linear(16, 48, bias=False)
    theirs.load_state_dict(ours.state_dict())
    group = {"params": [ours.weight], "parts": [(48,)], "is_matrix": True, "weight_decay": decay}
    mine = Muon([group], 0.02, momentum=0.85, is_cautious=None)  # 0.85: where the warm-up of the momentum begins and ends
    mine.dtype = torch.bfloat16
    peer = torch.optim.Muon([theirs.weight], lr=0.02, momentum=0.85, weight_decay=decay, nesterov=True, adjust_lr_fn="match_rms_adamw")
    start = ours.weight.detach().clone()
    for step in range(4):
        for layer, optimizer in ((ours, mine), (theirs, peer)):
            layer.weight.grad = draw(48, 16, seed=step)
            optimizer.step()
    moved = (theirs.weight - start).norm()
    assert moved > 0.1 and (ours.weight - theirs.weight).norm() < 0.01 * moved


def test_matrices_that_are_laid_together_move_as_they_do_apart():
    joined = Joined(6, (8, 4, 4), bias=False)
    apart = [nn.Linear(6, rows, bias=False) for rows in joined.parts]
    for layer, part in zip(apart, joined.weight.split(joined.parts), strict=True):
        layer.weight.data.copy_(part)
    net = nn.ModuleList(apart)
    settings = TrainSettings(optimizer="muon")
    optimizers = [build_optimizer(each, settings, 0.02) for each in (joined, net)]
    for step in range(3):
        # Scales a hundred times apart, so that the longest would decide for all.
        parts = [draw(rows, 6, seed=step) * scale for rows, scale in zip(joined.parts, (1.0, 100.0, 0.01), strict=True)]
        joined.weight.grad = torch.cat(parts)
        for layer, part in zip(apart, parts, strict=True):
            layer.weight.grad = part
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(joined.weight.detach(), torch.cat([layer.weight.detach() for layer in apart]), atol=1e-6, rtol=1e-5)


def test_queries_keys_values_gates_and_ups_are_told_apart():
    net = create("gpt-tiny", hidden_size=16, head_size=8, num_heads=2, num_kv_heads=1, num_layers=1, feed_forward_size=24, vocab_size=40)
    group = next(group for group in muon(net, TrainSettings(), 0.02).param_groups if group["is_matrix"])
    layer = net.body.layers[0]
    rows = {id(matrix): parts for matrix, parts in zip(group["params"], group["parts"], strict=True)}
    assert rows[id(layer.attention.qkv.weight)] == (16, 8, 8)
    assert rows[id(layer.feed_forward.up.weight)] == (24, 24)
    assert rows[id(layer.feed_forward.down.weight)] == (16,)


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt", "modernbert"])
def test_embeddings_heads_and_single_rows_move_as_adamw_moves_them(family):
    nets = [create(f"{family}-tiny", hidden_size=16, head_size=8, num_layers=1, vocab_size=40, context_length=8) for _ in range(2)]
    for net, name in zip(nets, ("muon", "adamw"), strict=True):
        net.ensure_head("classes", labels=("a", "b"))
        optimizer = build_optimizer(net, TrainSettings(optimizer=name), 0.01)
        for step in range(3):
            for number, parameter in enumerate(net.parameters()):
                parameter.grad = draw(*parameter.shape, seed=100 * step + number)
            optimizer.step()
    inside = {name for name, linear in nets[0].named_modules() if isinstance(linear, nn.Linear) and name.startswith("body.")}
    for (name, one), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        is_matrix = name.endswith(".weight") and name.removesuffix(".weight") in inside
        assert torch.allclose(one, other, atol=1e-6) != is_matrix, name


def test_a_cautious_decay_shrinks_only_what_the_update_shrinks_too():
    weight = nn.Parameter(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    before = weight.detach().clone()
    direction = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    moved = {}
    for decay in (0.0, 0.5):
        weight.data.copy_(before)
        optimizer = Muon([{"params": [weight], "parts": [(2,)], "is_matrix": True, "weight_decay": decay}], 0.1)
        weight.grad = direction.clone()
        optimizer.step()
        moved[decay] = weight.detach() - before
    shrunk = (moved[0.5] - moved[0.0]) / (-0.1 * 0.5 * before)
    towards_zero = (-moved[0.0] * before > 0).float()
    assert 0 < towards_zero.sum() < 4
    torch.testing.assert_close(shrunk, towards_zero, atol=1e-4, rtol=0)


def test_the_momentum_rises_over_its_first_steps(monkeypatch):
    monkeypatch.setattr(module, "MOMENTUM_STEPS", 2)
    weight = nn.Parameter(torch.zeros(2, 3))
    optimizer = Muon([{"params": [weight], "parts": [(2,)], "is_matrix": True}], 0.1)
    expected = torch.zeros(2, 3)
    for step, momentum in enumerate([0.85, 0.90, 0.95, 0.95]):
        weight.grad = draw(2, 3, seed=step)
        expected = momentum * expected + (1 - momentum) * weight.grad
        optimizer.step()
        torch.testing.assert_close(optimizer.state[weight]["momentum"], expected)


def test_bfloat16_is_taken_only_where_it_keeps_the_promise(monkeypatch):
    assert Muon([{"params": [nn.Parameter(torch.zeros(1))]}], 0.1).dtype == torch.float32
    monkeypatch.setattr(module, "_newton_schulz", lambda x: x)  # a machine whose products are wrong
    is_safe_in_bfloat16.cache_clear()
    assert not is_safe_in_bfloat16()
    assert Muon([{"params": [nn.Parameter(torch.zeros(1))]}], 0.1, precision="bfloat16").dtype == torch.float32
    is_safe_in_bfloat16.cache_clear()


def test_a_checkpoint_keeps_the_moments_of_both(run, tmp_path):
    run("causal-lm", steps=3, optimizer="muon", folder=tmp_path)
    tensors, _state = load_checkpoint(tmp_path)
    kept = {name.split("|")[0]: set() for name in tensors["optimizer"]}
    for name in tensors["optimizer"]:
        kept[name.split("|")[0]].add(name.split("|")[1])
    assert kept["body.layers.0.attention.qkv.weight"] == {"step", "momentum"}
    assert kept["body.embedding.tokens.weight"] == {"step", "exp_avg", "exp_avg_sq"}
