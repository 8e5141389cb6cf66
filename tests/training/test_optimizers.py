"""Parameter groups by module type, and AdamW against torch's plain one and the paper's formula."""

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from diptych.config import TrainSettings
from diptych.kernels.linear import Linear
from diptych.models.layers import Joined
from diptych.presets import create
from diptych.training.optimizers import adamw, build_optimizer, parameter_groups

FAMILIES = ["bert", "gpt2", "gpt", "modernbert"]


def network(family, **sizes):
    net = create(f"{family}-tiny", hidden_size=16, head_size=8, num_layers=2, vocab_size=40, context_length=8, **sizes)
    net.ensure_head("classes", labels=("a", "b"))
    return net


@pytest.mark.parametrize("family", FAMILIES)
def test_only_matrices_of_linear_layers_decay(family):
    net = network(family)
    groups = parameter_groups(net)
    decayed = {id(parameter) for parameter in groups["inner"] + groups["outer"]}
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_matrix = type(module) in (nn.Linear, Linear, Joined) and name == "weight"
            assert (id(parameter) in decayed) == is_matrix, (module, name)
    assert not decayed & {id(parameter) for parameter in groups["kept"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_of_heads_are_apart_from_those_of_the_body(family):
    net = network(family, **({"is_tied": False} if family == "gpt" else {}))
    groups = parameter_groups(net)
    body = {id(parameter) for parameter in net.body.parameters()}
    assert len(groups["inner"]) == 4 * 2 and all(id(parameter) in body for parameter in groups["inner"])
    assert groups["outer"] and not any(id(parameter) in body for parameter in groups["outer"])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_is_optimized_exactly_once(family):
    net = network(family)
    groups = parameter_groups(net)
    listed = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in net.parameters())
    assert len(set(listed)) == len(listed)


def test_a_weight_that_an_embedding_shares_with_a_linear_layer_is_an_embedding():
    net = nn.Module()
    net.output = nn.Linear(4, 9, bias=False)
    net.embedding = nn.Embedding(9, 4)
    net.output.weight = net.embedding.weight
    groups = parameter_groups(net)
    assert groups["inner"] == groups["outer"] == [] and [id(each) for each in groups["kept"]] == [id(net.embedding.weight)]


def test_the_tied_language_head_adds_no_weight_and_the_untied_one_decays():
    tied, untied = network("gpt", is_tied=True), network("gpt", is_tied=False)
    embedding = tied.body.embedding.tokens.weight
    assert sum(parameter is embedding for parameter in parameter_groups(tied)["kept"]) == 1
    assert any(parameter is untied.heads["lm"].decoder.weight for parameter in parameter_groups(untied)["outer"])


def test_frozen_weights_are_in_no_group():
    net = network("bert")
    net.body.requires_grad_(False)
    listed = {id(parameter) for group in parameter_groups(net).values() for parameter in group}
    assert listed == {id(parameter) for parameter in net.heads.parameters() if parameter.requires_grad}


def gradients(net, step):
    draw = torch.Generator().manual_seed(step)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def test_a_step_is_that_of_torchs_plain_adamw():
    ours, theirs = network("bert"), network("bert")
    theirs.load_state_dict(ours.state_dict())
    settings = TrainSettings(betas=(0.9, 0.98), weight_decay=0.1)
    optimizer = adamw(ours, settings, 1e-2)
    groups = parameter_groups(theirs)
    peer = torch.optim.AdamW(
        [{"params": groups["inner"] + groups["outer"], "weight_decay": 0.1}, {"params": groups["kept"], "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.98),
        eps=1e-8,
        foreach=False,
        fused=False,
    )
    for step in range(5):
        for net, each in ((ours, optimizer), (theirs, peer)):
            gradients(net, step)
            each.step()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_the_decay_is_apart_from_the_gradient():
    """Loshchilov and Hutter 2019: the weight shrinks by lr * decay before the step, whatever its gradient is."""
    layer = nn.Linear(3, 2)
    optimizer = adamw(layer, TrainSettings(weight_decay=0.5, betas=(0.9, 0.98)), 0.1)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    gradient = torch.tensor([[1.0, -2.0, 3.0], [0.5, -0.1, 4.0]])
    layer.weight.grad, layer.bias.grad = gradient.clone(), torch.tensor([1.0, -1.0])
    optimizer.step()
    # In the first step both moments are corrected to the gradient itself, so the step is lr * g / (|g| + eps).
    torch.testing.assert_close(layer.weight.detach(), weight * (1 - 0.1 * 0.5) - 0.1 * gradient.sign(), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.bias.detach(), bias - 0.1 * torch.tensor([1.0, -1.0]), atol=1e-6, rtol=0)


def test_long_gradients_are_shortened_to_the_clip(run, setting):
    lengths = {}
    for clip in (0.0, 1e-3):
        made = setting("causal-lm")
        seen = {}

        def spy(optimizer, args, kwargs, seen=seen):
            if not seen:
                grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
                seen["length"] = float(torch.stack([grad.pow(2).sum() for grad in grads]).sum().sqrt())

        handle = register_optimizer_step_pre_hook(spy)
        try:
            run("causal-lm", steps=1, clip=clip, made=made)
        finally:
            handle.remove()
        lengths[clip] = seen["length"]
    assert lengths[0.0] > 0.01
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_cautious_decay_shrinks_only_what_the_update_shrinks(optimizer):
    """Chen et al. 2025, algorithm 1, written out for a head's matrix, which AdamW moves under either optimizer."""
    net = network("gpt", is_tied=False)
    settings = TrainSettings(optimizer=optimizer, weight_decay=0.5, betas=(0.9, 0.98), cautious_decay=True)
    built = build_optimizer(net, settings, 0.1)
    matrix = net.heads["lm"].decoder.weight
    expected, first, second = matrix.detach().double(), 0.0, 0.0
    for step in range(1, 5):
        gradients(net, step)
        gradient = matrix.grad.double()
        first, second = 0.9 * first + 0.1 * gradient, 0.98 * second + 0.02 * gradient**2
        update = first / (1 - 0.9**step) / ((second / (1 - 0.98**step)).sqrt() + 1e-8)
        expected = expected - 0.1 * (update + 0.5 * expected * (update * expected > 0))
        built.step()
        torch.testing.assert_close(matrix.detach().double(), expected, atol=1e-5, rtol=1e-5)


def test_a_decay_that_is_not_cautious_shrinks_every_weight_of_muons_matrices():
    """With half the weights against the update, a cautious decay leaves those longer than a plain one does."""
    sizes = {}
    for is_cautious in (None, True, False):
        net = network("gpt")
        built = build_optimizer(net, TrainSettings(optimizer="muon", weight_decay=5.0, cautious_decay=is_cautious), 0.1)
        gradients(net, 0)
        built.step()
        sizes[is_cautious] = sum(float(matrix.detach().square().sum()) for matrix in parameter_groups(net)["inner"])
    assert sizes[None] == sizes[True] > sizes[False]


def test_without_decay_the_cautious_optimizer_is_torchs():
    nets = [network("bert"), network("bert")]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, is_cautious in zip(nets, (True, None), strict=True):
        built = build_optimizer(net, TrainSettings(weight_decay=0.0, cautious_decay=is_cautious), 1e-2)
        for step in range(3):
            gradients(net, step)
            built.step()
    assert all(torch.equal(one, other) for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
