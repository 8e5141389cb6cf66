"""RMS norm with the gradient by hand beside torch's composition."""

import pytest
import torch
import torch.nn.functional as F

from diptych.kernels.rms_norm import RMSNorm


@pytest.mark.parametrize("shape", [(5, 8), (3, 2, 8), (1, 8)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_value_and_gradients_are_torchs(shape, dtype):
    draw = torch.Generator().manual_seed(0)
    x, grad, weight = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in (shape, shape, (8,)))
    norm = RMSNorm(8, eps=1e-3).to(torch.float64 if dtype == torch.float64 else torch.float32)
    norm.weight.data.copy_(weight)
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    F.rms_norm(leaves[0], (8,), leaves[1], 1e-3).backward(grad)
    found = x.to(dtype, copy=True).requires_grad_()
    y = norm(found)
    y.backward(grad.to(dtype))
    assert y.dtype == found.grad.dtype == dtype
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
    expected = F.rms_norm(x, (8,), weight, 1e-3)
    pairs = [(y, expected), (found.grad, leaves[0].grad), (norm.weight.grad, leaves[1].grad)]
    for mine, truth in pairs:
        assert (mine.double() - truth).norm() <= tolerance * truth.norm()
    with torch.no_grad():
        assert torch.allclose(norm(x.to(dtype)).double(), expected, atol=10 * tolerance)
