"""A family's two maps at work: the config and the names of tensors as Hugging Face has them, there and back."""

from collections.abc import Iterable, Mapping
from typing import Any

from diptych.errors import ModelError
from diptych.models.config import ModelConfig
from diptych.models.families.family import ACTIVATION, ACTIVATION_THERE, Family, refuse

ROLES = ("pad", "bos", "eos", "cls", "sep", "decoder_start")
PROBLEM_TYPES = {"single": "single_label_classification", "several": "multi_label_classification", "graded": "regression"}
"""Kinds of labels, and what Hugging Face calls them."""


def config_from(family: Family, hf: Mapping[str, Any]) -> ModelConfig:
    """Ours for a Hugging Face config.

    Raises:
        ModelError E304: it asks for arithmetic that we do not have. KeyError: a setting is missing.
    """
    refuse(family.name, hf, **family.usual)
    fields = {"initializer_range": hf.get("initializer_range", 0.02)}
    for ours, theirs in family.settings.items():
        name, *usual = theirs if isinstance(theirs, tuple) else (theirs,)
        value = hf.get(name)
        if value is None and usual:
            value = usual[0]
        elif value is None:
            raise KeyError(name)
        if ours == "activation" and value not in ACTIVATION:
            raise ModelError("E304", feature=f"activation = {value}", family=family.name)
        fields[ours] = ACTIVATION[value] if ours == "activation" else value
    return family.shape(
        **fields,
        vocab_size=hf["vocab_size"],
        is_tied=hf.get("tie_word_embeddings", family.is_tied),
        labels=_labels(hf),
        label_kind=_label_kind(hf),
        token_ids=_token_ids(hf),
        **family.read_more(hf),
    )


def config_for(family: Family, config: ModelConfig) -> dict[str, Any]:
    """The Hugging Face config for one of ours."""
    hf: dict[str, Any] = {"model_type": family.name, "vocab_size": config.vocab_size, "initializer_range": config.initializer_range}
    for ours, theirs in family.settings.items():
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
        **family.write_more(config),
        **ids,
    }


def class_for(family: Family, heads: Iterable[str]) -> str:
    """The class that has the most of these heads; of several the one that its family names first."""
    have, known = set(heads), family.architectures
    return max((name for name, needs in known.items() if set(needs) <= have), key=lambda name: len(known[name]))


def canonical(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Names as some folder has them -> names as the rules have them; what carries no weights is left out."""
    names = list(names)
    has_prefix = not family.prefix or any(name.startswith(f"{family.prefix}.") for name in names)
    known_heads = tuple({rule.theirs[0].split(".")[0] for rules in family.heads.values() for rule in rules} - {family.prefix})
    result = {}
    for name in names:
        if name.endswith(family.ignored):
            continue
        new = name
        for old_end, new_end in family.renamed.items():
            if new.endswith(old_end):
                new = new.removesuffix(old_end) + new_end
        if not has_prefix and not new.startswith(known_heads):
            new = family.with_prefix(new)
        result[name] = new
    return result


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
