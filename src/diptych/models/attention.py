"""Attention, once for every family: softmax(Q Kᵀ / √d_k) V by head, joined by W^O (Vaswani et al. 2017, eq. 1).

Causal or bidirectional, global or within a window, with fewer key-value heads than query heads, with normed queries and
keys, with rotary positions: all of it is a line here, none of it a class of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.cache import Cache
from diptych.models.config import ModelConfig
from diptych.models.layers import Joined, norm
from diptych.models.packed import Block, Packed
from diptych.models.positions import rotate

# Shapes: N tokens, D hidden, H query heads, G key-value heads, K head size; S texts of T tokens in a block; W window.


class Attention(nn.Module):
    """Multi-head attention over the texts of a flat row."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.num_kv_heads, self.head_size = config.num_heads, config.num_kv_heads, config.head_size
        self.is_causal = config.is_causal
        self.window = config.window if config.is_local(layer) else 0
        self.dropout = config.attention_dropout
        parts = tuple(heads * config.head_size for heads in (config.num_heads, config.num_kv_heads, config.num_kv_heads))
        self.qkv = Joined(config.hidden_size, parts, bias=config.has_attention_bias)
        self.output = nn.Linear(config.num_heads * config.head_size, config.hidden_size, bias=config.has_attention_bias)
        self.query_norm = norm(config, config.head_size) if config.has_qk_norm else None
        self.key_norm = norm(config, config.head_size) if config.has_qk_norm else None

    def forward(self, x_ND: Tensor, texts: Packed, rotation: tuple[Tensor, Tensor] | None, cache: Cache | None) -> Tensor:
        H, G, K = self.num_heads, self.num_kv_heads, self.head_size
        q_NHK, k_NGK, v_NGK = self.qkv(x_ND).view(-1, H + 2 * G, K).split((H, G, G), dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            q_NHK, k_NGK = self.query_norm(q_NHK), self.key_norm(k_NGK)
        if rotation is not None:
            q_NHK, k_NGK = rotate(q_NHK, *rotation), rotate(k_NGK, *rotation)
        if cache is None:
            y_NHK = self._within(q_NHK, k_NGK, v_NGK, texts)
        else:
            y_NHK = self._with_cache(q_NHK, k_NGK, v_NGK, texts, cache)
        return self.output(y_NHK.reshape(-1, H * K))

    def _within(self, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, texts: Packed) -> Tensor:
        """Attention among the tokens of each text, block by block."""
        parts = []
        for block in texts.blocks:
            q_SHTK, k_SGTK, v_SGTK = (_gather(x, block) for x in (q_NHK, k_NGK, v_NGK))
            y_SHTK = self._attend(q_SHTK, k_SGTK, v_SGTK, block.is_real_ST)
            parts.append(y_SHTK.transpose(1, 2).reshape(-1, self.num_heads, self.head_size))
        back_N = texts.back_N
        return parts[0] if back_N is None else torch.cat(parts).index_select(0, back_N)

    def _attend(self, q_SHTK: Tensor, k_SGTK: Tensor, v_SGTK: Tensor, is_real_ST: Tensor | None) -> Tensor:
        if self.window and q_SHTK.shape[2] > self.window:
            return self._attend_locally(q_SHTK, k_SGTK, v_SGTK, is_real_ST)
        # A causal token never sees the empty places behind its text, so only a bidirectional block needs a mask.
        mask = None if self.is_causal or is_real_ST is None else is_real_ST[:, None, None, :]
        return self._sdpa(q_SHTK, k_SGTK, v_SGTK, mask, is_causal=self.is_causal)

    def _attend_locally(self, q_SHTK: Tensor, k_SGTK: Tensor, v_SGTK: Tensor, is_real_ST: Tensor | None) -> Tensor:
        """Each stretch of W tokens looks at itself and its neighbours: memory grows with T, not with its square."""
        W = self.window
        S, H, T, K = q_SHTK.shape
        num = -(-T // W)
        ahead = 0 if self.is_causal else 1
        span = (2 + ahead) * W
        q_RHWK = F.pad(q_SHTK, (0, 0, 0, num * W - T)).view(S, H, num, W, K).transpose(1, 2).reshape(S * num, H, W, K)
        k, v = (
            F.pad(x, (0, 0, W, (num + ahead) * W - T)).unfold(2, span, W).permute(0, 2, 1, 4, 3).reshape(S * num, -1, span, K)
            for x in (k_SGTK, v_SGTK)
        )
        at_q = torch.arange(num * W, device=q_SHTK.device).view(1, num, W, 1)
        at_k = torch.arange(num, device=q_SHTK.device).view(1, num, 1, 1) * W + torch.arange(-W, span - W, device=q_SHTK.device)
        distance = at_q - at_k
        sees = ((distance >= 0) if self.is_causal else (distance > -W)) & (distance < W) & (at_k >= 0) & (at_k < T)
        if is_real_ST is not None:
            # Causality hides empty places, but the rows of an empty query must still see something.
            sees = sees & is_real_ST[:, at_k.clamp(0, T - 1)[0]] | (distance == 0)
        else:
            sees = (sees | (distance == 0)).expand(S, num, W, span)
        y_RHWK = self._sdpa(q_RHWK, k, v, sees.reshape(S * num, 1, W, span), is_causal=False)
        return y_RHWK.view(S, num, H, W, K).transpose(1, 2).reshape(S, H, num * W, K)[:, :, :T]

    def _with_cache(self, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, texts: Packed, cache: Cache) -> Tensor:
        """Attention of new tokens to all that their text holds so far."""
        before_B = torch.tensor(cache.lengths, device=q_NHK.device)
        places_N = texts.positions_N + before_B[texts.text_N]
        keys, values = cache.write(self.layer, texts.text_N, places_N, k_NGK, v_NGK)
        if not any(cache.lengths):
            return self._within(q_NHK, k_NGK, v_NGK, texts)
        parts = []
        for block in texts.blocks:
            chosen = list(block.texts_S)
            longest = max(cache.lengths[text] + texts.lengths[text] for text in chosen)
            is_all = len(chosen) == texts.num_texts and chosen == list(range(len(chosen)))
            k_SGTK, v_SGTK = ((x if is_all else x[chosen])[:, :, :longest] for x in (keys, values))
            at_q = before_B[chosen][:, None, None] + torch.arange(block.width, device=q_NHK.device)[None, :, None]
            distance = at_q - torch.arange(longest, device=q_NHK.device)
            sees = (distance >= 0) & (distance < self.window) if self.window else distance >= 0
            y_SHTK = self._sdpa(_gather(q_NHK, block), k_SGTK, v_SGTK, sees[:, None], is_causal=False)
            parts.append(y_SHTK.transpose(1, 2).reshape(-1, self.num_heads, self.head_size))
        back_N = texts.back_N
        return parts[0] if back_N is None else torch.cat(parts).index_select(0, back_N)

    def _sdpa(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool) -> Tensor:
        group = self.num_heads // self.num_kv_heads
        if group > 1:
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=is_causal)


def _gather(x_NHK: Tensor, block: Block) -> Tensor:
    """[N, H, K] to the block's [S, H, T, K]."""
    x_STHK = x_NHK if block.rows_ST is None else x_NHK.index_select(0, block.rows_ST.flatten())
    return x_STHK.view(block.size, block.width, *x_NHK.shape[1:]).transpose(1, 2)
