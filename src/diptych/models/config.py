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
    has_free_heads: bool = False
    """Whether the heads may together be wider or narrower than the hidden size."""
    cell: Literal["", "rnn", "gru", "lstm"] = ""
    """What a recurrent net is made of; empty for a Transformer."""
    is_causal: bool = False
    """Each token sees those before it alone. A batch may ask otherwise (`Packed.is_causal`)."""
    is_hybrid: bool = False
    """One set of weights for both panels, causal or bidirectional by request (GPT-BERT); tokens are predicted one place ahead in both."""
    num_decoder_layers: int = 0
    """Layers of a decoder beside the encoder of `num_layers`; 0 for a stack alone."""
    norm: Literal["layer", "rms"] = "layer"
    norm_place: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    has_norm_bias: bool = True
    has_embedding_norm: bool = False
    skips_first_norm: bool = False
    """ModernBERT: the embedding's norm serves the first attention too."""
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = "gelu"
    is_gated: bool = False
    positions: Literal["learned", "sinusoidal", "rotary", "alibi", "relative", "none"] = "learned"
    position_offset: int = 0
    """Rows of the position table that stand before position 0 (RoBERTa and BART have two)."""
    relative_buckets: int = 32
    relative_distance: int = 128
    """T5: so many kinds of distances, and the distance from which on all are one kind."""
    embedding_scale: float = 1.0
    rope_theta: float = 10_000.0
    local_rope_theta: float = 0.0
    """The theta of local layers; 0 for the same."""
    rope_scaling: tuple[tuple[str, float | str], ...] = ()
    """How rotary angles are stretched for longer contexts: what Hugging Face calls `rope_parameters`, without theta."""
    window: int = 0
    """A token of a local layer sees those less than this far away; 0 for no local layers."""
    global_every: int = 1
    """Every n-th layer, the first included, sees everything; the others are local where there is a window. 0: all are local."""
    num_token_types: int = 0
    has_qk_norm: bool = False
    has_attention_bias: bool = True
    has_qkv_bias: bool | None = None
    """Whether queries, keys and values have a bias of their own; None for the same as the attention's output."""
    attention_scale: float = 0.0
    """What scores are multiplied with; 0 for 1/sqrt(head_size)."""
    has_feed_forward_bias: bool = True
    is_tied: bool = True
    """The language head shares the embedding's matrix."""
    lm_transform: bool = False
    """The language head first passes through dense, activation and norm, as in BERT."""
    has_lm_bias: bool = False
    lm_scale: float = 1.0
    """What hidden states are multiplied with before they meet the vocabulary (T5)."""
    classifier: Literal["pooler", "last", "transform"] = "pooler"
    """How a text is judged: BERT's pooler over [CLS], the last token, or ModernBERT's dense and norm."""
    pooler_activation: Literal["tanh", "relu"] = "tanh"
    pooling: Literal["first", "mean"] = "first"
    """What ModernBERT's encoder judges a text by: its first token, or the mean of all."""
    dropout: float = 0.0
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    labels: tuple[str, ...] = ()
    """The names of the classes, where there is a head for them."""
    task: tuple[tuple[str, Any], ...] = ()
    """The task that a language head was fine-tuned for and what it needs to be asked again, where the head alone does not tell."""
    label_kind: Literal["single", "several", "graded"] = "single"
    """Whether a text has one of the labels, several at once, or a grade: what Hugging Face calls the type of problem."""
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
        number, is_filled = self.num_heads, self.hidden_size == self.num_heads * self.head_size
        self._check("num_kv_heads", number % self.num_kv_heads == 0, _("a divisor of num_heads ({number})").format(number=number))
        self._check("hidden_size", self.has_free_heads or is_filled, _("a multiple of num_heads ({number})").format(number=number))
        self._check("head_size", self.positions != "rotary" or self.head_size % 2 == 0, _("even, for rotary positions"))

    def _check(self, name: str, is_right: bool, rule: str) -> None:
        if not is_right:
            raise ModelError("E301", field=name, value=getattr(self, name), rule=rule)

    def _check_sizes(self, *names: str) -> None:
        for name in names:
            self._check(name, isinstance(getattr(self, name), int) and getattr(self, name) >= 1, _("at least 1"))

    def _check_recurrent(self) -> None:
        for name in OF_ATTENTION:
            if getattr(self, name):
                raise ModelError("E342", family=self.family, field=name)
        self._check("hidden_size", self.is_causal or self.hidden_size % 2 == 0, _("even, for two directions"))

    @property
    def is_encoder_decoder(self) -> bool:
        return self.num_decoder_layers > 0

    @property
    def decoder_start_id(self) -> int:
        """What a decoder begins with: the token named for it, or what begins a text, or what ends one, as BART does."""
        ids = dict(self.token_ids)
        return next((ids[role] for role in ("decoder_start", "bos", "cls", "eos", "sep", "pad") if role in ids), 0)

    @property
    def writes(self) -> bool:
        """Whether the model can write: token after token, each from those before."""
        return self.is_causal or self.is_hybrid or self.is_encoder_decoder

    @property
    def fills(self) -> bool:
        """Whether the model can see both sides of a blank and say what it hides."""
        return not self.is_causal and not self.is_encoder_decoder

    def is_local(self, layer: int) -> bool:
        """Whether this layer sees a window alone."""
        return bool(self.window) and (not self.global_every or layer % self.global_every != 0)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def known_fields() -> list[str]:
    """The names of the fields, for messages and for `sizes` in a recipe."""
    return [field.name for field in fields(ModelConfig)]
