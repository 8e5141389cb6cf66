"""What is asked of a body: a token, the next sentence, a class, a tag, a span, a vector."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.models.config import ModelConfig
from diptych.models.layers import ACTIVATIONS, norm
from diptych.models.pooling import SentenceHead, mean, one_a_text
from diptych.packed import Packed

if TYPE_CHECKING:
    from diptych.models.transformer import Network

# Shapes: M places that are asked about, N tokens, B texts, D hidden, V vocabulary, C classes.


HEAD_NAMES = ("lm", "pooler", "nsp", "classes", "tags", "span", "sentence")


class Transform(nn.Module):
    """dense, activation, norm: what BERT and ModernBERT put before their last matrix."""

    def __init__(self, config: ModelConfig, *, has_bias: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=has_bias)
        self.norm = norm(config, config.hidden_size)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x_MD: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x_MD)))


class LanguageHead(nn.Module):
    """A distribution over the vocabulary, by the embedding's own matrix where the two are tied."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        self.transform = Transform(config, has_bias=config.has_feed_forward_bias) if config.lm_transform else nn.Identity()
        self.scale = config.lm_scale
        self.bias_V = nn.Parameter(torch.zeros(config.vocab_size)) if config.has_lm_bias else None
        if config.is_tied:
            # In a list, so that the matrix stays the embedding's own: counted, saved and optimized once.
            self._tied: list[nn.Module] = [embedding]
        else:
            self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def weight_VD(self) -> Tensor:
        return self._matrix.weight  # type: ignore[return-value]

    def tie(self, before: nn.Module, after: nn.Module) -> None:
        """Multiply by another embedding's matrix from now on, where this was the one."""
        if hasattr(self, "_tied") and self._tied[0] is before:
            self._tied = [after]

    @property
    def is_int8(self) -> bool:
        """Whether the vocabulary's matrix is in eight bits."""
        return hasattr(self._matrix, "product")

    @property
    def _matrix(self) -> nn.Module:
        return self._tied[0] if hasattr(self, "_tied") else self.decoder

    def features(self, hidden_MD: Tensor) -> Tensor:
        """What meets the vocabulary's matrix; kept apart so that a loss can be taken without keeping the logits."""
        features_MD = self.transform(hidden_MD)
        return features_MD if self.scale == 1.0 else features_MD * self.scale

    def forward(self, hidden_MD: Tensor) -> Tensor:
        if self.is_int8:
            return self._matrix.product(self.features(hidden_MD), self.bias_V)  # type: ignore[operator]
        return F.linear(self.features(hidden_MD), self.weight_VD, self.bias_V)


class Pooler(nn.Module):
    """A view of a whole text: tanh (BERT) or relu (DistilBERT) of a dense layer over its first token, over the last one of a
    decoder's that has read all (BART)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.is_last = config.is_encoder_decoder
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = torch.tanh if config.pooler_activation == "tanh" else torch.relu

    def forward(self, hidden_ND: Tensor, texts: Packed) -> Tensor:
        return self.activation(self.dense(one_a_text(hidden_ND, texts, is_last=self.is_last)))


class TextHead(nn.Module):
    """A choice among classes for each text, in the way of its family.

    BERT: pooler, dropout, linear. GPT-2 and Qwen3: linear over the last token. ModernBERT: dense, norm, dropout and linear,
    over the first token or the mean of an encoder's, over the last of a decoder's. A text without tokens is judged as a vector of zeros.
    """

    def __init__(self, config: ModelConfig, num_classes: int, pooler: Pooler | None) -> None:
        super().__init__()
        self.is_causal, self.is_mean = config.is_causal, config.pooling == "mean"
        self.pooler = pooler
        self.transform = Transform(config, has_bias=False) if config.classifier == "transform" else nn.Identity()
        self.dropout = nn.Identity() if config.classifier == "last" else nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_size, num_classes, bias=not config.is_causal)

    def forward(self, hidden_ND: Tensor, texts: Packed) -> Tensor:
        if self.pooler is not None:
            return self.output(self.dropout(self.pooler(hidden_ND, texts)))
        x_BD = mean(hidden_ND, texts) if self.is_mean else one_a_text(hidden_ND, texts, is_last=self.is_causal)
        return self.output(self.dropout(self.transform(x_BD)))


class TokenHead(nn.Module):
    """A choice among classes for each place: tags, or the beginning and the end of an answer."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.transform = Transform(config, has_bias=False) if config.classifier == "transform" and not config.is_causal else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_size, num_classes)

    def forward(self, hidden_MD: Tensor) -> Tensor:
        return self.output(self.dropout(self.transform(hidden_MD)))


def build_head(name: str, net: "Network") -> nn.Module:
    """The head `name` for `net`; heads that judge a text share the one pooler, as in BERT."""
    config = net.config
    if name == "lm":
        return LanguageHead(config, net.body.embedding.tokens)
    if name == "pooler":
        return Pooler(config)
    if name == "sentence":
        return SentenceHead()
    if name in ("nsp", "classes"):
        pooler = net.heads["pooler"] if config.classifier == "pooler" else None
        assert pooler is None or isinstance(pooler, Pooler)
        return TextHead(config, 2 if name == "nsp" else len(config.labels), pooler)
    return TokenHead(config, 2 if name == "span" else len(config.labels))
