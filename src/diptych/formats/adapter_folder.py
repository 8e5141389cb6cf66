"""Adapters as peft keeps them: adapter_config.json and adapter_model.safetensors, read and written without peft.

An adapter is a difference to one base, so it is read onto a network that is there already; the base that its file names is never
opened on its word. Heads that were trained in full travel with it.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diptych.errors import ModelError, TrainingError
from diptych.messages import _
from diptych.models.families import FAMILIES
from diptych.models.families.family import to_ours, to_theirs
from diptych.models.transformer import Network
from diptych.surgery.low_rank import LowRank, Part, adapters, is_named, parts_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
TASK_TYPES = (("classes", "SEQ_CLS"), ("tags", "TOKEN_CLS"), ("span", "QUESTION_ANS"))
NOT_READ = ("use_dora", "lora_bias", "layer_replication", "alpha_pattern", "trainable_token_indices", "target_parameters", "use_qalora")
"""Settings of a peft config that change the arithmetic and that we do not have, refused where one is on."""


@dataclass
class Adapter:
    """What a peft folder holds: its config, and its tensors by their names there."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    about: dict[str, str] = field(default_factory=dict)
    """What the weights' file says besides: the base's fingerprint, and the labels."""


def take_adapter(net: Network, heads: tuple[str, ...], base: str | None, fingerprint: str) -> Adapter:
    """The adapters that hang in `net`, with the heads `heads`, as peft keeps them.

    Args:
        base: the name or folder of the model that they are a difference to. fingerprint: `fingerprint(net)` before training.
    """
    tensors: dict[str, Tensor] = {}
    layers = list(adapters(net))
    for _name, layer in layers:
        for part, a_RI, b_OR in zip(layer.parts, layer.a_RI, layer.b_OR, strict=True):
            tensors[f"{PREFIX}{part.name}.lora_A.weight"] = a_RI.detach().cpu().clone()
            tensors[f"{PREFIX}{part.name}.lora_B.weight"] = b_OR.detach().cpu().clone()
    whole = []
    state = net.state_dict()
    for rule in FAMILIES[net.config.family].rules(net.config, heads):
        if rule.ours.startswith("heads.") and rule.ours in state:
            for name, tensor in to_theirs(net.config, rule, state[rule.ours].detach().cpu()).items():
                tensors[PREFIX + name] = tensor.clone()
                whole.append(name.rpartition(".")[0])
    parts = [part for _name, layer in layers for part in layer.parts]
    rank = len(layers[0][1].a_RI[0])
    config = {
        "peft_type": "LORA",
        "task_type": _task_type(net),
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": _plain(layers[0][1].scales[0] * rank),
        "lora_dropout": layers[0][1].dropout.p,
        "target_modules": _targets(parts, parts_of(net)),
        "modules_to_save": sorted(set(whole)) or None,
        "fan_in_fan_out": any(part.is_transposed for part in parts),
        "bias": "none",
        "inference_mode": True,
    }
    about = {"format": "pt", "diptych_base": fingerprint, "diptych_labels": json.dumps(net.config.labels, ensure_ascii=False)}
    return Adapter(config, tensors, about)


def write_adapter(adapter: Adapter, folder: Path) -> None:
    """Write an adapter into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(adapter.config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    save_file(adapter.tensors, folder / WEIGHTS, metadata=adapter.about)


def read_adapter(folder: str | Path) -> Adapter:
    """The adapter in a peft folder.

    Raises:
        ModelError E311: a file is missing. E312: one cannot be read. TrainingError E535: it asks for arithmetic that we do not have.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise ModelError("E311", path=folder, file=name)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError("E312", path=folder / CONFIG, problem=error) from None
    if not isinstance(config, dict):
        raise ModelError("E312", path=folder / CONFIG, problem=_("it holds no settings"))
    if config.get("peft_type") != "LORA":
        raise TrainingError("E535", path=folder, feature=f"peft_type = {config.get('peft_type')}")
    for name in NOT_READ:
        if config.get(name):
            raise TrainingError("E535", path=folder, feature=f"{name} = {config[name]}")
    if config.get("bias", "none") != "none":
        raise TrainingError("E535", path=folder, feature=f"bias = {config['bias']}")
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names = list(file.keys())
            return Adapter(config, {name: file.get_tensor(name).float().clone() for name in names}, dict(file.metadata() or {}))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError("E312", path=folder / WEIGHTS, problem=error) from None


def hang(net: Network, adapter: Adapter, where: object) -> None:
    """Hang the adapter beside the matrices of its base, and put the heads that it brings in their places.

    Args:
        where: the adapter's folder, for messages.

    Raises:
        TrainingError E536: it belongs to another base. E535: it changes something that is no matrix of a linear layer.
    """
    expected = adapter.about.get("diptych_base")
    if expected is not None and expected != fingerprint(net):
        raise TrainingError("E536", path=where, problem=_("the weights of the base are not those that it was trained on"))
    pairs: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for full_name, tensor in adapter.tensors.items():
        name = full_name.removeprefix(PREFIX)
        for side in ("lora_A", "lora_B"):
            if name.endswith(f".{side}.weight"):
                pairs.setdefault(name.removesuffix(f".{side}.weight"), {})[side] = tensor
                break
        else:
            whole[name] = tensor
    _take_heads(net, whole, adapter, where)
    parts = {part.name: part for part in parts_of(net)}
    found: dict[str, list[tuple[Part, Tensor, Tensor]]] = {}
    for name, sides in pairs.items():
        part = parts.get(name) or parts.get(f"{FAMILIES[net.config.family].prefix}.{name}")
        if part is None or len(sides) != 2:
            raise TrainingError("E536", path=where, problem=_("there is no matrix {name}").format(name=name))
        a_RI, b_OR = sides["lora_A"], sides["lora_B"]
        linear: Any = net.get_submodule(part.module)
        if a_RI.ndim != 2 or b_OR.shape != (part.stop - part.start, len(a_RI)) or a_RI.shape[1] != linear.in_features:
            shapes = f"{tuple(b_OR.shape)} × {tuple(a_RI.shape)}"
            text = _("{name} does not fit: {shapes}")
            raise TrainingError("E536", path=where, problem=text.format(name=name, shapes=shapes))
        found.setdefault(part.module, []).append((part, a_RI, b_OR))
    for module, some in found.items():
        linear = net.get_submodule(module)
        assert isinstance(linear, nn.Linear)
        some.sort(key=lambda each: each[0].start)
        layer = LowRank(linear, [part for part, _a, _b in some])
        scales = [_scale(adapter.config, len(a_RI)) for _part, a_RI, _b in some]
        layer.fill([a_RI for _part, a_RI, _b in some], [b_OR for _part, _a, b_OR in some], scales)
        net.set_submodule(module, layer)


def fingerprint(net: Network) -> str:
    """A digest of the body's weights: an adapter is worth something beside these alone."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in sorted(net.body.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _take_heads(net: Network, whole: dict[str, Tensor], adapter: Adapter, where: object) -> None:
    """Put the heads that travelled with the adapter in their places, made where the base lacks them."""
    family = FAMILIES[net.config.family]
    labels = json.loads(adapter.about.get("diptych_labels", "[]"))
    for head, rules in family.heads.items():
        named = [rule for rule in rules if rule.theirs[0] in whole]
        if not named or (head in ("tags", "classes", "span") and adapter.config.get("task_type") != dict(TASK_TYPES)[head]):
            continue
        last = next((whole[rule.theirs[0]] for rule in named if rule.ours == "output.weight"), None)
        if head in ("tags", "classes") and last is not None:
            known = net.config.labels if len(net.config.labels) == len(last) else tuple(f"LABEL_{n}" for n in range(len(last)))
            net.ensure_head(head, labels=tuple(labels) if len(labels) == len(last) else known)
        else:
            net.ensure_head(head)
    state = net.state_dict()
    used = set()
    for rule in family.rules(net.config, list(net.heads)):
        parts = [whole[name] for name in rule.theirs if name in whole]
        if len(parts) == len(rule.theirs) and rule.ours in state:
            value = to_ours(rule, parts)
            if value.shape != state[rule.ours].shape:
                text = _("{name} does not fit: {shapes}")
                raise TrainingError("E536", path=where, problem=text.format(name=rule.theirs[0], shapes=tuple(value.shape)))
            state[rule.ours].copy_(value)
            used.update(rule.theirs)
    left = sorted(set(whole) - used)
    if left:
        raise TrainingError("E535", path=where, feature=", ".join(left[:3]))


def _scale(config: dict[str, Any], rank: int) -> float:
    alpha = float(config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _targets(parts: list[Part], every: list[Part]) -> list[str]:
    """The shortest names that mean these parts and no other: their last words, or else their whole names."""
    wanted = {part.name for part in parts}
    short = {name.rpartition(".")[2] for name in wanted}
    meant = {part.name for part in every if any(is_named(part.name, target) for target in short)}
    return sorted(short if meant == wanted else wanted)


def _task_type(net: Network) -> str | None:
    for head, name in TASK_TYPES:
        if head in net.heads:
            return name
    return "CAUSAL_LM" if net.config.is_causal and "lm" in net.heads else None


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number
