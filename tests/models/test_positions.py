"""Rotary positions beside a multiplication of complex numbers."""

import math

import pytest
import torch

from diptych.kernels.rotary import rotate
from diptych.models.positions import rotation, sinusoids
from diptych.presets import create


@pytest.mark.parametrize("theta", [10_000.0, 160_000.0, 3.0])
@pytest.mark.parametrize("head_size", [2, 6, 64])
def test_each_pair_is_turned_like_a_complex_number(head_size: int, theta: float) -> None:
    at_N = torch.tensor([0, 1, 5, 257, 1023])
    x_NHK = torch.randn(5, 3, head_size, generator=torch.Generator().manual_seed(0))
    half = head_size // 2
    pairs = torch.complex(x_NHK[..., :half].double(), x_NHK[..., half:].double())
    angles = at_N[:, None].double() * theta ** (-torch.arange(half).double() * 2 / head_size)
    turned = pairs * torch.exp(1j * angles)[:, None]
    found = rotate(x_NHK, *rotation(at_N, head_size, theta, torch.float32))
    assert torch.allclose(found.double(), torch.cat((turned.real, turned.imag), -1), atol=2e-4)
    assert torch.equal(found[0], x_NHK[0])


def test_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(1))

    def product(at_q: int, at_k: int) -> float:
        turned = (rotate(x, *rotation(torch.tensor([at]), 16, 100.0, torch.float32)) for x, at in ((q, at_q), (k, at_k)))
        first, second = turned
        return float((first * second).sum())

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(3, 7), abs=1e-2)


def test_angles_in_bfloat16_are_those_of_float32_rounded_once() -> None:
    """bfloat16 cannot tell position 257 from 256, so the angles must not be taken in it."""
    at_N = torch.tensor([256, 257])
    cos, sin = rotation(at_N, 8, 10_000.0, torch.bfloat16)
    exact_cos, exact_sin = rotation(at_N, 8, 10_000.0, torch.float32)
    assert torch.equal(cos, exact_cos.bfloat16()) and torch.equal(sin, exact_sin.bfloat16())
    assert not torch.equal(cos[0], cos[1])


def test_sinusoids_are_interleaved_as_in_the_paper() -> None:
    size, theta = 10, 10_000.0
    found = sinusoids(50, size)
    for position in (0, 1, 7, 49):
        for pair in range(size // 2):
            angle = position / theta ** (2 * pair / size)
            assert found[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-4)
            assert found[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-4)
    assert sinusoids(3, 5).shape == (3, 5)


def test_learned_positions_begin_as_sinusoids_that_weigh_as_much_as_the_tokens() -> None:
    embedding = create("bert-tiny", vocab_size=3000).body.embedding
    assert embedding.positions is not None
    positions, tokens = embedding.positions.weight.detach(), embedding.tokens.weight.detach()
    ratio = positions / sinusoids(*positions.shape)
    assert torch.allclose(ratio[ratio.isfinite()], ratio[0, 1].expand(int(ratio.isfinite().sum())), rtol=1e-4)
    assert float(positions.square().mean().sqrt()) == pytest.approx(float(tokens.square().mean().sqrt()), rel=0.05)
