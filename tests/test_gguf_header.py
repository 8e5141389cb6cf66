"""The header of a GGUF file against llama.cpp's own reader, and files that are damaged or lie."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.errors import DiptychError, MachineError, ModelError
from diptych.formats.gguf import read_gguf
from diptych.gguf_header import read_header
from diptych.text.gguf_vocabulary import read_vocabulary


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small GPT-2 in a GGUF file that the gguf package wrote, with a vocabulary in two languages."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    for add, number in (
        (writer.add_context_length, 8),
        (writer.add_embedding_length, 32),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 2),
    ):
        add(number)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", "b", "ab", "ä½ł", "<|end|>"])
    writer.add_token_types([1, 1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_bool("x.flag", True)
    writer.add_array("x.numbers", [1.5, 2.5])
    draw = np.random.default_rng(0)
    block = {"attn_norm": (32,), "attn_qkv": (96, 32), "attn_output": (32, 32), "ffn_norm": (32,), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (5, 32), "position_embd.weight": (8, 32), "output_norm.weight": (32,)}
    shapes["output_norm.bias"] = (32,)
    for name, shape in block.items():
        shapes |= {f"blk.0.{name}.weight": shape, f"blk.0.{name}.bias": shape[:1]}
    for name, shape in shapes.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if name.endswith("up.weight") else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(draw.normal(size=shape).astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def _load(path: Path) -> Any:
    header = read_header(path)
    return read_gguf(header), read_vocabulary(header.metadata, path)


def test_a_header_is_read_as_the_gguf_package_reads_it(tmp_path: Path, whole: bytes) -> None:
    path = _file(tmp_path, whole)
    ours, theirs = read_header(path), gguf.GGUFReader(path)
    for tensor in theirs.tensors:
        place = ours.tensors[tensor.name]
        assert (place.shape, place.kind) == (tuple(tensor.shape.tolist()[::-1]), tensor.tensor_type.name)
        assert ours.bytes_of(tensor.name).tobytes() == tensor.data.tobytes()
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            value = ours.metadata[key]
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents(), key


def test_the_network_and_the_vocabulary_in_it_work(tmp_path: Path, whole: bytes) -> None:
    net, tokenizer = _load(_file(tmp_path, whole))
    assert net.config.vocab_size == 5 and net.config.context_length == 8
    assert tokenizer.encode("abb") == [2, 1] and tokenizer.decode([2, 3, 4]) == "ab你"


@pytest.mark.parametrize(
    "data, code, words",
    [
        (b"", "E321", "model.gguf"),
        (b"PK\x03\x04", "E321", "PK"),
        ("你好，世界".encode(), "E321", "model.gguf"),
        (b"GGUF", "E323", "4 more bytes"),
        (b"GGUF" + struct.pack("<I", 1), "E322", "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), "E322", "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "E323", "entries cannot follow"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "E323", "entries cannot follow"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(100), "E323", "entries cannot follow"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99) + bytes(100), "E323", "kind of value 99"),
        # A list that promises 2^50 texts, and one of lists within lists.
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**50) + bytes(100), "E323", "entries cannot follow"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1) + bytes(100), "E323", "kind of value 9"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQQ", 3, 0, 1, 1, b"k", 9, 8, 1, 2**40) + bytes(100), "E323", "more bytes should follow"),
        # Tensors: too many dimensions, an unknown kind, sizes whose product is beyond every file, no size at all.
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"t", 77) + bytes(700), "E323", "77 dimensions"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 4, 999, 0) + bytes(100), "E324", "999"),
        (b"GGUF" + struct.pack("<IQQQ1sIQQIQ", 3, 1, 0, 1, b"t", 2, 2**63, 2**63, 0, 0) + bytes(100), "E323", "should reach to byte"),
        (b"GGUF" + struct.pack("<IQQQ1sIQQIQ", 3, 1, 0, 1, b"t", 2, 0, 2**63, 0, 0) + bytes(100), "E323", "rows of 0"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 31, 8, 0) + bytes(100), "E323", "blocks of 32"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 1, 0, 2**63) + bytes(100), "E323", "should reach to byte"),
    ],
)
def test_a_file_that_is_none_or_lies_is_refused_with_the_place(tmp_path: Path, data: bytes, code: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_header(_file(tmp_path, data))
    assert caught.value.code == code and words in str(caught.value)


def test_two_tensors_may_not_lie_on_one_another(tmp_path: Path) -> None:
    tensors = b"".join(struct.pack("<Q1sIQIQ", 1, name, 1, 64, 0, offset) for name, offset in ((b"s", 0), (b"t", 32)))
    with pytest.raises(ModelError) as caught:
        read_header(_file(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + tensors + bytes(4096)))
    assert caught.value.code == "E323" and "t lies on another" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        read_header(tmp_path / "没有.gguf")
    assert caught.value.code == "E904" and "没有.gguf" in str(caught.value)


@given(share=st.floats(0, 0.999))
def test_a_file_that_was_cut_short_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, whole: bytes, share: float) -> None:
    with pytest.raises(ModelError) as caught:
        _load(_file(tmp_path_factory.getbasetemp(), whole[: int(len(whole) * share)]))
    assert caught.value.code in ("E321", "E323")


@given(st.data())
def test_flipped_bytes_give_a_model_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    """Whatever a header says: no crash, no traceback, and nothing larger than the file promises."""
    damaged = bytearray(whole)
    header_end = whole.index(b"blk.0.ffn_down.bias") + 100
    for _flip in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, header_end))] = data.draw(st.sampled_from([0, 1, 2, 8, 9, 0x7F, 0x80, 0xFF]))
    try:
        net, _tokenizer = _load(_file(tmp_path_factory.getbasetemp(), bytes(damaged)))
    except DiptychError as error:
        assert str(error)
    else:
        assert sum(parameter.numel() for parameter in net.parameters()) < 100_000
