"""Texts that are being written, with what is kept of them, so that each token is read once.

Texts lie unpadded in a row while they are read, a long one in pieces; those that are equal, the several answers to one prompt,
are read as one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.generation.writing import Writing
from diptych.packed import Packed

PIECE_TOKENS = 2048
"""So many tokens are read at once: what a pass computes on the way is then no larger for a long prompt than for a short one."""
# Shapes: B texts, N tokens that are read, T tokens of a text, D hidden, V vocabulary.


def check_writes(net: Any, answers: Sequence[Writing]) -> None:
    """
    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    has_no_source = any(answer.source is None for answer in answers)
    if not net.config.writes or "lm" not in net.heads or (has_no_source and net.config.is_encoder_decoder):
        raise UsageError("E602", family=net.config.family)
    if not all(len(answer.prompt) for answer in answers):
        raise UsageError("E603")


def begin_of(length: int, begin: int, context_length: int) -> int:
    """Where the part of a text that is read begins: where it did, or at the last half of the context when it has outgrown that.

    It is kept for each text, so that one that outgrows the context does not cut the others short.
    """
    return begin if length - begin <= context_length else length - max(1, context_length // 2)


class Cached:
    """What is kept of some texts.

    Args:
        sources: what an encoder-decoder writes each from; None for a decoder alone.
        room: how many tokens may follow the longest, if the context has room for them.
    """

    def __init__(self, net: Any, texts: Sequence[Sequence[int]], sources: Sequence[Sequence[int] | None], room: int) -> None:
        self._net = net
        self._device = next(net.parameters()).device
        keys = [(tuple(text), None if source is None else tuple(source)) for text, source in zip(texts, sources, strict=True)]
        first = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self._rows = [first[key] for key in keys]
        self._texts = [text for text, _source in first]
        self._sources = [source for _text, source in first if source is not None]
        self.capacity = min(net.config.context_length, max(map(len, texts)) + room)
        self._cache = net.new_cache(len(first), self.capacity)

    @property
    def lengths(self) -> list[int]:
        """How many tokens of each text were read."""
        return self._cache.lengths

    @property
    def is_full(self) -> bool:
        return max(self.lengths) >= self.capacity

    @torch.inference_mode()
    def first(self) -> Tensor:
        """Read the texts; the logits after the last token of each, [B, V]."""
        last: dict[int, Tensor] = {}
        for row, hidden_TD, is_last in self._pieces():
            if is_last:
                last[row] = hidden_TD[-1]
        return self.logits(torch.stack([last[row] for row in range(len(self._texts))]))[self._spread()]

    @torch.inference_mode()
    def first_hidden(self) -> list[Tensor]:
        """Read the texts; the vectors of all tokens of each, [T, D]."""
        parts: list[list[Tensor]] = [[] for _text in self._texts]
        for row, hidden_TD, _is_last in self._pieces():
            parts[row].append(hidden_TD)
        return [torch.cat(parts[row]) for row in self._spread()]

    @torch.inference_mode()
    def read(self, pieces: Sequence[Sequence[int]]) -> Tensor:
        """Read some more tokens of each text; their vectors in a row, [N, D]."""
        return self._net.hidden(self._pack(pieces), self._cache)

    @torch.inference_mode()
    def logits(self, hidden_ND: Tensor) -> Tensor:
        return self._net.heads["lm"](hidden_ND)

    def following(self, tokens: Sequence[int]) -> Tensor:
        """Read one more token of each text; the logits after it, [B, V]."""
        return self.logits(self.read([[token] for token in tokens]))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; one may be kept several times."""
        if list(rows) != list(range(len(self.lengths))):
            self._cache.keep(torch.tensor(rows, device=self._device))

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget what was read of each text beyond so many tokens."""
        self._cache.rewind(lengths)

    def _spread(self) -> list[int]:
        """A row for each text, where equal ones were read as one."""
        self.keep(self._rows)
        return self._rows

    def _pieces(self) -> Iterator[tuple[int, Tensor, bool]]:
        """Read the texts piece by piece: (number of the text, vectors of a piece of it [T, D], whether it is the last)."""
        size = max(1, PIECE_TOKENS // len(self._texts))
        # An encoder reads a source in both directions, as its own config says.
        source = self._pack(self._sources, is_causal=None) if self._sources else None
        for start in range(0, max(map(len, self._texts)), size):
            texts = self._pack([text[start : start + size] for text in self._texts], source)
            parts = self._net.hidden(texts, self._cache).split(list(texts.lengths))
            for row, (text, hidden_TD) in enumerate(zip(self._texts, parts, strict=True)):
                if len(hidden_TD):
                    yield row, hidden_TD, len(text) <= start + size

    def _pack(self, texts: Sequence[Sequence[int]], source: Packed | None = None, *, is_causal: bool | None = True) -> Packed:
        ids = torch.tensor([token for text in texts for token in text], device=self._device)
        return Packed(ids, tuple(map(len, texts)), is_causal=is_causal, source=source)
