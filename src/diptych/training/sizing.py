"""How much a training takes: parameters by part, operations per token, memory; arithmetic on shapes, up to any size.

Networks are made on the meta device, which holds shapes and no values, so that 175 billion parameters are counted in a
second. What autograd keeps and how long a step takes are not guessed here but rehearsed; see `rehearsal.py`.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from diptych.kernels.chunked_loss import chunk_of
from diptych.models.config import ModelConfig
from diptych.models.transformer import Network, without_values
from diptych.presets import preset_config
from diptych.sizes import PUBLISHED
from diptych.training.optimizers import parameter_groups

FLOAT32_BYTES = 4
BYTES = {"float32": 4, "bfloat16": 2}
TOKENS_PER_PARAMETER = 20
"""Hoffmann et al. 2022, table 3: for a fixed amount of computing, parameters and tokens grow alike, some 20 tokens each."""


@dataclass(frozen=True)
class Workload:
    """What one step sends through a network."""

    tokens: int
    """Tokens of a step."""
    text_length: int
    """Tokens that see each other: the context, or the usual length of a text."""
    micro_tokens: int
    """Tokens that are in flight at once."""
    asked: float = 1.0
    """The share of tokens of which a language head is asked: 1 for the next word, 0.15 for masked words, 0 without such a head."""
    heads: tuple[str, ...] = ("lm",)
    dropout: float = 0.0
    is_recomputed: bool = False
    """Whether the backward pass makes the insides of each layer again."""

    @property
    def in_flight(self) -> int:
        return min(self.tokens, max(self.micro_tokens, self.text_length))

    @property
    def pieces(self) -> int:
        """How many forward and backward passes a step takes."""
        return -(-self.tokens // self.in_flight)


@dataclass(frozen=True)
class Operations:
    """Floating-point operations per token, a multiplication and an addition being two (Kaplan et al. 2020, table 1)."""

    layers: float
    """Matrices of the layers."""
    attention: float
    """Queries with keys, weights with values; it grows with the length of the text."""
    head: float
    """The vocabulary, for the share of the tokens that is asked."""

    @property
    def forward(self) -> float:
        return self.layers + self.attention + self.head

    @property
    def backward(self) -> float:
        """Each product has two in the backward pass: one for the input's gradient, one for the weight's."""
        return 2 * self.forward


@dataclass(frozen=True)
class Memory:
    """Bytes that a training holds at its peak, on one device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    """What the forward pass keeps for the backward pass, of the tokens in flight."""
    loss: float
    """The vocabulary's share: probabilities that are kept, a chunk of logits, the gradient by the matrix."""
    copies: float
    """Weights in the precision of the products, while a step lasts."""
    allocator: float = 0.0
    """Freed memory that does not serve again, since blocks of other sizes are asked for."""
    program: float = 0.0
    """The process itself: Python, torch and what they load."""
    is_one_pass: bool = True
    """Whether a step is one pass: then gradients come while activations go, and the larger of both counts."""

    @property
    def total(self) -> float:
        flowing = self.activations + self.loss
        moving = max(self.gradients, flowing) if self.is_one_pass else self.gradients + flowing
        return self.weights + self.optimizer + moving + self.copies + self.allocator + self.program

    def parts(self) -> dict[str, float]:
        """Bytes by part; `total` is less than their sum where a step is one pass."""
        return {name: value for name, value in self.__dict__.items() if name != "is_one_pass"}


def shape_of(config: ModelConfig, heads: tuple[str, ...] = ("lm",)) -> Network:
    """The network of a config without values: shapes alone, on the meta device."""
    with without_values():
        net = Network(config)
        for head in heads:
            net.ensure_head(head)
    return net


def published_count(preset: str) -> int:
    """What a published size counts of its parameters: with the language head, with BERT's pooler, or the body alone."""
    net = shape_of(preset_config(preset), {"lm": ("lm",), "pooler": ("pooler",), "body": ()}[PUBLISHED[preset].counted])
    return sum(parameter.numel() for parameter in net.parameters())


def parameters_by_part(net: nn.Module) -> dict[str, int]:
    """How many parameters each part has; parts that have none are left out."""
    parts = {"token embedding": 0, "positions and types": 0, "attention": 0, "feed-forward": 0, "norms": 0, "other layers": 0, "heads": 0}
    for name, parameter in net.named_parameters():
        parts[_part(name)] += parameter.numel()
    return {part: count for part, count in parts.items() if count}


def _part(name: str) -> str:
    if name.startswith("heads."):
        return "heads"
    if "norm" in name:
        return "norms"
    if name.startswith("body.embedding."):
        return "token embedding" if ".tokens." in name else "positions and types"
    if ".attention." in name:
        return "attention"
    return "feed-forward" if ".feed_forward." in name else "other layers"


def operations(net: Network, load: Workload) -> Operations:
    """Operations per token of a forward pass over texts of `load.text_length` tokens; of an encoder-decoder, per pair of tokens.

    A token of a causal layer sees half of its text on average, one of a bidirectional layer all of it, one of a local layer
    its window. For each token it sees it takes 2 * head_size operations per head for the score and as many for the sum.
    """
    config = net.config
    layers = 2 * sum(matrix.numel() for matrix in matrices(net))
    of_a_token = 4 * config.num_heads * config.head_size
    attention = sum(of_a_token * _seen(config, layer, load.text_length) for layer in range(config.num_layers)) if of_a_token else 0.0
    # A decoder's layer sees half of its own text, and all of the encoder's.
    attention += of_a_token * config.num_decoder_layers * 1.5 * load.text_length
    head = 0.0
    if "lm" in load.heads:
        sizes = [module.weight.numel() for module in net.heads["lm"].modules() if isinstance(module, nn.Linear)]
        if config.is_tied:
            sizes.append(config.vocab_size * config.hidden_size)
        head = 2 * load.asked * sum(sizes)
    return Operations(layers, attention, head)


def _seen(config: ModelConfig, layer: int, length: int) -> float:
    """How many tokens of its text one token sees in a layer, on average."""
    if not config.is_local(layer):
        return (length + 1) / 2 if config.is_causal else length
    reach = min(config.window, length)
    if config.is_causal:
        return reach - reach * (reach - 1) / (2 * length)
    return 2 * reach - 1 - reach * (reach - 1) / length


def training_memory(
    net: Network,
    load: Workload,
    *,
    activations: float,
    precision: str,
    optimizer: str = "adamw",
    trainable: int | None = None,
    has_mean: bool = False,
) -> Memory:
    """What one device holds when all of the training lies on it.

    Args:
        activations: bytes that autograd keeps of the tokens in flight, without the loss (`rehearsal.kept_bytes`).
        optimizer: AdamW keeps two moments of each weight, Muon one of each matrix of the body.
        trainable: how many parameters learn; None for all. The others have neither gradient nor moments.
        has_mean: whether a running mean of the weights is kept beside the moments.
    """
    total = sum(parameter.numel() for parameter in net.parameters())
    learning = total if trainable is None else trainable
    inner = sum(parameter.numel() for parameter in parameter_groups(net)["inner"]) if optimizer == "muon" else 0
    return Memory(
        weights=FLOAT32_BYTES * total,
        gradients=FLOAT32_BYTES * learning,
        optimizer=FLOAT32_BYTES * ((3 if has_mean else 2) * learning - min(inner, learning)),
        activations=activations,
        loss=_loss_bytes(net.config, load, precision),
        copies=0 if precision == "float32" else BYTES[precision] * sum(matrix.numel() for matrix in matrices(net)),
        is_one_pass=load.pieces == 1,
    )


def matrices(net: Network) -> list[Tensor]:
    """The matrices that each token meets in the layers, whatever kind of layer it is."""
    return [weight for name, weight in net.body.named_parameters() if weight.ndim == 2 and not name.startswith("embedding.")]


def _loss_bytes(config: ModelConfig, load: Workload, precision: str) -> float:
    if "lm" not in load.heads:
        return 0.0
    places, size = load.in_flight * load.asked, BYTES[precision]
    matrix = config.vocab_size * config.hidden_size
    chunk = 2 * min(places, chunk_of(config.vocab_size)) * config.vocab_size * size
    copy = matrix * size if size < FLOAT32_BYTES else 0
    return places * config.hidden_size * size + chunk + matrix * FLOAT32_BYTES + 2 * copy


def sharded(memory: Memory, devices: int, largest_layer: int) -> Memory:
    """The same training with weights, gradients and moments cut over `devices` (FSDP; Rajbhandari et al. 2020, stage 3).

    Args:
        largest_layer: parameters of the part that a device gathers whole while it computes.
    """
    gathered = FLOAT32_BYTES * largest_layer
    return replace(
        memory,
        weights=memory.weights / devices + gathered,
        gradients=memory.gradients / devices + gathered,
        optimizer=memory.optimizer / devices,
        copies=min(memory.copies, 2 * largest_layer),
    )


def largest_part(net: Network) -> int:
    """Parameters of the largest layer, or of the embedding where that is larger."""
    stacks = [module for module in net.body.modules() if isinstance(module, nn.ModuleList)]
    layers = [sum(parameter.numel() for parameter in layer.parameters()) for stack in stacks for layer in stack]
    return max(*layers, net.config.vocab_size * net.config.hidden_size)


def lora_parameters(net: Network, rank: int) -> int:
    """Weights of adapters of this rank beside every matrix of the layers: rank * (inputs + outputs) each (Hu et al. 2021)."""
    return sum(rank * sum(matrix.shape) for matrix in matrices(net))


def cache_bytes(config: ModelConfig, tokens: int, precision: str = "float32") -> int:
    """Keys and values of `tokens` tokens in every layer, while a model writes."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_size * tokens * BYTES[precision]


def optimal_tokens(parameters: int) -> int:
    """Tokens at which a model of this size makes the most of the computing that it takes (Hoffmann et al. 2022)."""
    return TOKENS_PER_PARAMETER * parameters
