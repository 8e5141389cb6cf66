"""The model folder: a Hugging Face folder, read and written whole or not at all, with safetensors alone.

Nothing here unpickles, and nothing asks a folder's own code to run.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diptych.config import nearest
from diptych.errors import ModelError
from diptych.formats import int8_folder
from diptych.formats.hugging_face import canonical, class_for, config_for, config_from
from diptych.formats.sentence_folder import read_pooling, write_pooling
from diptych.kernels.int8 import is_int8
from diptych.messages import _
from diptych.models.config import ModelConfig
from diptych.models.families import FAMILIES
from diptych.models.families.family import Family, Rule, their_shapes, to_ours, to_theirs
from diptych.models.heads import HEAD_NAMES
from diptych.models.pooling import SentenceHead
from diptych.models.transformer import Network, without_values

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEADS = "heads.safetensors"
"""Heads of ours that no class of the family has, by our own names."""
DECODER = "heads.lm.decoder.weight"
"""Where a network is tied it has no such matrix, and a folder may hold the embedding's a second time under this name."""
TASK = "diptych_task"
"""Where config.json keeps the task that a language head was fine-tuned for; others leave it alone."""
CAUSAL = "causal"
"""Where the folder of a hybrid keeps its other panel."""


def read_model(folder: str | Path) -> Network:
    """The network in a Hugging Face folder, in float32, in evaluation mode.

    Raises:
        ModelError E311: a file is missing. E312: one cannot be read. E313: an unknown architecture. E314: the folder asks
        for its own code. E315: the weights are pickled. E316: names are missing or unexpected. E317: a wrong shape.
        DataError E165: it pools its tokens in a way that we do not know.
    """
    folder = Path(folder)
    hf = read_config(folder)
    family, config = _family(folder, hf), read_shape(folder)
    if isinstance(hf.get(int8_folder.KEY), dict):
        net = int8_folder.build(config, hf, _read_file(folder / int8_folder.WEIGHTS), folder / int8_folder.WEIGHTS)
    else:
        net = assemble(hf, family, config, _read_tensors(folder), folder)
    if (folder / HEADS).exists():
        _add_heads(net, folder / HEADS)
    if (pooling := read_pooling(folder)) is not None:
        net.heads["sentence"] = SentenceHead(pooling)
    return net


def assemble(hf: Mapping[str, Any], family: Family, config: ModelConfig, theirs: Mapping[str, Tensor], source: Path) -> Network:
    """The network of a family from tensors under Hugging Face's names, wherever they were kept; each is asked for once.

    Raises:
        ModelError E316: names are missing or unexpected. E317: a wrong shape.
    """
    names = {new: old for old, new in canonical(family, theirs).items()}
    names |= {name: twin for twin, name in family.twins.items() if twin in theirs}
    heads = _heads(family, hf, names)
    config = _with_labels(config, family, heads, theirs, names)
    with without_values():
        net = Network(config)
        for head in heads:
            net.ensure_head(head)
    state, used = _gather(family.rules(config, heads), names, theirs, net, source)
    unexpected = sorted(set(names) - used - _of_other_heads(family, heads))
    if unexpected:
        raise ModelError("E316", path=source, missing="–", unexpected=_few(unexpected))
    net.load_state_dict(state, strict=False, assign=True)
    left = [name for name, parameter in net.named_parameters() if parameter.is_meta]
    if left:
        raise ModelError("E316", path=source, missing=_few(left), unexpected="–")
    return net.eval()


def read_shape(folder: str | Path) -> ModelConfig:
    """The shape of the network in a folder, without its weights.

    Raises:
        ModelError E311, E312, E313, E314: as `read_model`.
    """
    folder = Path(folder)
    hf = read_config(folder)
    try:
        config = config_from(_family(folder, hf), hf)
        return dataclasses.replace(config, task=tuple(dict(hf.get(TASK) or {}).items()))
    except KeyError as error:
        raise ModelError("E312", path=folder / "config.json", problem=_("{name} is missing").format(name=error.args[0])) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError("E312", path=folder / "config.json", problem=error) from None


def write_model(net: Network, folder: Path) -> None:
    """Write config and weights into an existing folder, so that transformers' AutoModel opens them.

    A hybrid is written as the two panels that it is: the encoder, and in `causal/` the decoder of the same weights. Matrices in
    eight bits are for Diptych alone, in a file of their own.
    """
    config = net.config
    if is_int8(net):
        heads = [head for head in net.heads if head in FAMILIES[config.family].heads]
        _write_json(folder / "config.json", {**_described(config, heads), **int8_folder.describe(net)})
        int8_folder.write_weights(net, folder)
    else:
        _write(net, config, folder)
    for head in net.heads.values():
        if isinstance(head, SentenceHead):
            write_pooling(head.pooling, config.hidden_size, config.context_length, folder)
    if config.is_hybrid and not is_int8(net):
        (folder / CAUSAL).mkdir(exist_ok=True)
        _write(net, dataclasses.replace(config, family=f"{config.family}-decoder", is_causal=True), folder / CAUSAL)


def _write(net: Network, config: ModelConfig, folder: Path) -> None:
    family = FAMILIES[config.family]
    heads = [head for head in net.heads if head in family.heads]
    ours = net.state_dict()
    tensors: dict[str, Tensor] = {}
    for rule in family.rules(config, heads):
        if rule.ours in ours:
            tensors.update(to_theirs(config, rule, ours[rule.ours].detach().cpu()))
    if not config.is_tied:
        tensors |= {twin: tensors[name].clone() for twin, name in family.twins.items() if name in tensors}
    if not set(heads) - {"pooler"} and family.prefix:
        tensors = {name.removeprefix(f"{family.prefix}."): tensor for name, tensor in tensors.items()}
    _write_json(folder / "config.json", _described(config, heads))
    if "lm" in heads and (config.is_causal or config.is_encoder_decoder):
        ids = {f"{role}_token_id": number for role, number in config.token_ids if role in ("bos", "eos", "pad")}
        start = {"decoder_start_token_id": config.decoder_start_id} if config.is_encoder_decoder else {}
        _write_json(folder / "generation_config.json", {**ids, **start})
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    # A head that no class of the family has: others leave it alone, and nothing is lost.
    own = {
        name.removeprefix("heads."): tensor
        for name, tensor in ours.items()
        if name.startswith("heads.") and name.split(".")[1] not in heads
    }
    if own:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in own.items()}, folder / HEADS)


def _described(config: ModelConfig, heads: list[str]) -> dict[str, Any]:
    """What config.json says."""
    family = FAMILIES[config.family]
    hf = {"architectures": [class_for(family, heads)], **config_for(family, config)}
    return {**hf, TASK: dict(config.task)} if config.task else hf


def read_config(folder: Path) -> dict[str, Any]:
    """The Hugging Face config of a folder, as it is."""
    path = folder / "config.json"
    if not path.exists():
        if (folder / "diptych" / "recipe.yaml").exists():
            raise ModelError("E318", path=folder)
        raise ModelError("E311", path=folder, file="config.json")
    try:
        hf = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError("E312", path=path, problem=error) from None
    if not isinstance(hf, dict):
        raise ModelError("E312", path=path, problem=_("it holds no settings"))
    return hf


def _family(folder: Path, hf: Mapping[str, Any]) -> Family:
    if hf.get("auto_map"):
        # Of a type that we know as well: whoever brings code of their own means other arithmetic than the type's.
        raise ModelError("E314", path=folder)
    name = str(hf.get("model_type", ""))
    if name not in FAMILIES:
        raise ModelError("E313", path=folder, name=name or "?", hint=nearest(name, FAMILIES))
    return FAMILIES[name]


def _heads(family: Family, hf: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    """The heads that the folder's class has; a body alone keeps its pooler where there is one."""
    named = (hf.get("architectures") or [""])[0]
    heads = family.architectures.get(named, ())
    has_pooler = "pooler" in family.heads and family.heads["pooler"][0].theirs[0] in names
    if "pooler" in heads and not has_pooler:
        raise ModelError("E316", path="config.json", missing=family.heads["pooler"][0].theirs[0], unexpected="–")
    return tuple(heads) if "pooler" in heads or not has_pooler else ("pooler", *heads)


def _with_labels(
    config: ModelConfig, family: Family, heads: tuple[str, ...], theirs: Mapping[str, Tensor], names: Mapping[str, str]
) -> ModelConfig:
    """Labels for a classifier whose config names none, as transformers leaves them out where there are two."""
    if config.labels:
        return config
    last = [rule.theirs[0] for head in heads if head in ("classes", "tags") for rule in family.heads[head] if rule.ours == "output.weight"]
    count = max((len(theirs[names[name]]) for name in last if name in names), default=0)
    return dataclasses.replace(config, labels=tuple(f"LABEL_{number}" for number in range(count)))


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder, from one file or from the files that an index names."""
    if (folder / WEIGHTS).exists():
        files = [WEIGHTS]
    elif (folder / INDEX).exists():
        files = listed_files(folder / INDEX)
    elif any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise ModelError("E315", path=folder)
    else:
        raise ModelError("E311", path=folder, file=WEIGHTS)
    tensors: dict[str, Tensor] = {}
    for name in files:
        path = folder / name
        if not path.exists():
            raise ModelError("E311", path=folder, file=name)
        tensors |= _read_file(path)
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError("E312", path=path, problem=error) from None


def _add_heads(net: Network, path: Path) -> None:
    """Give the network the heads that lie beside a folder's weights under our own names."""
    tensors = _read_file(path)
    for name in dict.fromkeys(key.split(".")[0] for key in tensors):
        if name not in HEAD_NAMES:
            raise ModelError("E316", path=path, missing="–", unexpected=name)
        net.ensure_head(name)
    shapes = {name.removeprefix("heads."): tensor.shape for name, tensor in net.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.shape != shapes.get(name, tensor.shape):
            raise ModelError("E317", path=path, name=name, expected=tuple(shapes[name]), found=tuple(tensor.shape))
    unexpected = sorted(set(tensors) - set(shapes))
    if unexpected:
        raise ModelError("E316", path=path, missing="–", unexpected=_few(unexpected))
    net.heads.load_state_dict(tensors, strict=False)


def listed_files(index: Path) -> list[str]:
    """The files of the folder that an index names; it may not name others."""
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, OSError) as error:
        raise ModelError("E312", path=index, problem=error) from None
    except (KeyError, TypeError, AttributeError):
        raise ModelError("E312", path=index, problem=_("{name} is missing").format(name="weight_map")) from None
    for name in names:
        # An index from somewhere else must not make us read from anywhere: ours are plain names beside it.
        if "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise ModelError("E312", path=index, problem=name)
    return names


def _gather(
    rules: list[Rule], names: Mapping[str, str], theirs: Mapping[str, Tensor], net: Network, folder: Path
) -> tuple[dict[str, Tensor], set[str]]:
    """Our state from their tensors, and which of their names were used."""
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    state, used, missing = {}, set(), []
    for rule in rules:
        if rule.ours in shapes or (net.config.is_tied and rule.ours == DECODER):
            used.update(rule.theirs)
        if rule.ours not in shapes:
            continue
        absent = [name for name in rule.theirs if name not in names]
        if absent and rule.missing is None:
            missing += absent
            continue
        parts = [rule.missing(net.config)] if absent and rule.missing else [theirs[names[name]] for name in rule.theirs]
        for name, part, shape in zip(rule.theirs, parts, their_shapes(net.config, rule, shapes[rule.ours]), strict=True):
            if part.shape != shape:
                raise ModelError("E317", path=folder, name=name, expected=shape, found=tuple(part.shape))
        # A copy of our own: a file that is mapped into memory may change or vanish under us.
        state[rule.ours] = to_ours(rule, parts).to(torch.float32).contiguous().clone()
    if missing:
        unexpected = sorted(set(names) - used)
        raise ModelError("E316", path=folder, missing=_few(missing), unexpected=_few(unexpected) or "–")
    return state, used


def _of_other_heads(family: Family, heads: tuple[str, ...]) -> set[str]:
    """Names of heads that the folder's class does not have: written by some tools, and no harm."""
    return {name for head, rules in family.heads.items() if head not in heads for rule in rules for name in rule.theirs}


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" (+{len(names) - 5})" if len(names) > 5 else "")


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
