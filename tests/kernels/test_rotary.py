"""Rotary positions by hand beside autograd's way through complex numbers."""

import torch

from diptych.kernels.rotary import rotate


def test_value_and_gradient_are_those_of_a_complex_product():
    draw = torch.Generator().manual_seed(0)
    x_NHK = torch.randn(5, 3, 8, dtype=torch.float64, generator=draw, requires_grad=True)
    grad_NHK = torch.randn(5, 3, 8, dtype=torch.float64, generator=draw)
    # Longer than 1 as well: YaRN makes vectors grow.
    turn_N1P = torch.polar(
        torch.linspace(0.5, 1.5, 5, dtype=torch.float64)[:, None, None], torch.rand(5, 1, 4, dtype=torch.float64, generator=draw)
    )
    product = torch.complex(*x_NHK.chunk(2, dim=-1)) * turn_N1P
    expected = torch.cat((product.real, product.imag), dim=-1)
    by_autograd = torch.autograd.grad(expected, x_NHK, grad_NHK)[0]

    found = rotate(x_NHK, turn_N1P.real.repeat(1, 1, 2), turn_N1P.imag)
    assert torch.allclose(found, expected)
    assert torch.allclose(torch.autograd.grad(found, x_NHK, grad_NHK)[0], by_autograd)
