"""The beginnings of texts that were read before: a system prompt is read once, not with every request.

A text is read in pieces of `PIECE` tokens, counted from its beginning, and never in others. So what is kept of a piece follows from
the tokens up to its end alone, and a text that finds it here goes on with the very bits that it would have computed itself.
What was written is not kept: it was read token by token, which may round otherwise.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from torch import Tensor

PIECE = 64
"""Tokens. A fuller pass is no faster on a processor, and others wait for a longer one."""


class Prefixes:
    """Keys and values of pieces, those that were not wanted for the longest time forgotten first.

    Attributes:
        bytes: what they take now.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def find(self, prompt: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """What is kept of the beginning of `prompt`, piece after piece; its last token is always left to be read."""
        found = []
        for name in names_of(prompt[: len(prompt) - 1]):
            if name not in self._kept:
                break
            self._kept.move_to_end(name)
            found.append(self._kept[name])
        return found

    def has(self, name: bytes) -> bool:
        return name in self._kept

    def keep(self, name: bytes, keys: Tensor, values: Tensor) -> None:
        """Keep a piece, and forget what there is no room for."""
        size = keys.numel() * keys.element_size() + values.numel() * values.element_size()
        if size > self.most_bytes or name in self._kept:
            return
        self._kept[name] = keys, values
        self.bytes += size
        while self.bytes > self.most_bytes:
            _name, (old_keys, old_values) = self._kept.popitem(last=False)
            self.bytes -= old_keys.numel() * old_keys.element_size() + old_values.numel() * old_values.element_size()


def names_of(prompt: Sequence[int]) -> list[bytes]:
    """A name for each whole piece, made of all tokens up to its end."""
    names, name = [], b""
    for start in range(0, len(prompt) - PIECE + 1, PIECE):
        tokens = np.asarray(prompt[start : start + PIECE], dtype=np.int64).tobytes()
        name = hashlib.blake2b(name + tokens, digest_size=16).digest()
        names.append(name)
    return names
