"""The linear layer of bfloat16 trainings beside the exact product."""

import pytest
import torch
from torch import nn

from diptych.kernels import linear
from diptych.kernels.linear import Linear

# Shapes: N tokens, I in, O out.


def layers(has_bias=True):
    torch.manual_seed(0)
    mine = Linear(40, 24, bias=has_bias)
    exact = nn.Linear(40, 24, bias=has_bias).double()
    exact.load_state_dict(mine.state_dict())
    return mine, exact


def outcome(layer, x_NI, grad_NO):
    x_NI = x_NI.clone().requires_grad_()
    y_NO = layer(x_NI)
    y_NO.backward(grad_NO)
    return [y_NO, x_NI.grad, *(weight.grad for weight in layer.parameters())]


@pytest.mark.parametrize("by", ["autocast", "weights"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_value_and_gradients_are_as_near_to_the_truth_as_torchs(by, has_bias):
    mine, exact = layers(has_bias)
    torchs = nn.Linear(40, 24, bias=has_bias)
    torchs.load_state_dict(mine.state_dict())
    draw = torch.Generator().manual_seed(1)
    x_NI, grad_NO = (torch.randn(300, size, generator=draw).bfloat16() for size in (40, 24))
    wanted = outcome(exact, x_NI.double(), grad_NO.double())
    with torch.autocast("cpu", torch.bfloat16, enabled=by == "autocast"):
        found, theirs = (outcome(layer if by == "autocast" else layer.bfloat16(), x_NI, grad_NO) for layer in (mine, torchs))
    for one, other, truth in zip(found, theirs, wanted, strict=True):
        assert one.dtype == other.dtype
        assert (one - truth).norm() <= max(1.2 * (other - truth).norm(), 1e-6)


def test_only_what_learns_has_a_gradient():
    mine, _exact = layers()
    mine.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        mine(torch.randn(5, 40).bfloat16()).float().sum().backward()
    assert mine.weight.grad is None
    assert torch.allclose(mine.bias.grad, torch.full((24,), 5.0))


@pytest.mark.parametrize("case", ["float32", "no gradient", "three dimensions", "no rows"])
def test_elsewhere_it_is_torchs(case, monkeypatch):
    monkeypatch.setattr(linear._Linear, "apply", lambda *_: pytest.fail("not here"))
    mine, _exact = layers()
    x = torch.randn(*((2, 3, 40) if case == "three dimensions" else (0 if case == "no rows" else 6, 40)))
    with torch.autocast("cpu", torch.bfloat16, enabled=case != "float32"), torch.set_grad_enabled(case != "no gradient"):
        y = mine(x if case == "float32" else x.bfloat16())
    assert y.shape == (*x.shape[:-1], 24)
