"""What a family is: how its Hugging Face config reads as ours, and which of its tensors is which of ours.

Ours and theirs differ in names, in whether queries, keys and values are one matrix, and in GPT-2's transposed layers; a
`Rule` says so for one tensor, and the same rule serves reading and writing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ModelError
from diptych.models.config import ModelConfig

ACTIVATION = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
ACTIVATION_THERE = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}


@dataclass(frozen=True)
class Rule:
    """One of our tensors and the one or several of theirs that it holds; `{i}` stands for the number of a layer."""

    ours: str
    theirs: tuple[str, ...]
    is_transposed: bool = False


@dataclass(frozen=True)
class Family:
    """One family: everything that is not the stack itself."""

    name: str
    prefix: str
    """What stands before the body's names in a folder that has heads."""
    architectures: Mapping[str, tuple[str, ...]]
    """Their class -> our heads, the fullest first."""
    read_config: Callable[[Mapping[str, Any]], ModelConfig]
    write_config: Callable[[ModelConfig], dict[str, Any]]
    body: Callable[[ModelConfig], list[Rule]]
    heads: Mapping[str, tuple[Rule, ...]]
    """Our head -> its rules, with their full names."""
    ignored: tuple[str, ...] = ()
    """Ends of names that carry no weights: masks and position numbers of old folders."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Ends of old names -> new ones."""
    twins: Mapping[str, str] = field(default_factory=dict)
    """A name that holds the same as another where head and embedding are tied, and holds what counts where they are not."""

    def architecture(self, heads: Iterable[str]) -> str:
        """The class that opens a folder with these heads."""
        have = set(heads)
        return next(name for name, needs in self.architectures.items() if set(needs) <= have)

    def rules(self, config: ModelConfig, heads: Iterable[str]) -> list[Rule]:
        """Every tensor of a network with these heads, their names as in a folder with heads."""
        rules = [
            Rule(rule.ours.format(i=i), tuple(name.format(i=i) for name in rule.theirs), rule.is_transposed)
            for rule in self.body(config)
            for i in (range(config.num_layers) if "{i}" in rule.ours else (0,))
        ]
        rules = [Rule(f"body.{r.ours}", tuple(f"{self.prefix}.{n}" for n in r.theirs), r.is_transposed) for r in rules]
        for head in heads:
            rules += [Rule(f"heads.{head}.{r.ours}", r.theirs, r.is_transposed) for r in self.heads.get(head, ())]
        return rules

    def canonical(self, names: Iterable[str]) -> dict[str, str]:
        """Names as some folder has them -> names as the rules have them; what carries no weights is left out."""
        names = list(names)
        has_prefix = any(name.startswith(f"{self.prefix}.") for name in names)
        known_heads = tuple({rule.theirs[0].split(".")[0] for rules in self.heads.values() for rule in rules} - {self.prefix})
        result = {}
        for name in names:
            if name.endswith(self.ignored):
                continue
            new = name
            for old_end, new_end in self.renamed.items():
                if new.endswith(old_end):
                    new = new.removesuffix(old_end) + new_end
            if not has_prefix and not new.startswith(known_heads):
                new = f"{self.prefix}.{new}"
            result[name] = new
        return result


def split_sizes(config: ModelConfig, rule: Rule) -> list[int]:
    """How many rows each of their tensors takes of ours: queries, keys and values, or gate and up."""
    if len(rule.theirs) == 3:
        return [config.num_heads * config.head_size] + [config.num_kv_heads * config.head_size] * 2
    return [config.feed_forward_size] * 2


def their_shapes(config: ModelConfig, rule: Rule, ours: torch.Size) -> list[tuple[int, ...]]:
    """The shapes of their tensors that make up one of ours."""
    if len(rule.theirs) == 1:
        return [tuple(ours[::-1] if rule.is_transposed else ours)]
    return [(rows, *ours[1:]) for rows in split_sizes(config, rule)]


def to_ours(rule: Rule, tensors: list[Tensor]) -> Tensor:
    """Their tensors as the one of ours."""
    joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return joined.T if rule.is_transposed else joined


def to_theirs(config: ModelConfig, rule: Rule, tensor: Tensor) -> dict[str, Tensor]:
    """One of our tensors under their names."""
    tensor = tensor.T if rule.is_transposed else tensor
    parts = [tensor] if len(rule.theirs) == 1 else tensor.split(split_sizes(config, rule))
    return {name: part.contiguous() for name, part in zip(rule.theirs, parts, strict=True)}


def both(ours: str, *theirs: str, bias: bool = True, is_transposed: bool = False) -> list[Rule]:
    """The rules of a layer's weight and, where it has one, its bias."""
    rules = [Rule(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), is_transposed)]
    if bias:
        rules.append(Rule(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs)))
    return rules


def refuse(family: str, hf: Mapping[str, Any], **usual: Any) -> None:
    """Refuse a config that asks for arithmetic that we do not have, rather than compute something else.

    Raises:
        ModelError E304: a setting is not as `usual`.
    """
    for name, value in usual.items():
        if hf.get(name, value) != value:
            raise ModelError("E304", feature=f"{name} = {hf[name]}", family=family)


def read_activation(family: str, hf: Mapping[str, Any], name: str, usual: str) -> str:
    """Our name of the activation that `hf` names.

    Raises:
        ModelError E304: we do not have it.
    """
    theirs = hf.get(name, usual)
    if theirs not in ACTIVATION:
        raise ModelError("E304", feature=f"{name} = {theirs}", family=family)
    return ACTIVATION[theirs]


def common_config(config: ModelConfig) -> dict[str, Any]:
    """What every Hugging Face config says alike."""
    ids = {f"{role}_token_id": number for role, number in config.token_ids}
    labels = {}
    if config.labels:
        labels["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
        labels["label2id"] = {label: number for number, label in enumerate(config.labels)}
    return {
        "vocab_size": config.vocab_size,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.is_tied,
        "dtype": "float32",
        **ids,
        **labels,
    }


def read_common(hf: Mapping[str, Any], *, is_tied: bool = True) -> dict[str, Any]:
    """What `common_config` writes, read back from any Hugging Face config.

    Args:
        is_tied: what the family takes for granted where its config does not say.
    """
    return {
        "vocab_size": hf["vocab_size"],
        "initializer_range": hf.get("initializer_range", 0.02),
        "is_tied": hf.get("tie_word_embeddings", is_tied),
        "labels": _labels(hf),
        "token_ids": _token_ids(hf),
    }


def _labels(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes in a Hugging Face config, in their order."""
    names = hf.get("id2label") or {}
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return ordered or tuple(f"LABEL_{number}" for number in range(int(hf.get("num_labels") or 0)))


def _token_ids(hf: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """The special tokens that a Hugging Face config names."""
    roles = ("pad", "bos", "eos", "cls", "sep")
    numbers = ((role, hf.get(f"{role}_token_id")) for role in roles)
    return tuple((role, number) for role, number in numbers if isinstance(number, int) and number >= 0)
