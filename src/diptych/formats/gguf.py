"""GGUF, llama.cpp's container, as one more place where Hugging Face's tensors are kept.

A GGUF file has the same tensors as a Hugging Face folder under shorter names. So a family's rules serve here too: the gguf
package knows which name is which and how a tensor is quantized, `_SIZES` which key is which field of ours, and two
differences are arithmetic. Linear layers lie the usual way round where GPT-2's folder transposes them, and Llama's queries
and keys are ordered for rotary positions in neighbouring pairs, not in halves.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.config import nearest
from diptych.errors import ModelError
from diptych.formats.folder import assemble
from diptych.gguf_header import Header
from diptych.messages import _
from diptych.models.config import ModelConfig
from diptych.models.families import FAMILIES
from diptych.models.families.family import Family, Rule, to_theirs
from diptych.models.transformer import Network

if TYPE_CHECKING:
    from gguf import TensorNameMap

Precision = Literal["f32", "f16", "q8_0"]
LARGEST_SIZE = 2**18
"""Of any size but the context: more is a lie, and the product of three still a number."""
LONGEST_CONTEXT = 2**24
_SIZES = {
    "context_length": "context_length",
    "embedding_length": "hidden_size",
    "block_count": "num_layers",
    "feed_forward_length": "feed_forward_size",
    "attention.head_count": "num_heads",
}
_LLAMA = {
    **_SIZES,
    "attention.layer_norm_rms_epsilon": "norm_eps",
    "attention.head_count_kv": "num_kv_heads",
    "attention.key_length": "head_size",
    "rope.freq_base": "rope_theta",
}
_CLASSIC = {**_SIZES, "attention.layer_norm_epsilon": "norm_eps"}
_FIELDS = {"llama": _LLAMA, "qwen3": _LLAMA, "gpt2": _CLASSIC, "bert": _CLASSIC}
"""By family: a key of the header -> our field."""
_OPTIONAL = ("num_kv_heads", "head_size", "rope_theta")
_CLASSES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "gpt2": "GPT2LMHeadModel", "bert": "BertModel"}
_ACTIVATIONS = {"llama": ("silu",), "qwen3": ("silu",), "gpt2": ("gelu_tanh", "gelu"), "bert": ("gelu", "gelu_tanh")}
"""What llama.cpp computes; it takes the two ways to compute GELU, a few ten-thousandths apart, for one."""
_MEAN_POOLING = 1


def read_gguf(header: Header) -> Network:
    """The network in a GGUF file, in float32; one tensor at a time is decoded.

    Raises:
        ModelError E304: it asks for arithmetic that we do not have. E312: a size is missing or impossible. E313: an unknown
        architecture. E316: tensors are missing or unexpected. E317: a wrong shape. E324: a tensor that cannot be decoded.
    """
    name = str(header.metadata.get("general.architecture", ""))
    if name not in _FIELDS:
        raise ModelError("E313", path=header.path, name=name or "?", hint=nearest(name, _FIELDS))
    family, config = FAMILIES[name], _config(header, name)
    return assemble({"architectures": [_CLASSES[name]]}, family, config, _Tensors(header, config), header.path)


def write_gguf(net: Network, metadata: Mapping[str, Any], path: Path, precision: Precision) -> list[str]:
    """Write a network as GGUF, so that llama.cpp opens it; its tokenizer comes as `metadata`.

    A file has no place for dense heads: the language head of a decoder and the vectors of an encoder are what is kept.
    Matrices are kept in `precision`, where their rows fall into blocks of 32; norms, biases and positions in float32.

    Returns:
        The heads that were left out.

    Raises:
        ModelError E327: llama.cpp computes no such network.
    """
    import gguf

    config, family = net.config, FAMILIES[net.config.family]
    _refuse_others(net)
    writer = gguf.GGUFWriter(path, config.family)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if precision == "f32" else f"MOSTLY_{precision.upper()}"])
    for key, value in {**_sizes(config), **metadata}.items():
        _add(writer, key, value)
    if not config.is_causal:
        writer.add_token_type_count(max(1, config.num_token_types))
    names, ours = _name_map(config), net.state_dict()
    for rule in family.rules(config, _heads(family)):
        if rule.ours in ours:
            for theirs, tensor in to_theirs(config, rule, ours[rule.ours].detach().cpu().float()).items():
                name = _name_there(names, theirs)
                turned = _turned(config, rule, theirs, tensor, back=False).contiguous()
                kind = _kind(name, turned, precision)
                writer.add_tensor(name, gguf.quantize(turned.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [head for head in net.heads if head not in _heads(family)]


class _Tensors(Mapping[str, Tensor]):
    """The tensors of a file under Hugging Face's names, decoded when they are asked for."""

    def __init__(self, header: Header, config: ModelConfig) -> None:
        self._header = header
        self._config = config
        family, names = FAMILIES[config.family], _name_map(config)
        rules = family.rules(config, _heads(family))
        known = {_name_there(names, theirs): (theirs, rule) for rule in rules for theirs in rule.theirs}
        self._places: dict[str, tuple[str, Rule | None]] = {}
        for name in header.tensors:
            # A tensor that no rule knows keeps its name, and is refused by it.
            theirs, rule = known.get(name, (name, None))
            self._places[theirs] = name, rule

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, theirs: str) -> Tensor:
        import gguf

        name, rule = self._places[theirs]
        place = self._header.tensors[name]
        raw = self._header.bytes_of(name).reshape(*place.shape[:-1], -1)
        try:
            values = gguf.dequantize(raw, gguf.GGMLQuantizationType[place.kind])
        except NotImplementedError:
            raise ModelError("E324", path=self._header.path, name=name, kind=place.kind) from None
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return tensor if rule is None else _turned(self._config, rule, theirs, tensor, back=True)


def _config(header: Header, family: str) -> ModelConfig:
    """The shape that a header tells of, no size of it larger than a shape can be."""
    embedding, types = header.tensors.get("token_embd.weight"), header.tensors.get("token_types.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelError("E316", path=header.path, missing="token_embd.weight", unexpected="–")
    fields: dict[str, Any] = {"vocab_size": embedding.shape[0], "is_tied": "output.weight" not in header.tensors}
    for key, field in _FIELDS[family].items():
        value = header.metadata.get(f"{family}.{key}")
        if value is None and field in _OPTIONAL:
            continue
        limit = LONGEST_CONTEXT if field == "context_length" else len(header.tensors) if field == "num_layers" else LARGEST_SIZE
        is_real = field in ("norm_eps", "rope_theta")
        if not (isinstance(value, float) and 0 < value < float("inf") if is_real else isinstance(value, int) and 0 < value <= limit):
            raise ModelError("E312", path=header.path, problem=f"{family}.{key} = {value}")
        fields[field] = value
    if family == "bert":
        fields["num_token_types"] = types.shape[0] if types and types.shape else 0
    if _FIELDS[family] is _LLAMA:
        fields["has_attention_bias"] = "blk.0.attn_q.bias" in header.tensors
        fields["has_feed_forward_bias"] = "blk.0.ffn_up.bias" in header.tensors
        fields["rope_scaling"] = _rope_scaling(header, family)
    return FAMILIES[family].shape(**fields)


def _rope_scaling(header: Header, family: str) -> tuple[tuple[str, float | str], ...]:
    kind, factor = (header.metadata.get(f"{family}.rope.scaling.{name}") for name in ("type", "factor"))
    if "rope_freqs.weight" in header.tensors:
        raise ModelError("E304", feature="rope_freqs.weight", family=family)
    if kind is None or str(kind) == "none":
        return ()
    if str(kind) != "linear" or not isinstance(factor, float) or not factor > 0:
        raise ModelError("E304", feature=f"rope.scaling.type = {kind}", family=family)
    return ("rope_type", "linear"), ("factor", factor)


def _sizes(config: ModelConfig) -> dict[str, Any]:
    """Key -> value of everything that llama.cpp must know of the shape."""
    sizes = {key: getattr(config, field) for key, field in _FIELDS[config.family].items()}
    if config.positions == "rotary":
        sizes |= {"attention.value_length": config.head_size, "rope.dimension_count": config.head_size}
    if config.rope_scaling:
        sizes |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(dict(config.rope_scaling)["factor"])}
    if not config.is_causal:
        sizes |= {"attention.causal": False, "pooling_type": _MEAN_POOLING}
    return {f"{config.family}.{key}": value for key, value in sizes.items()} | {f"{config.family}.vocab_size": config.vocab_size}


def _refuse_others(net: Network) -> None:
    """Refuse what llama.cpp would compute otherwise."""
    config = net.config
    problem = None
    if config.family not in _FIELDS:
        problem = _("llama.cpp does not know the family")
    elif config.is_causal and "lm" not in net.heads:
        problem = _("it has no language head")
    elif config.activation not in _ACTIVATIONS[config.family]:
        problem = f"activation = {config.activation}"
    elif config.window:
        problem = f"window = {config.window}"
    elif config.rope_scaling and dict(config.rope_scaling)["rope_type"] != "linear":
        problem = f"rope_scaling = {dict(config.rope_scaling)}"
    if problem:
        raise ModelError("E327", family=config.family, problem=problem)


def _heads(family: Family) -> tuple[str, ...]:
    """The heads for which a file has a place."""
    return family.architectures[_CLASSES[family.name]]


def _turned(config: ModelConfig, rule: Rule, theirs: str, tensor: Tensor, *, back: bool) -> Tensor:
    """A tensor as it lies in the file, from how it lies in a folder, or `back`."""
    if rule.is_transposed and tensor.dim() == 2:
        return tensor.T
    if config.family == "llama" and rule.ours.rpartition(".")[0].endswith("attention.qkv") and ".v_proj." not in theirs:
        # Rows of a head: pairs of neighbours there, first halves before second halves here.
        heads = config.num_heads if ".q_proj." in theirs else config.num_kv_heads
        pairs = (heads, -1, 2) if back else (heads, 2, tensor.shape[0] // heads // 2)
        return tensor.reshape(*pairs, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
    return tensor


def _kind(name: str, tensor: Tensor, precision: Precision) -> Any:
    """How llama.cpp expects a tensor to be kept: it adds positions and types as float32."""
    from gguf import GGMLQuantizationType as Kind

    if tensor.dim() < 2 or precision == "f32" or name in ("position_embd.weight", "token_types.weight"):
        return Kind.F32
    return Kind.Q8_0 if precision == "q8_0" and tensor.shape[-1] % 32 == 0 else Kind.F16


def _name_map(config: ModelConfig) -> "TensorNameMap":
    import gguf

    family = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == config.family)
    return gguf.get_tensor_name_map(family, config.num_layers)


def _name_there(names: "TensorNameMap", theirs: str) -> str:
    """The file's name of a tensor; a name of its own that no file has, where the family's files have no such tensor."""
    return names.get_name(theirs.removeprefix("bert."), (".weight", ".bias")) or f"?{theirs}"


def _add(writer: Any, key: str, value: Any) -> None:
    """Put a value into the header, in the kind that llama.cpp expects of it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
