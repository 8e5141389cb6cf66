"""Attention by whole matrices beside torch's kernel, in value and in gradient, in bfloat16 as training runs it."""

import pytest
import torch
import torch.nn.functional as F

from diptych.kernels.dense_attention import FEWEST, LONGEST, attend

# Shapes: S texts, H heads, T tokens, K head size.


def inputs(length=9, heads=2):
    draw = torch.Generator().manual_seed(length)
    return [torch.randn(3, heads, length, 4, generator=draw) for _ in range(4)]


def outcome(q, k, v, grad, dtype, by):
    leaves = [x.to(dtype, copy=True).requires_grad_() for x in (q, k, v)]
    y = by(*leaves)
    y.backward(grad.to(dtype))
    return [y, *(leaf.grad for leaf in leaves)]


MASKS = {
    "none": (None, False),
    "causal": (None, True),
    "some are empty": (torch.arange(9)[None, None, None] < torch.tensor([9, 4, 1])[:, None, None, None], False),
    "added to the scores": (torch.linspace(-2, 2, 81).view(1, 1, 9, 9), False),
}


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("name", MASKS)
def test_value_and_gradients_are_as_near_to_the_truth_as_torchs_kernel(name, scale):
    mask, is_causal = MASKS[name]
    *qkv, grad = inputs()

    def torchs(q, k, v):
        added = mask.to(q.dtype) if mask is not None and mask.is_floating_point() else mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=added, is_causal=is_causal, scale=scale)

    exact = outcome(*qkv, grad, torch.float32, torchs)
    theirs = outcome(*qkv, grad, torch.bfloat16, torchs)
    ours = outcome(*qkv, grad, torch.bfloat16, lambda q, k, v: attend(q, k, v, mask, dropout=0.0, is_causal=is_causal, scale=scale))
    for mine, other, truth in zip(ours, theirs, exact, strict=True):
        assert (mine - truth).norm() <= max(1.5 * (other - truth).norm(), 0.01 * truth.norm())


@pytest.mark.parametrize("length", [1, 127, 128, 191, 192, 193, 300, 512])
def test_stripes_of_a_causal_text_are_the_whole(length):
    *qkv, grad = inputs(length)

    def torchs(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    exact = outcome(*qkv, grad, torch.float32, torchs)
    theirs = outcome(*qkv, grad, torch.bfloat16, torchs)
    ours = outcome(*qkv, grad, torch.bfloat16, lambda q, k, v: attend(q, k, v, None, dropout=0.0, is_causal=True))
    for mine, other, truth in zip(ours, theirs, exact, strict=True):
        assert (mine - truth).norm() <= max(1.5 * (other - truth).norm(), 0.01 * truth.norm())


def test_a_mask_beside_causality_is_cut_into_the_same_stripes():
    *qkv, grad = inputs(260)
    added = torch.linspace(-2, 2, 260 * 260).view(1, 1, 260, 260)
    future = torch.full((260, 260), float("-inf")).triu(1)

    def torchs(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=added + future)

    exact = outcome(*qkv, grad, torch.float32, torchs)
    ours = outcome(*qkv, grad, torch.bfloat16, lambda q, k, v: attend(q, k, v, added, dropout=0.0, is_causal=True))
    for mine, truth in zip(ours, exact, strict=True):
        assert (mine - truth).norm() <= 0.02 * truth.norm()


@pytest.mark.parametrize("is_causal", [False, True])
def test_what_learns_nothing_gets_the_same_value(is_causal, monkeypatch):
    *qkv, _grad = inputs(FEWEST)
    q, k, v = (x.bfloat16() for x in qkv)
    expected = attend(q.requires_grad_(), k, v, None, dropout=0.0, is_causal=is_causal)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    assert torch.equal(attend(q.detach(), k, v, None, dropout=0.0, is_causal=is_causal), expected)


@pytest.mark.parametrize("case", ["float32", "few that learn nothing", "too long", "with dropout"])
def test_elsewhere_torchs_kernel_is_taken(case, monkeypatch):
    called = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *args, **named: called.append(1) or kernel(*args, **named))
    q, k, v, _grad = inputs(LONGEST + 1 if case == "too long" else 9, heads=1)
    dtype = torch.float32 if case == "float32" else torch.bfloat16
    q = q.to(dtype).requires_grad_(case != "few that learn nothing")
    attend(q, k.to(dtype), v.to(dtype), None, dropout=0.5 if case == "with dropout" else 0.0, is_causal=True)
    assert called
