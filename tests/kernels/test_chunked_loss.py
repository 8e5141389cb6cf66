"""The loss in chunks beside torch's own, in value and in gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.kernels.chunked_loss import cross_entropy

# Shapes: M places, D features, V vocabulary.


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, 20, 21, 1024])
def test_value_and_gradients_are_those_of_torch(chunk: int, has_bias: bool) -> None:
    x, weight, bias, gold = inputs(20, has_bias=has_bias)
    scale_M = torch.linspace(-1, 2, 20)
    expected = loss_of_torch(x, weight, bias, gold)
    assert torch.allclose(cross_entropy(x, weight, bias, gold, chunk), expected, atol=1e-5)
    wanted = gradients((expected * scale_M).sum(), x, weight, bias)
    found = gradients((cross_entropy(x, weight, bias, gold, chunk) * scale_M).sum(), x, weight, bias)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_places_that_are_left_out_of_the_sum_leave_no_gradient() -> None:
    x, weight, bias, gold = inputs(9)
    keep_M = torch.arange(9) % 3 != 0
    wanted = gradients(loss_of_torch(x[keep_M], weight, bias, gold[keep_M]).sum(), x, weight, bias)
    found = gradients((cross_entropy(x, weight, bias, gold, 4) * keep_M).sum(), x, weight, bias)
    assert not found[0][~keep_M].any()
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_no_targets_cost_nothing_and_leave_gradients_of_zero() -> None:
    x, weight, bias, _gold = inputs(3)
    nats_M = cross_entropy(x[:0], weight, bias, torch.empty(0, dtype=torch.int64))
    assert nats_M.shape == (0,)
    assert all(not grad.any() for grad in gradients(nats_M.sum(), x, weight, bias))


@pytest.mark.parametrize("chunk", [3, 1024])
def test_in_bfloat16_it_is_as_near_to_the_truth_as_torch(chunk: int) -> None:
    x, weight, bias, gold = inputs(20)
    exact = loss_of_torch(x, weight, bias, gold)
    exact_grads = gradients(exact.sum(), x, weight, bias)
    halves = [part.detach().bfloat16().requires_grad_() for part in (x, weight, bias)]
    nats = cross_entropy(*halves, gold, chunk)
    assert nats.dtype == torch.float32
    assert torch.allclose(nats, exact, atol=0.05)
    for half, found, exact_grad in zip(halves, gradients(nats.sum(), *halves), exact_grads, strict=True):
        assert found.dtype == half.dtype == torch.bfloat16
        assert (found.float() - exact_grad).norm() <= 0.02 * exact_grad.norm()


def test_under_autocast_the_gradient_of_a_float32_weight_stays_float32() -> None:
    x, weight, bias, gold = inputs(20)
    with torch.autocast("cpu", torch.bfloat16):
        nats = cross_entropy(x, weight, bias, gold, 6)
    exact_grads = gradients(loss_of_torch(x, weight, bias, gold).sum(), x, weight, bias)
    for found, exact in zip(gradients(nats.sum(), x, weight, bias), exact_grads, strict=True):
        assert found.dtype == torch.float32
        assert (found - exact).norm() <= 0.02 * exact.norm()


def test_a_very_sure_answer_stays_a_number() -> None:
    x, weight = torch.eye(2) * 1e4, torch.eye(2).requires_grad_()
    nats = cross_entropy(x, weight, None, torch.tensor([0, 0]))
    assert nats.tolist() == [0.0, 1e4]
    assert gradients(nats.sum(), weight)[0].isfinite().all()


def inputs(num_places: int, *, has_bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    chance = torch.Generator().manual_seed(num_places)
    x, weight, bias = (torch.randn(*size, generator=chance).requires_grad_() for size in ((num_places, 8), (30, 8), (30,)))
    return x, weight, bias if has_bias else None, torch.randint(0, 30, (num_places,), generator=chance)


def loss_of_torch(x: Tensor, weight: Tensor, bias: Tensor | None, gold: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight, bias), gold, reduction="none")


def gradients(loss: Tensor, *leaves: Tensor | None) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None]))
