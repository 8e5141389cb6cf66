"""What a family is: a choice of our fields, a map of its settings, and a map of its tensors' names.

Both maps serve reading and writing alike. Ours and theirs differ in names, in whether queries, keys and values are one
matrix, and in GPT-2's transposed layers; a `Rule` says so for one tensor.
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
ROLES = ("pad", "bos", "eos", "cls", "sep", "decoder_start")


PROBLEM_TYPES = {"single": "single_label_classification", "several": "multi_label_classification", "graded": "regression"}
"""Kinds of labels, and what Hugging Face calls them."""


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
    """Their class -> our heads, the fullest first."""
    fixed: Mapping[str, Any]
    """The fields of `ModelConfig` that make a network one of this family."""
    settings: Mapping[str, str | tuple[str, Any]]
    """Our field -> their setting, with what they take where it is left out."""
    body: Callable[[ModelConfig], list[Rule]]
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

    def read_config(self, hf: Mapping[str, Any]) -> ModelConfig:
        """Ours for a Hugging Face config.

        Raises:
            ModelError E304: it asks for arithmetic that we do not have. KeyError: a setting is missing.
        """
        refuse(self.name, hf, **self.usual)
        fields = {"initializer_range": hf.get("initializer_range", 0.02)}
        for ours, theirs in self.settings.items():
            name, *usual = theirs if isinstance(theirs, tuple) else (theirs,)
            value = hf.get(name)
            if value is None and usual:
                value = usual[0]
            elif value is None:
                raise KeyError(name)
            fields[ours] = self._activation(value) if ours == "activation" else value
        return self.shape(
            **fields,
            vocab_size=hf["vocab_size"],
            is_tied=hf.get("tie_word_embeddings", self.is_tied),
            labels=_labels(hf),
            label_kind=_label_kind(hf),
            token_ids=_token_ids(hf),
            **self.read_more(hf),
        )

    def write_config(self, config: ModelConfig) -> dict[str, Any]:
        """The Hugging Face config for one of ours."""
        hf: dict[str, Any] = {"model_type": self.name, "vocab_size": config.vocab_size, "initializer_range": config.initializer_range}
        for ours, theirs in self.settings.items():
            value = getattr(config, ours)
            hf[theirs if isinstance(theirs, str) else theirs[0]] = ACTIVATION_THERE[value] if ours == "activation" else value
        ids = {f"{role}_token_id": number for role, number in config.token_ids}
        labels = {str(number): label for number, label in enumerate(config.labels)}
        return {
            **hf,
            "tie_word_embeddings": config.is_tied,
            "dtype": "float32",
            **({"id2label": labels, "label2id": {label: int(i) for i, label in labels.items()}} if labels else {}),
            **({"problem_type": PROBLEM_TYPES[config.label_kind]} if labels and config.label_kind != "single" else {}),
            **self.write_more(config),
            **ids,
        }

    def architecture(self, heads: Iterable[str]) -> str:
        """The class that opens a folder with these heads."""
        have = set(heads)
        return next(name for name, needs in self.architectures.items() if set(needs) <= have)

    def rules(self, config: ModelConfig, heads: Iterable[str]) -> list[Rule]:
        """Every tensor of a network with these heads, their names as in a folder with heads."""
        rules = []
        for rule in self.body(config):
            count = config.num_decoder_layers if rule.ours.startswith("decoder.") else config.num_layers
            for i in range(count) if "{i}" in rule.ours else (0,):
                theirs = tuple(self.with_prefix(name.format(i=i)) for name in rule.theirs)
                rules.append(_replace(rule, f"body.{rule.ours.format(i=i)}", theirs))
        for head in heads:
            rules += [_replace(rule, f"heads.{head}.{rule.ours}", rule.theirs) for rule in self.heads.get(head, ())]
        return rules

    def with_prefix(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def canonical(self, names: Iterable[str]) -> dict[str, str]:
        """Names as some folder has them -> names as the rules have them; what carries no weights is left out."""
        names = list(names)
        has_prefix = not self.prefix or any(name.startswith(f"{self.prefix}.") for name in names)
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
                new = self.with_prefix(new)
            result[name] = new
        return result

    def _activation(self, theirs: Any) -> str:
        if theirs not in ACTIVATION:
            raise ModelError("E304", feature=f"activation = {theirs}", family=self.name)
        return ACTIVATION[theirs]


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


def _replace(rule: Rule, ours: str, theirs: tuple[str, ...]) -> Rule:
    return Rule(ours, theirs, rule.is_transposed, rule.is_row, rule.missing)


def _labels(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes in a Hugging Face config, in their order."""
    names = hf.get("id2label") or {}
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return ordered or tuple(f"LABEL_{number}" for number in range(int(hf.get("num_labels") or 0)))


def _label_kind(hf: Mapping[str, Any]) -> Any:
    """What kind of labels there are; where a folder does not say so, one label alone is a grade, as transformers takes it."""
    kinds = {theirs: ours for ours, theirs in PROBLEM_TYPES.items()}
    is_alone = len(hf.get("id2label") or {}) == 1 or hf.get("num_labels") == 1
    return kinds.get(str(hf.get("problem_type")), "graded" if is_alone else "single")


def _token_ids(hf: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """The special tokens that a Hugging Face config names."""
    numbers = ((role, hf.get(f"{role}_token_id")) for role in ROLES)
    return tuple((role, number) for role, number in numbers if isinstance(number, int) and number >= 0)
