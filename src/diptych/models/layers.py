"""The small parts: norms, activations, the feed-forward net and the embedding of tokens."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.kernels.gelu import gelu_tanh
from diptych.kernels.linear import Linear
from diptych.kernels.rms_norm import RMSNorm
from diptych.models.config import ModelConfig
from diptych.models.positions import Sinusoids
from diptych.packed import Packed

# Shapes: N tokens, D hidden, F feed-forward.

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
}


def norm(config: ModelConfig, size: int) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019) over the last `size` values."""
    if config.norm == "rms":
        return RMSNorm(size, eps=config.norm_eps)
    return nn.LayerNorm(size, eps=config.norm_eps, bias=config.has_norm_bias)


class Joined(Linear):
    """Several linear layers over the same input as one product.

    Attributes:
        parts: how many outputs each has; an optimizer that looks at whole matrices must know them apart.
    """

    def __init__(self, inputs: int, parts: tuple[int, ...], *, bias: bool) -> None:
        super().__init__(inputs, sum(parts), bias=bias)
        self.parts = parts


class FeedForward(nn.Module):
    """down(activation(up(x))), or with a gate down(activation(gate(x)) * up(x)) (Shazeer 2020); gate and up are one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        parts = (config.feed_forward_size,) * (2 if config.is_gated else 1)
        self.is_gated = config.is_gated
        self.activation = ACTIVATIONS[config.activation]
        self.up = Joined(config.hidden_size, parts, bias=config.has_feed_forward_bias)
        self.down = Linear(config.feed_forward_size, config.hidden_size, bias=config.has_feed_forward_bias)

    def forward(self, x_ND: Tensor) -> Tensor:
        x = self.up(x_ND)
        if self.is_gated:
            gate_NF, up_NF = x.chunk(2, dim=-1)
            return self.down(self.activation(gate_NF) * up_NF)
        return self.down(self.activation(x))


class Embedding(nn.Module):
    """Tokens, and where the family has them positions and token types, added and normed.

    Args:
        shared: the tokens of the encoder that this decoder reads too.
    """

    def __init__(self, config: ModelConfig, shared: nn.Embedding | None = None) -> None:
        super().__init__()
        if shared is None:
            self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        # In a list, so that the matrix stays its first owner's: counted, saved and optimized once.
        self._shared: list[nn.Module] = [shared] if shared is not None else []
        self.scale = config.embedding_scale
        self.offset = config.position_offset
        rows = config.context_length + config.position_offset
        kinds = {"learned": nn.Embedding, "sinusoidal": Sinusoids}
        self.positions = kinds[config.positions](rows, config.hidden_size) if config.positions in kinds else None
        self.types = nn.Embedding(config.num_token_types, config.hidden_size) if config.num_token_types else None
        self.norm = norm(config, config.hidden_size) if config.has_embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.looks_up_types = False
        """Whether each token looks its type up where all have the same: for who must know what each of them did to it."""

    def share(self, before: nn.Module, after: nn.Module) -> None:
        """Read another one's vectors of tokens from now on, where `before` was read."""
        self._shared = [after if each is before else each for each in self._shared]

    def forward(self, texts: Packed, positions_N: Tensor) -> Tensor:
        x_ND = (self._shared[0] if self._shared else self.tokens)(texts.ids_N)
        if self.scale != 1.0:
            x_ND = x_ND * self.scale
        if self.positions is not None:
            x_ND = x_ND + self.positions(positions_N + self.offset if self.offset else positions_N)
        if self.types is not None:
            types_N = texts.types_N if self.types.num_embeddings > 1 else None
            if types_N is None and self.looks_up_types:
                types_N = torch.zeros_like(texts.ids_N)
            x_ND = x_ND + (self.types.weight[0] if types_N is None else self.types(types_N))
        return self.dropout(self.norm(x_ND))
