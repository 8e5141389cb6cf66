"""The one stack that is BERT, GPT and what came after: embedding, layers, norm; and the network that adds heads to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diptych.errors import ModelError
from diptych.kernels.recompute import run
from diptych.messages import _
from diptych.models.attention import Attention
from diptych.models.cache import Cache, Memory, State, check_room
from diptych.models.config import ModelConfig
from diptych.models.heads import build_head
from diptych.models.layers import Embedding, FeedForward, norm
from diptych.models.positions import position_bias, rotation, sinusoids
from diptych.models.recurrent import Recurrent
from diptych.models.sight import Sight
from diptych.packed import Packed
from diptych.streams import seed_for

# Shapes: N tokens of all texts in a row, B texts, T tokens of the longest, D hidden, V vocabulary, C classes.


class Layer(nn.Module):
    """Attention, then feed-forward, each added to what came in; normed before (GPT-2) or after the sum (BERT).

    A decoder's layer looks across at the source between the two.
    """

    def __init__(self, config: ModelConfig, layer: int, *, has_cross: bool = False) -> None:
        super().__init__()
        self.is_pre_norm = config.norm_place == "pre"
        skips = config.skips_first_norm and layer == 0
        self.attention_norm = nn.Identity() if skips else norm(config, config.hidden_size)
        self.attention = Attention(config, layer)
        self.cross_norm = norm(config, config.hidden_size) if has_cross else None
        self.cross = Attention(config, layer, is_cross=True) if has_cross else None
        self.feed_forward_norm = norm(config, config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x_ND: Tensor, sight: Sight, angles: tuple[Tensor, Tensor] | None, cache: Cache | None, memory_MD: Tensor | None
    ) -> Tensor:
        x_ND = self._add(x_ND, self.attention_norm, lambda x: self.attention(x, sight, angles, cache))
        if self.cross is not None and self.cross_norm is not None:
            across = self.cross.across
            x_ND = self._add(x_ND, self.cross_norm, lambda x: across(x, sight, memory_MD, cache))
        return self._add(x_ND, self.feed_forward_norm, self.feed_forward)

    def _add(self, x_ND: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.is_pre_norm:
            return x_ND + self.dropout(part(norm(x_ND)))
        return norm(x_ND + self.dropout(part(x_ND)))


class Transformer(nn.Module):
    """A stack: tokens in, one vector a token out.

    Args:
        encoder: the stack whose vectors this one looks across at, and whose tokens it shares.
    """

    is_recomputed = False
    """Whether the backward pass makes the insides of each layer again."""

    def __init__(self, config: ModelConfig, encoder: "Transformer | None" = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config, encoder.embedding.tokens if encoder is not None else None)
        self.bias = position_bias(config)
        self.layers = nn.ModuleList(Layer(config, number, has_cross=encoder is not None) for number in range(config.num_layers))
        self.norm = norm(config, config.hidden_size) if config.norm_place == "pre" else nn.Identity()
        # T5 drops out of its last vectors too; elsewhere it is the identity.
        self.dropout = nn.Dropout(config.dropout) if config.positions == "relative" else nn.Identity()

    def forward(self, texts: Packed, cache: Cache | None = None, memory_MD: Tensor | None = None) -> Tensor:
        config = self.config
        positions_N = texts.positions_N
        if cache is not None and any(cache.lengths):
            positions_N = positions_N + torch.tensor(cache.lengths, device=positions_N.device)[texts.text_N]
        check_room(texts.lengths, config.context_length, cache)
        x_ND = self.embedding(texts, positions_N)
        is_causal = config.is_causal if texts.is_causal is None else texts.is_causal
        sight = Sight(texts, cache, is_causal=is_causal, bias=self.bias)
        if torch.is_autocast_enabled(x_ND.device.type):
            # The stream in the precision of the products: a float32 one would be cast before and after each of them.
            x_ND = x_ND.to(torch.get_autocast_dtype(x_ND.device.type))
        if self.is_recomputed and self.bias is not None:
            # It learns and all layers share it, so it is no layer's inside.
            for number in range(len(texts.blocks)):
                sight.mask(number, 0)
        angles: dict[float, tuple[Tensor, Tensor]] = {}
        for number, layer in enumerate(self.layers):
            turn = None
            if config.positions == "rotary":
                theta = (config.is_local(number) and config.local_rope_theta) or config.rope_theta
                if theta not in angles:
                    angles[theta] = rotation(positions_N, config.head_size, theta, x_ND.dtype, config.rope_scaling)
                turn = angles[theta]
            x_ND = run(layer, x_ND, sight, turn, cache, memory_MD, is_recomputed=self.is_recomputed)
        if cache is not None:
            cache.advance(texts.lengths)
        return self.dropout(self.norm(x_ND))


class EncoderDecoder(nn.Module):
    """A stack that reads the sources of the texts and one that writes the texts, sharing the matrix of their tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = Transformer(replace(config, is_causal=False))
        self.decoder = Transformer(replace(config, is_causal=True, num_layers=config.num_decoder_layers), self.encoder)
        self.start_id = config.decoder_start_id

    @property
    def embedding(self) -> Embedding:
        return self.encoder.embedding

    def forward(self, texts: Packed, cache: Cache | None = None) -> Tensor:
        """The decoder's vectors. Texts without a source are read by both, the decoder one token behind, as BART judges a text."""
        if cache is not None and any(cache.lengths):
            return self.decoder(texts, cache)
        if texts.source is None:
            behind_N = texts.ids_N.roll(1)
            behind_N[texts.starts_B] = self.start_id
            texts = replace(texts, ids_N=behind_N, source=texts)
        assert texts.source is not None
        return self.decoder(texts, cache, self.encoder(texts.source))


class Network(nn.Module):
    """A body and the heads that ask something of it.

    Attributes:
        heads: by name; "lm" answers with tokens, "nsp" and "classes" judge a text, "tags" and "span" mark places in it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.body: Transformer | EncoderDecoder | Recurrent = _body(config)
        self.heads = nn.ModuleDict()

    def hidden(self, texts: Packed, cache: Memory | None = None) -> Tensor:
        """The last vectors, one a token: [N, D]."""
        return self.body(texts, cache)

    def logits(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
    ) -> Tensor:
        """What the network's main head answers.

        Args:
            input_ids: int64 [B, T]. attention_mask: [B, T], true at tokens, padding on either side.
            decoder_input_ids: int64 [B, U], what an encoder-decoder has written so far, from its start token on.

        Returns:
            [B, classes] where there is a classifier, [B, T, V] of the language head or [B, T, C] of one that marks places
            otherwise, zero at padding; [B, U, V] of an encoder-decoder.
        """
        texts = Packed.from_padded(input_ids, attention_mask, token_type_ids)
        if decoder_input_ids is not None:
            texts = replace(Packed.from_padded(decoder_input_ids), source=texts)
        hidden_ND = self.hidden(texts)
        if "classes" in self.heads:
            return self.heads["classes"](hidden_ND, texts)
        for name in ("lm", "tags", "span"):
            if name in self.heads:
                return texts.pad(self.heads[name](hidden_ND))
        raise ModelError("E303", heads=", ".join(self.heads) or _("none"))

    def new_cache(self, num_texts: int, capacity: int, *, is_sparse: bool = False) -> Memory:
        """Room for what is kept of `num_texts` texts of up to `capacity` tokens; `is_sparse` where most of it may never be used."""
        weight = next(self.body.parameters())
        if self.config.cell:
            return State(self.config, num_texts, capacity, weight)
        return Cache(self.config, num_texts, capacity, weight, is_sparse=is_sparse)

    def ensure_head(self, name: str, *, labels: tuple[str, ...] = (), seed: int = 0) -> None:
        """Add the head `name` where the network lacks it; a classifier with other labels is replaced."""
        if name in self.heads and (not labels or tuple(labels) == self.config.labels):
            return
        if labels:
            self.set_config(labels=tuple(labels))
        if name in ("nsp", "classes") and self.config.classifier == "pooler":
            self.ensure_head("pooler", seed=seed)
        weight = self.body.embedding.tokens.weight
        with torch.random.fork_rng(devices=[]):
            head = build_head(name, self)
        # A seed of its own: with the body's, a matrix of a head would begin as the embedding does.
        initialize(head, self.config, seed_for(seed, name), keep=set(self.parameters()))
        self.heads[name] = head.to(weight.device, weight.dtype)

    def keep_heads(self, names: tuple[str, ...]) -> None:
        """Drop every head that is neither named nor needed by one that is."""
        needed = {*names, "pooler"} if {"nsp", "classes"} & set(names) else set(names)
        for name in [name for name in self.heads if name not in needed]:
            del self.heads[name]

    def set_recompute(self, is_on: bool) -> None:
        """Whether training keeps the insides of the layers or makes them again: memory against time, and the same bits."""
        for module in self.modules():
            if isinstance(module, Transformer | Recurrent):
                module.is_recomputed = is_on

    def set_config(self, **changes: Any) -> None:
        """Change fields that do not touch the arithmetic of the body: labels, special tokens, dropout."""
        self.config = replace(self.config, **changes)
        if isinstance(self.body, EncoderDecoder):
            self.body.start_id = self.config.decoder_start_id
        for module in self.modules():
            if isinstance(module, nn.Dropout) and "dropout" in changes:
                module.p = self.config.dropout
            if isinstance(module, Attention) and "attention_dropout" in changes:
                module.dropout = self.config.attention_dropout


def _body(config: ModelConfig) -> "Transformer | EncoderDecoder | Recurrent":
    if config.cell:
        return Recurrent(config)
    return EncoderDecoder(config) if config.is_encoder_decoder else Transformer(config)


@contextmanager
def without_values() -> Iterator[None]:
    """Networks that are made in here have shapes and no values, until they are given some.

    Nothing is drawn for them either: on the meta device torch would import its compiler for that, which takes a second.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        is_draw = getattr(function, "__module__", None) == "torch.nn.init" or function is Tensor.normal_
        return (args[0] if args else kwargs["tensor"]) if is_draw else function(*args, **kwargs)


def initialize(module: nn.Module, config: ModelConfig, seed: int, keep: set[Tensor] | frozenset[Tensor] = frozenset()) -> None:
    """Fresh weights: N(0, initializer_range) for matrices, 1 and 0 for norms and biases.

    The projections that add to the residual stream are drawn 1/sqrt(2 layers) smaller in a pre-norm stack (Radford et al.
    2019), so that the stream does not grow with depth. Learned positions begin as the sinusoids of Vaswani et al. (2017):
    neighbours are alike from the first step, which a small model on little text has no time to find out for itself.
    Parameters in `keep` are left as they are.
    """
    draw = torch.Generator().manual_seed(seed)
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding) and part.weight not in keep:
            scale = config.initializer_range
            if config.norm_place == "pre" and name.endswith(("attention.output", "cross.output", "feed_forward.down")):
                scale /= (2 * config.num_layers) ** 0.5
            with torch.no_grad():
                part.weight.normal_(0.0, scale, generator=draw)
                if config.attention_scale and name.endswith(("qkv", "query")):
                    # What this family does not divide scores by lies in its queries from the beginning.
                    part.weight[: config.num_heads * config.head_size] *= config.head_size**-0.5 / config.attention_scale
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Embedding) and isinstance(part.positions, nn.Embedding) and part.positions.weight not in keep:
            weight_TD = part.positions.weight
            with torch.no_grad():
                # Their mean square is 1/2; scaled so, they weigh as much as the tokens.
                weight_TD.copy_(sinusoids(*weight_TD.shape) * (2**0.5 * config.initializer_range))
