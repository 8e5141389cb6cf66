"""Attention, once for every model: bidirectional or causal, whole or in a window, with grouped heads, with or without a cache,
within a text or across from a decoder's text to its source.

A text of a flat row sees itself alone. BERT is the plain case; GPT adds causality, ModernBERT and GPT-3 a window, Llama
grouped heads and rotary positions, Qwen3 norms over queries and keys, T5 a bias by distance: each is a line here, none a
class of its own. What a token may see is `Sight`'s to say.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.kernels.dense_attention import attend
from diptych.kernels.linear import Linear
from diptych.kernels.rotary import rotate
from diptych.models.cache import Cache
from diptych.models.config import ModelConfig
from diptych.models.layers import Joined, norm
from diptych.models.sight import Sight
from diptych.packed import Block, Packed

# Shapes: N tokens, D hidden, H query heads, G key-value heads, J both together, K head size; S texts of T tokens in a block; W window;
# M tokens of the sources.


class Attention(nn.Module):
    """Multi-head attention over the texts of a flat row; with `is_cross` over the texts that they are written from."""

    def __init__(self, config: ModelConfig, layer: int, *, is_cross: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.num_kv_heads, self.head_size = config.num_heads, config.num_kv_heads, config.head_size
        self.window = config.window if config.is_local(layer) and not is_cross else 0
        self.scale = config.attention_scale or config.head_size**-0.5
        self.dropout = config.attention_dropout
        has_bias = config.has_attention_bias if config.has_qkv_bias is None else config.has_qkv_bias
        width, kv_width = config.num_heads * config.head_size, config.num_kv_heads * config.head_size
        if is_cross:
            self.query = Linear(config.hidden_size, width, bias=has_bias)
            self.key_value = Joined(config.hidden_size, (kv_width, kv_width), bias=has_bias)
        else:
            self.qkv = Joined(config.hidden_size, (width, kv_width, kv_width), bias=has_bias)
        self.output = Linear(width, config.hidden_size, bias=config.has_attention_bias)
        self.query_norm = norm(config, config.head_size) if config.has_qk_norm else None
        self.key_norm = norm(config, config.head_size) if config.has_qk_norm else None

    def forward(self, x_ND: Tensor, sight: Sight, rotation: tuple[Tensor, Tensor] | None, cache: Cache | None) -> Tensor:
        """Each token's view of its own text."""
        q_NHK, k_NGK, v_NGK = self.project(x_ND, rotation)
        texts, held = sight.texts, None
        if cache is not None:
            held = cache.write(self.layer, texts, k_NGK, v_NGK)
        parts = []
        for number, block in enumerate(texts.blocks):
            q_SHTK = _gather(q_NHK, block)
            if held is not None and sight.before is not None:
                k_SGTK, v_SGTK = (_rows(x, block)[:, :, : sight.num_keys(number)] for x in held)
            else:
                k_SGTK, v_SGTK = _gather(k_NGK, block), _gather(v_NGK, block)
                # A stretch looks at two or three windows: shorter texts would be cut up for nothing.
                if self.window and sight.is_plain and block.width > self.window * (2 if sight.is_causal else 3):
                    parts.append(self._attend_locally(q_SHTK, k_SGTK, v_SGTK, block.is_real_ST, sight.is_causal))
                    continue
            mask, is_causal = sight.mask(number, self.window)
            parts.append(self._sdpa(q_SHTK, k_SGTK, v_SGTK, mask, is_causal=is_causal))
        return self._join(parts, texts)

    def project(self, x_ND: Tensor, rotation: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """The queries, keys and values of each token: [N, H, K], [N, G, K], [N, G, K]."""
        H, G, K = self.num_heads, self.num_kv_heads, self.head_size
        all_NJK = self.qkv(x_ND).view(-1, H + 2 * G, K)
        if self.query_norm is None and rotation is None:
            return all_NJK.split((H, G, G), dim=1)
        qk_NJK, v_NGK = all_NJK.split((H + G, G), dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            q_NHK, k_NGK = qk_NJK.split((H, G), dim=1)
            qk_NJK = torch.cat((self.query_norm(q_NHK), self.key_norm(k_NGK)), dim=1)
        if rotation is not None:
            qk_NJK = rotate(qk_NJK, *rotation)
        q_NHK, k_NGK = qk_NJK.split((H, G), dim=1)
        return q_NHK, k_NGK, v_NGK

    def across(self, x_ND: Tensor, sight: Sight, memory_MD: Tensor | None, cache: Cache | None) -> Tensor:
        """Each token's view of its text's source.

        Args:
            memory_MD: what the encoder made of the sources, or None where the cache has their keys and values.
        """
        H, G, K = self.num_heads, self.num_kv_heads, self.head_size
        texts = sight.texts
        q_NHK = self.query(x_ND).view(-1, H, K)
        k_MGK = v_MGK = None
        if memory_MD is not None:
            assert texts.source is not None
            k_MGK, v_MGK = self.key_value(memory_MD).view(-1, 2 * G, K).split((G, G), dim=1)
            if cache is not None:
                cache.write_source(self.layer, texts.source, k_MGK, v_MGK)
        parts = []
        for number, block in enumerate(texts.blocks):
            if k_MGK is not None and v_MGK is not None:
                source = texts.source_blocks[number]
                k_SGTK, v_SGTK, is_real_ST = _gather(k_MGK, source), _gather(v_MGK, source), source.is_real_ST
            else:
                assert cache is not None
                k_SGTK, v_SGTK, is_real_ST = (_rows(x, block) for x in cache.read_source(self.layer))
            mask = None if is_real_ST is None else is_real_ST[:, None, None]
            parts.append(self._sdpa(_gather(q_NHK, block), k_SGTK, v_SGTK, mask, is_causal=False))
        return self._join(parts, texts)

    def _attend_locally(self, q_SHTK: Tensor, k_SGTK: Tensor, v_SGTK: Tensor, is_real_ST: Tensor | None, is_causal: bool) -> Tensor:
        """Each stretch of W tokens looks at itself and its neighbours: memory grows with T, not with its square."""
        W = self.window
        S, H, T, K = q_SHTK.shape
        num = -(-T // W)
        ahead = 0 if is_causal else 1
        span = (2 + ahead) * W
        q_RHWK = F.pad(q_SHTK, (0, 0, 0, num * W - T)).view(S, H, num, W, K).transpose(1, 2).reshape(S * num, H, W, K)
        k, v = (
            F.pad(x, (0, 0, W, (num + ahead) * W - T)).unfold(2, span, W).permute(0, 2, 1, 4, 3).reshape(S * num, -1, span, K)
            for x in (k_SGTK, v_SGTK)
        )
        at_q = torch.arange(num * W, device=q_SHTK.device).view(1, num, W, 1)
        at_k = torch.arange(num, device=q_SHTK.device).view(1, num, 1, 1) * W + torch.arange(-W, span - W, device=q_SHTK.device)
        distance = at_q - at_k
        sees = ((distance >= 0) if is_causal else (distance > -W)) & (distance < W) & (at_k >= 0) & (at_k < T)
        if is_real_ST is not None:
            # Causality hides empty places, but the rows of an empty query must still see something.
            sees = sees & is_real_ST[:, at_k.clamp(0, T - 1)[0]] | (distance == 0)
        else:
            sees = (sees | (distance == 0)).expand(S, num, W, span)
        y_RHWK = self._sdpa(q_RHWK, k, v, sees.reshape(S * num, 1, W, span), is_causal=False)
        return y_RHWK.view(S, num, H, W, K).transpose(1, 2).reshape(S, H, num * W, K)[:, :, :T]

    def _sdpa(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool) -> Tensor:
        group = self.num_heads // self.num_kv_heads
        if group > 1:
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        return attend(q, k, v, mask, dropout=dropout, is_causal=is_causal, scale=self.scale)

    def _join(self, parts: list[Tensor], texts: Packed) -> Tensor:
        """The blocks' [S, H, T, K] back in the flat row, heads joined: [N, D]."""
        flat = [y_SHTK.transpose(1, 2).reshape(-1, self.num_heads * self.head_size) for y_SHTK in parts]
        back_N = texts.back_N
        return self.output(flat[0] if back_N is None else torch.cat(flat).index_select(0, back_N))


def _gather(x_NHK: Tensor, block: Block) -> Tensor:
    """[N, H, K] to the block's [S, H, T, K]."""
    x_STHK = x_NHK if block.rows_ST is None else x_NHK.index_select(0, block.rows_ST.flatten())
    return x_STHK.view(block.size, block.width, *x_NHK.shape[1:]).transpose(1, 2)


def _rows(x_B: Tensor, block: Block) -> Tensor:
    """The entries of a block's texts out of those of all texts."""
    first = block.texts_S[0]
    if block.texts_S == tuple(range(first, first + block.size)):
        return x_B[first : first + block.size]  # a view: what is kept of texts is large
    return x_B[list(block.texts_S)]
