"""Attention beside a softmax written out, for every mask it has."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diptych.kernels.rotary import rotate
from diptych.models.attention import Attention
from diptych.models.config import ModelConfig
from diptych.models.positions import rotation
from diptych.models.sight import Sight
from diptych.packed import Packed

# Shapes: N tokens of all texts, T tokens of one, D hidden, H query heads, G key-value heads, K head size.


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("window", [0, 1, 2, 3, 5, 8, 64])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_the_softmax_written_out(is_causal: bool, window: int, groups: int) -> None:
    attention, config = make(is_causal=is_causal, window=window, num_kv_heads=groups)
    check(attention, config, (17, 1, 5, 16, 9, 17))


@pytest.mark.parametrize("changes", [{"has_qk_norm": True, "norm": "rms"}, {"has_attention_bias": False}, {"positions": "rotary"}])
def test_normed_and_turned_queries_and_keys_are_the_softmax_written_out(changes: dict[str, Any]) -> None:
    attention, config = make(is_causal=True, num_kv_heads=2, **changes)
    check(attention, config, (7, 3, 12))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 23), min_size=1, max_size=7).map(tuple),
    is_causal=st.booleans(),
    window=st.sampled_from([0, 1, 2, 4, 7]),
)
def test_any_mixture_of_lengths_is_the_softmax_written_out(lengths: tuple[int, ...], is_causal: bool, window: int) -> None:
    attention, config = make(is_causal=is_causal, window=window, num_kv_heads=2)
    check(attention, config, lengths)


def test_a_text_of_many_windows_needs_memory_for_its_neighbours_alone() -> None:
    """A mask of all pairs would be one byte for each of 4,096 x 4,096; the scores eight in each head."""
    assert largest_tensor(make(is_causal=False, window=8)[0], 4096) < 4096 * 4096 / 4


def make(**changes: Any) -> tuple[Attention, ModelConfig]:
    sizes = {"vocab_size": 5, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "feed_forward_size": 8, "context_length": 99}
    config = ModelConfig(**{"family": "gpt2", **sizes, "global_every": 2, **changes})
    # Layer 1 is a local one where there is a window.
    attention = Attention(config, 1).double().eval()
    chance = torch.Generator().manual_seed(0)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.5, generator=chance)
    return attention, config


def check(attention: Attention, config: ModelConfig, lengths: tuple[int, ...]) -> None:
    x_ND = torch.randn(sum(lengths), 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    texts = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths)
    turn = rotation(texts.positions_N, 4, 10.0, torch.float64) if config.positions == "rotary" else None
    with torch.inference_mode():
        found_ND = attention(x_ND, Sight(texts, None, is_causal=config.is_causal, bias=None), turn, None)
        parts = [written_out(attention, config, x_TD) for x_TD in x_ND.split(list(lengths))]
    assert torch.allclose(found_ND, torch.cat(parts), atol=1e-9)


def written_out(attention: Attention, config: ModelConfig, x_TD: Tensor) -> Tensor:
    """One text, one head, one query at a time."""
    H, G, K, T = 4, config.num_kv_heads, 4, len(x_TD)
    qkv = attention.qkv(x_TD)
    q_THK = qkv[:, : H * K].reshape(T, H, K)
    k_TGK = qkv[:, H * K : (H + G) * K].reshape(T, G, K)
    v_TGK = qkv[:, (H + G) * K :].reshape(T, G, K)
    if config.has_qk_norm:
        q_THK = q_THK / (q_THK.square().mean(-1, keepdim=True) + config.norm_eps).sqrt() * attention.query_norm.weight
        k_TGK = k_TGK / (k_TGK.square().mean(-1, keepdim=True) + config.norm_eps).sqrt() * attention.key_norm.weight
    if config.positions == "rotary":
        turn = rotation(torch.arange(T), K, 10.0, torch.float64)
        q_THK, k_TGK = rotate(q_THK, *turn), rotate(k_TGK, *turn)
    y_THK = torch.zeros(T, H, K, dtype=torch.float64)
    for i, h in product(range(T), range(H)):
        g = h // (H // G)
        seen = [j for j in range(T) if (j <= i or not config.is_causal) and (not config.window or abs(i - j) < config.window)]
        weights = torch.softmax(torch.stack([q_THK[i, h] @ k_TGK[j, g] / K**0.5 for j in seen]), 0)
        y_THK[i, h] = weights @ v_TGK[seen, g]
    return y_THK.flatten(1) @ attention.output.weight.T + (attention.output.bias if attention.output.bias is not None else 0)


def largest_tensor(attention: Attention, num_tokens: int) -> int:
    """Bytes of the largest tensor that a pass makes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else (out,):
                if isinstance(each, Tensor):
                    self.largest = max(self.largest, each.untyped_storage().nbytes())
            return out

    x_ND = torch.zeros(num_tokens, 16, dtype=torch.float64)
    with torch.no_grad(), Watch() as watch:
        texts = Packed(torch.zeros(num_tokens, dtype=torch.int64), (num_tokens,))
        attention(x_ND, Sight(texts, None, is_causal=False, bias=None), None, None)
    return watch.largest
