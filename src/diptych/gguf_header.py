"""The header of a GGUF file, llama.cpp's container: what a model is called, how large it is, and where its tensors lie.

A file from somewhere else may be cut short, damaged or made to deceive. So no number in it is believed before the file has
been found large enough for what it promises: nothing is allocated that the file does not hold, nothing is read behind its
end, and two tensors may not lie on one another. The layout is that of the GGUF specification, versions 2 and 3.
"""

import math
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import ModelError, of_system
from diptych.messages import _

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
STRING, ARRAY = 8, 9
SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
"""Kinds of values, by their numbers in the file."""


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in the file, and how it is kept there."""

    shape: tuple[int, ...]
    """As torch and numpy have it: the file names the fastest dimension first."""
    kind: str
    """"F32", "Q8_0" …"""
    start: int
    num_bytes: int


@dataclass(frozen=True)
class Header:
    """What stands before the tensors.

    Attributes:
        metadata: values by key; arrays of numbers as numpy arrays, arrays of texts as lists.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorPlace]

    def bytes_of(self, name: str) -> np.ndarray:
        """The bytes of a tensor, uint8 [num_bytes], a copy: a file may change while it is open."""
        place = self.tensors[name]
        return np.fromfile(self.path, dtype=np.uint8, count=place.num_bytes, offset=place.start)


def read_header(path: str | Path) -> Header:
    """The header of a GGUF file, checked.

    Raises:
        ModelError E321: no GGUF file. E322: a version or byte order that is not read. E323: cut short, damaged or lying.
        E324: a tensor is kept in a way that the gguf package does not know. MachineError E904: the file cannot be opened.
    """
    path = Path(path)
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise of_system(error, path) from None
    if data[:4].tobytes() != MAGIC:
        raise ModelError("E321", path=path, found=ascii(data[:4].tobytes().decode("latin-1")))
    cursor = _Cursor(path, data)
    version = cursor.number("<u4")
    if version not in VERSIONS:
        is_big_endian = version.to_bytes(4, "little")[::-1] in (v.to_bytes(4, "little") for v in VERSIONS)
        raise ModelError("E322", path=path, what=_("big-endian order") if is_big_endian else _("version {number}").format(number=version))
    num_tensors, num_values = cursor.count(24), cursor.count(13)
    metadata: dict[str, Any] = {}
    for _number in range(num_values):
        key = cursor.text()
        if key in metadata:
            raise cursor.damaged(_("{name} is there twice").format(name=key))
        metadata[key] = _value(cursor, cursor.number("<u4"))
    listed: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _number in range(num_tensors):
        name = cursor.text()
        if name in listed:
            raise cursor.damaged(_("{name} is there twice").format(name=name))
        num_dimensions = cursor.number("<u4")
        if num_dimensions > MOST_DIMENSIONS:
            raise cursor.damaged(_("{name} has {number} dimensions").format(name=name, number=num_dimensions))
        sizes = tuple(cursor.number("<u8") for _dimension in range(num_dimensions))
        listed[name] = sizes[::-1], cursor.number("<u4"), cursor.number("<u8")
    return Header(path, metadata, _placed(cursor, listed, metadata.get("general.alignment", 32)))


class _Cursor:
    """Reads on through a file and notices when it would read behind its end."""

    def __init__(self, path: Path, data: np.ndarray) -> None:
        self.path = path
        self.data = data
        self.at = len(MAGIC)

    def damaged(self, problem: str, at: int | None = None) -> ModelError:
        return ModelError("E323", path=self.path, place=self.at if at is None else at, problem=problem, size=len(self.data))

    def take(self, num_bytes: int) -> np.ndarray:
        """The next bytes, a view."""
        if num_bytes > len(self.data) - self.at:
            raise self.damaged(_("{number:,} more bytes should follow").format(number=num_bytes))
        start, self.at = self.at, self.at + num_bytes
        return self.data[start : self.at]

    def number(self, kind: str) -> Any:
        return self.take(np.dtype(kind).itemsize).view(kind)[0].item()

    def count(self, least_bytes: int) -> int:
        """How many things follow of which each takes at least so many bytes."""
        number = self.number("<u8")
        if number * least_bytes > len(self.data) - self.at:
            raise self.damaged(_("{number:,} entries cannot follow").format(number=number))
        return number

    def text(self) -> str:
        raw = self.take(self.count(1)).tobytes()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(_("this is no text: {bytes}").format(bytes=raw[:20])) from None

    def texts(self, number: int) -> list[str]:
        """Many texts, as fast as Python goes: a vocabulary has a hundred thousand."""
        raw, at, found = memoryview(self.data), self.at, []  # type: ignore[arg-type]
        try:
            for _number in range(number):
                (length,) = struct.unpack_from("<Q", raw, at)
                at += 8
                if length > len(raw) - at:
                    raise self.damaged(_("{number:,} more bytes should follow").format(number=length), at)
                found.append(str(raw[at : at + length], "utf-8"))
                at += length
        except (struct.error, UnicodeDecodeError) as error:
            raise self.damaged(str(error), at) from None
        self.at = at
        return found


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind == STRING:
        return cursor.text()
    if kind != ARRAY:
        raise cursor.damaged(_("there is no kind of value {number}").format(number=kind))
    inner = cursor.number("<u4")
    if inner == STRING:
        return cursor.texts(cursor.count(8))
    if inner not in SCALARS:
        raise cursor.damaged(_("there is no kind of value {number}").format(number=inner))
    width = np.dtype(SCALARS[inner]).itemsize
    return cursor.take(cursor.count(width) * width).view(SCALARS[inner]).copy()


def _placed(cursor: _Cursor, listed: dict[str, tuple[tuple[int, ...], int, int]], alignment: Any) -> dict[str, TensorPlace]:
    """The tensors with their places in the file, each within it and none on another."""
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.damaged(_("the alignment is {number}").format(number=alignment))
    first = -(-cursor.at // alignment) * alignment
    known, end, result = _kinds(), first, {}
    for name, (shape, number, offset) in sorted(listed.items(), key=lambda item: item[1][2]):
        if number not in known:
            raise ModelError("E324", path=cursor.path, name=name, kind=number)
        kind, block, block_bytes = known[number]
        row = shape[-1] if shape else 1
        if row % block or not all(shape):
            raise cursor.damaged(_("{name} has rows of {row} in blocks of {block}").format(name=name, row=row, block=block))
        num_bytes = math.prod(shape) // block * block_bytes
        start = first + offset
        if start < end:
            raise cursor.damaged(_("{name} lies on another tensor").format(name=name), start)
        end = start + num_bytes
        if end > len(cursor.data):
            raise cursor.damaged(_("{name} should reach to byte {end:,}").format(name=name, end=end), start)
        result[name] = TensorPlace(shape, kind, start, num_bytes)
    return result


@cache
def _kinds() -> dict[int, tuple[str, int, int]]:
    """Number -> (name, numbers in a block, bytes of a block) of every way in which a tensor can be kept."""
    from gguf import GGML_QUANT_SIZES

    return {kind.value: (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
