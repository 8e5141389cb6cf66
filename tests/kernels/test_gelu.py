"""GELU by tanh with the gradient by hand beside torch's, in value and in gradient."""

import pytest
import torch
import torch.nn.functional as F

from diptych.kernels import gelu
from diptych.kernels.gelu import gelu_tanh

TOLERANCE = {torch.float64: (1e-12, 1e-15), torch.float32: (1e-6, 2e-6), torch.bfloat16: (2**-7, 2e-6)}
"""Relative and absolute: 1 - sigmoid loses its last places where it is nearly nothing, as torch's 1 + tanh does."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(gelu, "CHUNK", 1000)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", [1, 999, 1000, 2500])
def test_value_and_gradient_are_torchs(size, dtype):
    x = torch.linspace(-9, 9, size, dtype=torch.float64).to(dtype).view(-1, 1).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = torch.linspace(1, 2, size, dtype=torch.float64).to(dtype).view(-1, 1)
    y, truth = gelu_tanh(x), F.gelu(exact, approximate="tanh")
    y.backward(grad)
    truth.backward(grad.double())
    assert y.dtype == x.grad.dtype == dtype
    relative, absolute = TOLERANCE[dtype]
    for found, wanted in ((y, truth), (x.grad, exact.grad)):
        assert torch.allclose(found.double(), wanted, rtol=relative, atol=absolute)


def test_what_is_not_a_number_stays_so_and_the_far_ends_are_finite():
    x = torch.tensor([float("nan"), -1e18, 1e18, 0.0]).requires_grad_()
    y = gelu_tanh(x)
    y[1:].sum().backward()
    assert y[0].isnan()
    assert y[1:].tolist() == [0.0, torch.tensor(1e18).item(), 0.0]
    assert x.grad[3] == 0.5


def test_without_a_gradient_and_in_other_layouts_it_is_the_same_function():
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    expected = F.gelu(x, approximate="tanh")
    assert torch.equal(gelu_tanh(x), expected)
    assert torch.allclose(gelu_tanh(x.T.requires_grad_()), expected.T, atol=1e-6)
    assert gelu_tanh(x[:0].clone().requires_grad_()).shape == (0, 8)


def test_a_second_derivative_is_refused_rather_than_wrong():
    x = torch.randn(8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(gelu_tanh(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
