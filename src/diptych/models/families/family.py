"""What a family is: a choice of our fields, a map of its settings, and a map of its tensors' names.

Both maps serve reading and writing alike (`formats/hugging_face.py`). Ours and theirs differ in names, in whether queries, keys
and values are one matrix, and in GPT-2's transposed layers; a `Rule` says so for one tensor.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ModelError
from diptych.models.config import ModelConfig

ACTIVATION = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
ACTIVATION_THERE = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}
SIZES = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "feed_forward_size": "intermediate_size",
    "context_length": "max_position_embeddings",
}
"""What most configs call our sizes."""
Names = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One of our tensors and the one or several of theirs that it holds; `{i}` stands for the number of a layer."""

    ours: str
    theirs: tuple[str, ...]
    is_transposed: bool = False
    is_row: bool = False
    """Theirs is a matrix of one row: the bias that BART adds to its logits."""
    missing: Callable[[ModelConfig], Tensor] | None = None
    """What stands for it in a folder that leaves it out; None where no folder may."""


@dataclass(frozen=True)
class Family:
    """One family: everything that is not the stack itself."""

    name: str
    prefix: str
    """What stands before the body's names in a folder that has heads; may be empty."""
    architectures: Mapping[str, tuple[str, ...]]
    """Their class -> our heads."""
    fixed: Mapping[str, Any]
    """The fields of `ModelConfig` that make a network one of this family."""
    settings: Mapping[str, str | tuple[str, Any]]
    """Our field -> their setting, with what they take where it is left out."""
    body: Callable[[ModelConfig], Sequence[Rule]]
    heads: Mapping[str, tuple[Rule, ...]]
    """Our head -> its rules, with their full names."""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """Settings of theirs whose other values ask for arithmetic that we do not have."""
    read_more: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda hf: {}
    """Fields that are not one setting each."""
    write_more: Callable[[ModelConfig], dict[str, Any]] = lambda config: {}
    is_tied: bool = True
    """What is taken for granted where a config does not say."""
    ignored: tuple[str, ...] = ()
    """Ends of names that carry no weights: masks, position numbers and second names of old folders."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Ends of old names -> new ones."""
    twins: Mapping[str, str] = field(default_factory=dict)
    """A name that holds the same as another where head and embedding are tied, and holds what counts where they are not."""

    def shape(self, **sizes: Any) -> ModelConfig:
        """A network of this family in these sizes."""
        return ModelConfig(**{"family": self.name, **self.fixed, **sizes})

    def rules(self, config: ModelConfig, heads: Iterable[str]) -> list[Rule]:
        """Every tensor that a network with these heads may have, their names as in a folder with heads."""
        rules = []
        for rule in self.body(config):
            count = config.num_decoder_layers if rule.ours.startswith("decoder.") else config.num_layers
            for i in range(count) if "{i}" in rule.ours else (0,):
                theirs = tuple(self.with_prefix(name.format(i=i)) for name in rule.theirs)
                rules.append(replace(rule, ours=f"body.{rule.ours.format(i=i)}", theirs=theirs))
        for head in heads:
            rules += [replace(rule, ours=f"heads.{head}.{rule.ours}") for rule in self.heads.get(head, ())]
        return rules

    def with_prefix(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name


def split_sizes(config: ModelConfig, rule: Rule, rows: int) -> list[int]:
    """How many of our `rows` each of their tensors takes: queries, keys and values, or two equal halves."""
    if len(rule.theirs) == 3:
        return [config.num_heads * config.head_size] + [config.num_kv_heads * config.head_size] * 2
    return [rows // 2] * 2


def their_shapes(config: ModelConfig, rule: Rule, ours: torch.Size) -> list[tuple[int, ...]]:
    """The shapes of their tensors that make up one of ours."""
    if len(rule.theirs) == 1:
        return [(1, *ours) if rule.is_row else tuple(ours[::-1] if rule.is_transposed else ours)]
    return [(rows, *ours[1:]) for rows in split_sizes(config, rule, ours[0])]


def to_ours(rule: Rule, tensors: list[Tensor]) -> Tensor:
    """Their tensors as the one of ours."""
    joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return joined[0] if rule.is_row else joined.T if rule.is_transposed else joined


def to_theirs(config: ModelConfig, rule: Rule, tensor: Tensor) -> dict[str, Tensor]:
    """One of our tensors under their names."""
    tensor = tensor[None] if rule.is_row else tensor.T if rule.is_transposed else tensor
    parts = [tensor] if len(rule.theirs) == 1 else tensor.split(split_sizes(config, rule, len(tensor)))
    return {name: part.contiguous() for name, part in zip(rule.theirs, parts, strict=True)}


def both(ours: str, *theirs: str, is_transposed: bool = False) -> tuple[Rule, ...]:
    """The rules of a part's weight and bias; a network that has one of the two uses one."""
    weight = Rule(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), is_transposed)
    return weight, Rule(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs))


def layers(
    theirs: str, *, norms: Names, qkv: Names, output: str, up: Names, down: str, ours: str = "layers.{i}", is_transposed: bool = False
) -> tuple[Rule, ...]:
    """The rules of what every layer has.

    Args:
        theirs: what their layers are called, and `ours` ours; what follows are the parts of one.
        norms: attention's, and that of the feed-forward net. qkv: queries, keys and values, as one part or three.
        up: of a net with a gate the gate comes first, where the two lie apart.
    """
    return (
        *both(f"{ours}.attention_norm", f"{theirs}.{norms[0]}"),
        *both(f"{ours}.attention.qkv", *(f"{theirs}.{part}" for part in qkv), is_transposed=is_transposed),
        *both(f"{ours}.attention.output", f"{theirs}.{output}", is_transposed=is_transposed),
        *both(f"{ours}.feed_forward_norm", f"{theirs}.{norms[1]}"),
        *both(f"{ours}.feed_forward.up", *(f"{theirs}.{part}" for part in up), is_transposed=is_transposed),
        *both(f"{ours}.feed_forward.down", f"{theirs}.{down}", is_transposed=is_transposed),
    )


def split(name: str, parts: Iterable[str] = "qkv") -> Names:
    """The names of parts that lie apart: `{}` stands for each."""
    return tuple(name.replace("{}", part) for part in parts)


DECODER_HEADS = {"lm": both("decoder", "lm_head"), "classes": both("output", "score"), "tags": both("output", "classifier")}
"""What most decoders call their heads."""
CHOICES = {"SequenceClassification": ("classes",), "TokenClassification": ("tags",), "QuestionAnswering": ("span",)}
OF_BERTS = {**CHOICES, "SequenceClassification": ("pooler", "classes"), "MaskedLM": ("lm",)}
OF_DECODERS = {"SequenceClassification": ("classes",), "TokenClassification": ("tags",), "CausalLM": ("lm",)}
"""What transformers' classes are for -> our heads."""


def classes(theirs: str, **heads: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Their classes by what each is for, and the body alone."""
    return {**{f"{theirs}For{kind}": asked for kind, asked in heads.items()}, f"{theirs}Model": ()}


def layer_kinds(global_every: int, num_layers: int, local: str = "sliding_attention", whole: str = "full_attention") -> list[str]:
    """What each layer is called where some see a window alone."""
    return [local if not global_every or number % global_every else whole for number in range(num_layers)]


def read_kinds(family: str, kinds: list[str], num_layers: int, tried: Iterable[int], setting: str = "layer_types", **names: str) -> int:
    """Every how many layers one sees everything: the first of `tried` that makes these kinds.

    Raises:
        ModelError E304: the layers do not alternate evenly.
    """
    for every in tried:
        if kinds == layer_kinds(every, num_layers, **names):
            return every
    raise ModelError("E304", feature=f"{setting} = {kinds}", family=family)


def refuse(family: str, hf: Mapping[str, Any], **usual: Any) -> None:
    """Refuse a config that asks for arithmetic that we do not have, rather than compute something else.

    Raises:
        ModelError E304: a setting is not as `usual`.
    """
    for name, value in usual.items():
        if hf.get(name, value) != value:
            raise ModelError("E304", feature=f"{name} = {hf[name]}", family=family)
