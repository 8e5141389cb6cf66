"""The shape of a network: everything that decides its arithmetic, in one frozen object that every family fills in."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from diptych.errors import ModelError
from diptych.messages import _

OF_ATTENTION = ("num_heads", "num_kv_heads", "head_size", "feed_forward_size", "window")
"""What a recurrent net does not have."""


@dataclass(frozen=True)
class ModelConfig:
    """One Transformer, or one recurrent net. A family (`families/`) is a choice of these fields and a map of names."""

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    context_length: int
    num_heads: int = 0
    feed_forward_size: int = 0
    num_kv_heads: int = 0
    """Heads of keys and values, each shared by a group of query heads; 0 for as many as query heads."""
    head_size: int = 0
    """0 for hidden_size / num_heads."""
    cell: Literal["", "rnn", "gru", "lstm"] = ""
    """What a recurrent net is made of; empty for a Transformer."""
    is_causal: bool = False
    norm: Literal["layer", "rms"] = "layer"
    norm_place: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    has_norm_bias: bool = True
    has_embedding_norm: bool = False
    skips_first_norm: bool = False
    """ModernBERT: the embedding's norm serves the first attention too."""
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = "gelu"
    is_gated: bool = False
    positions: Literal["learned", "rotary", "none"] = "learned"
    rope_theta: float = 10_000.0
    local_rope_theta: float = 10_000.0
    window: int = 0
    """A token of a local layer sees those less than this far away; 0 for no local layers."""
    global_every: int = 1
    """Every n-th layer, the first included, sees everything; the others are local where there is a window."""
    num_token_types: int = 0
    has_qk_norm: bool = False
    has_attention_bias: bool = True
    has_feed_forward_bias: bool = True
    is_tied: bool = True
    """The language head shares the embedding's matrix."""
    lm_transform: bool = False
    """The language head first passes through dense, activation and norm, as in BERT."""
    has_lm_bias: bool = False
    classifier: Literal["pooler", "last", "transform"] = "pooler"
    """How a text is judged: BERT's pooler over [CLS], the last token, or ModernBERT's dense and norm."""
    pooling: Literal["first", "mean"] = "first"
    """What ModernBERT's encoder judges a text by: its first token, or the mean of all."""
    dropout: float = 0.0
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    labels: tuple[str, ...] = ()
    """The names of the classes, where there is a head for them."""
    token_ids: tuple[tuple[str, int], ...] = ()
    """Special tokens by role ("pad", "bos", "eos", "cls", "sep"), for those who read the folder."""

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "hidden_size", "num_layers", "context_length")
        if self.cell:
            self._check_recurrent()
            return
        if not self.head_size:
            object.__setattr__(self, "head_size", self.hidden_size // max(1, self.num_heads))
        if not self.num_kv_heads:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        self._check_sizes("num_heads", "feed_forward_size", "head_size")
        if self.num_heads % self.num_kv_heads:
            rule = _("a divisor of num_heads ({number})").format(number=self.num_heads)
            raise ModelError("E301", field="num_kv_heads", value=self.num_kv_heads, rule=rule)
        if self.family not in ("qwen3",) and self.hidden_size != self.num_heads * self.head_size:
            rule = _("a multiple of num_heads ({number})").format(number=self.num_heads)
            raise ModelError("E301", field="hidden_size", value=self.hidden_size, rule=rule)
        if self.positions == "rotary" and self.head_size % 2:
            raise ModelError("E301", field="head_size", value=self.head_size, rule=_("even, for rotary positions"))

    def _check_sizes(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ModelError("E301", field=name, value=value, rule=_("at least 1"))

    def _check_recurrent(self) -> None:
        for name in OF_ATTENTION:
            if getattr(self, name):
                raise ModelError("E342", family=self.family, field=name)
        if not self.is_causal and self.hidden_size % 2:
            raise ModelError("E301", field="hidden_size", value=self.hidden_size, rule=_("even, for two directions"))

    def is_local(self, layer: int) -> bool:
        """Whether this layer sees a window alone."""
        return bool(self.window) and layer % self.global_every != 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def known_fields() -> list[str]:
    """The names of the fields, for messages and for `sizes` in a recipe."""
    return [field.name for field in fields(ModelConfig)]
