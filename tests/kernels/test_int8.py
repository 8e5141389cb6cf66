"""Matrices in eight bits against the same arithmetic written out, and the promise that a neighbour changes nothing."""

from typing import Any

import pytest
import torch
from torch import nn

from diptych.errors import UsageError
from diptych.kernels import int8
from diptych.kernels.int8 import Int8Linear, Int8Matrix, is_int8
from diptych.packed import Packed
from diptych.presets import create
from diptych.surgery.quantize import large_matrices, to_int8

PRESETS = ("gpt-tiny", "gpt2-tiny", "bert-tiny", "modernbert-tiny", "bart-tiny", "t5-tiny", "gru-tiny")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net_of(preset: str, **sizes: Any) -> Any:
    return create(preset, seed=1, vocab_size=211, hidden_size=64, num_layers=2, context_length=64, **sizes).eval()


@pytest.mark.skipif(int8.fast_mode() is None, reason="this build of torch multiplies no integers")
@pytest.mark.parametrize("inputs", [64, 100, 129])
def test_the_product_is_that_of_rounded_rows_and_rounded_channels(inputs: int) -> None:
    weight_OI, x_NI, bias_O = draw(50, inputs), draw(9, inputs, seed=1) * torch.logspace(-3, 3, 9)[:, None], draw(50, seed=2)
    found = Int8Matrix(weight_OI).product(x_NI, bias_O).double()
    scale_O = weight_OI.double().abs().amax(1, keepdim=True) / 127
    exact_OI = (weight_OI / scale_O).round() * scale_O
    # Steps of 1/127 from -1 to 1 for each row: what is rounded is off by half of one at most.
    step_N1 = x_NI.abs().amax(1, keepdim=True).double() / 127
    bound = step_N1 / 2 * exact_OI.abs().sum(1)
    assert ((found - (x_NI.double() @ exact_OI.T + bias_O)).abs() <= bound + 1e-4 * x_NI.abs().amax(1, keepdim=True)).all()
    exact = x_NI.double() @ weight_OI.double().T
    error = (found - bias_O - exact).norm(dim=1) / exact.norm(dim=1)
    assert (error < 0.03).all(), "rows of any size are equally exact"


def test_a_row_of_the_product_does_not_depend_on_the_other_rows() -> None:
    matrix, x_NI = Int8Matrix(draw(70, 48)), draw(12, 48, seed=1)
    together = matrix.product(torch.cat((x_NI, 1000 * draw(3, 48, seed=2), torch.zeros(1, 48))))
    assert torch.equal(together[:12], torch.cat([matrix.product(row[None]) for row in x_NI]))
    assert torch.equal(together[-1], torch.zeros(70)) and torch.isfinite(together).all()


def test_without_the_operator_the_answer_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, x_NI, bias_O = Int8Matrix(draw(30, 40)), draw(5, 40, seed=1), draw(30, seed=3)
    fast = matrix.product(x_NI, bias_O)
    monkeypatch.setattr(int8, "fast_mode", lambda: None)
    slow = matrix.product(x_NI, bias_O)
    assert torch.allclose(slow, nn.functional.linear(x_NI, matrix.weight, bias_O))
    assert (fast - slow).norm() < 0.02 * slow.norm()


def test_where_sums_overflow_the_range_is_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32

    class Overflowing:
        """A processor that cannot add two full products, as some without dot products of integers cannot."""

        linear_prepack = torch.ops.quantized.linear_prepack

        @staticmethod
        def linear_with_input_q_dq_qweight_dq_output_fp32(x: Any, scale: float, zero: int, packed: Any) -> Any:
            y = real(x, scale, zero, packed)
            return y if zero < 128 else y.clamp(max=40)

    int8.fast_mode.cache_clear()
    monkeypatch.setattr(torch.ops, "quantized", Overflowing)
    try:
        assert int8.fast_mode() in ("narrow", None)
    finally:
        monkeypatch.undo()
        int8.fast_mode.cache_clear()


@pytest.mark.parametrize("preset", PRESETS)
@torch.inference_mode()
def test_any_network_in_eight_bits_says_nearly_the_same(preset: str) -> None:
    net = net_of(preset)
    ids = torch.randint(0, 211, (3, 20), generator=torch.Generator().manual_seed(4))
    written = {"decoder_input_ids": ids[:, :7]} if net.config.is_encoder_decoder else {}
    expected = net.logits(ids, **written)
    names = large_matrices(net)
    to_int8(net)
    assert is_int8(net) and not large_matrices(net) and any(name.endswith("embedding.tokens") for name in names)
    found = net.logits(ids, **written)
    assert (found - expected).norm() < 0.1 * expected.norm()
    # Not merely close: the same head, wherever it is asked.
    assert torch.equal(found.argmax(-1), expected.argmax(-1)) or (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.8


@torch.inference_mode()
def test_a_text_is_read_the_same_whatever_lies_beside_it() -> None:
    net = net_of("gpt-tiny")
    to_int8(net)
    ids = torch.randint(0, 211, (40,), generator=torch.Generator().manual_seed(5))
    together = net.hidden(Packed(torch.cat((ids, ids.flip(0))), (40, 40)))[:40]
    assert torch.allclose(together, net.hidden(Packed(ids, (40,))), atol=1e-5)


def test_no_gradient_goes_through_eight_bits() -> None:
    layer = Int8Linear(nn.Linear(8, 4))
    with pytest.raises(UsageError) as caught:
        layer(draw(2, 8).requires_grad_())
    assert caught.value.code == "E651"
    assert layer.requires_grad_(False)(draw(2, 8)).shape == (2, 4)
