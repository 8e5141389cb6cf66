"""LAMB against the paper's algorithm, written here in plain numpy, and against what follows from it."""

import numpy as np
import pytest
import torch
from torch import nn

from diptych.config import TrainSettings
from diptych.models.layers import Joined
from diptych.training.lamb import Lamb
from diptych.training.optimizers import build_optimizer


def by_the_paper(weight, gradients, *, lr, decay, first=0.9, second=0.98, epsilon=1e-6):
    """You et al. 2020, algorithm 2, with phi the identity; of one layer."""
    weight = weight.astype(np.float64)
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for t, gradient in enumerate(gradients, 1):
        m = first * m + (1 - first) * gradient
        v = second * v + (1 - second) * gradient**2
        r = (m / (1 - first**t)) / (np.sqrt(v / (1 - second**t)) + epsilon)
        step = r + decay * weight
        weight = weight - lr * np.linalg.norm(weight) / np.linalg.norm(step) * step
    return weight


def gradients_of(*shape, count=4):
    draw = np.random.default_rng(1)
    return [draw.normal(size=shape) for _step in range(count)]


def walk(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_the_paper(decay):
    layer = nn.Linear(5, 7, bias=False).double()
    expected = by_the_paper(layer.weight.detach().numpy().copy(), gradients_of(7, 5), lr=0.02, decay=decay)
    walk(Lamb([{"params": [layer.weight], "weight_decay": decay}], 0.02), layer.weight, gradients_of(7, 5))
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-12)


def test_matrices_that_are_laid_together_are_measured_apart():
    joined = Joined(4, (3, 2), bias=False).double()
    with torch.no_grad():
        joined.weight[3:] *= 50
    start, gradients = joined.weight.detach().numpy().copy(), gradients_of(5, 4)
    walk(build_optimizer(joined, TrainSettings(optimizer="lamb", weight_decay=0.1), 0.02), joined.weight, gradients)
    for rows in (slice(0, 3), slice(3, 5)):
        expected = by_the_paper(start[rows], [each[rows] for each in gradients], lr=0.02, decay=0.1)
        np.testing.assert_allclose(joined.weight.detach().numpy()[rows], expected, rtol=1e-12)


def test_a_step_moves_a_matrix_by_the_rates_share_of_its_length():
    layer = nn.Linear(6, 6, bias=False)
    before = layer.weight.detach().clone()
    walk(Lamb([{"params": [layer.weight]}], 0.01), layer.weight, gradients_of(6, 6, count=1))
    assert (layer.weight.detach() - before).norm().item() == pytest.approx(0.01 * before.norm().item(), rel=1e-5)


def test_gains_and_zeros_take_adams_update_as_it_is():
    """Its first one is the sign of the gradient: a weight of zeros would never move otherwise."""
    gain, zeros = nn.Parameter(torch.full((3,), 7.0)), nn.Parameter(torch.zeros(2, 2))
    optimizer = Lamb([{"params": [gain, zeros]}], 0.1)
    gain.grad, zeros.grad = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[1.0, -1.0], [3.0, 0.0]])
    optimizer.step()
    torch.testing.assert_close(gain.detach(), torch.tensor([6.9, 7.1, 6.9]), atol=1e-4, rtol=0)
    torch.testing.assert_close(zeros.detach(), torch.tensor([[-0.1, 0.1], [-0.1, 0.0]]), atol=1e-4, rtol=0)


def test_a_cautious_decay_works_where_the_update_shrinks_the_weight():
    plain, cautious = (nn.Parameter(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])) for _ in range(2))
    gradient = np.array([[1.0, -1.0], [1.0, -1.0]])
    walk(Lamb([{"params": [plain], "weight_decay": 0.5}], 0.1), plain, [gradient])
    walk(Lamb([{"params": [cautious], "weight_decay": 0.5}], 0.1, is_cautious=True), cautious, [gradient])
    # r is the gradient's sign; the decay adds half the weight, cautiously at two of the four places.
    for found, step in ((plain, [[1.5, -0.5], [0.5, -1.5]]), (cautious, [[1.5, -1.0], [1.0, -1.5]])):
        step = torch.tensor(step)
        expected = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]) - 0.1 * 2.0 / step.norm() * step
        torch.testing.assert_close(found.detach(), expected, atol=1e-5, rtol=0)
