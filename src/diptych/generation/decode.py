"""The decoding loop: several answers at once, each as if it were alone.

Texts lie unpadded in a row while they are read, a long one in pieces, and one token each after that; the cache keeps keys
and values by text. An answer that would outgrow the context goes on from the last half of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from diptych.errors import UsageError
from diptych.generation.sampling import Sampling
from diptych.packed import Packed

PIECE_TOKENS = 2048
"""So many tokens are read at once: what a pass computes on the way is then no larger for a long prompt than for a short one."""


def decode(
    net: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    max_new_tokens: int,
    ends: frozenset[int] = frozenset(),
    sources: Sequence[Sequence[int]] | None = None,
) -> Iterator[list[int | None]]:
    """Write on from each prompt: at each step the next token of every answer, None for those that have ended.

    Args:
        prompts: token ids, at least one each.
        ends: tokens that end an answer; they are not part of it.
        sources: what an encoder-decoder writes each answer from.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    check_writes(net, prompts, sources)
    if not prompts:
        return
    net.eval()
    texts = [list(prompt) for prompt in prompts]
    begins = [0] * len(texts)
    going = list(range(len(texts)))
    state: Cached | None = None
    for position in range(max_new_tokens):
        if state is None or state.is_full:
            for number in going:
                begins[number] = _begin(len(texts[number]), begins[number], net.config.context_length)
            chosen_sources = None if sources is None else [sources[number] for number in going]
            state = Cached(net, [texts[number][begins[number] :] for number in going], chosen_sources, max_new_tokens - position)
            logits_BV = state.first()
        else:
            logits_BV = state.following([texts[number][-1] for number in going])
        chosen = sampling.choose(logits_BV, going, position).tolist()
        step: list[int | None] = [None] * len(texts)
        still, rows = [], []
        for row, (number, token) in enumerate(zip(going, chosen, strict=True)):
            if token in ends:
                continue
            step[number] = token
            texts[number].append(token)
            still.append(number)
            rows.append(row)
        if not still:
            return
        if len(still) < len(going):
            state.keep(rows)
        going = still
        yield step


def check_writes(net: Any, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
    """
    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    if not net.config.writes or "lm" not in net.heads or (sources is None and net.config.is_encoder_decoder):
        raise UsageError("E602", family=net.config.family)
    if not all(len(prompt) for prompt in prompts):
        raise UsageError("E603")


class Cached:
    """Texts that are being written, with what is kept of them; the loop here and `beam.py` go on from it."""

    def __init__(self, net: Any, texts: list[list[int]], sources: list[Sequence[int]] | None, room: int) -> None:
        self._net = net
        self._sources = sources
        self._device = next(net.parameters()).device
        self._texts = texts
        longest = max(map(len, texts))
        self._capacity = min(net.config.context_length, longest + room)
        self._cache = net.new_cache(len(texts), self._capacity)
        self._longest = longest

    @property
    def is_full(self) -> bool:
        return self._longest >= self._capacity

    @torch.inference_mode()
    def first(self) -> torch.Tensor:
        """Read the texts, piece by piece; the logits after the last token of each, [B, V]."""
        size = max(1, PIECE_TOKENS // len(self._texts))
        # An encoder reads a source in both directions, as its own config says.
        source = None if self._sources is None else self._pack(self._sources, is_causal=None)
        last: dict[int, torch.Tensor] = {}
        for start in range(0, self._longest, size):
            texts = self._pack([text[start : start + size] for text in self._texts], source)
            hidden_ND = self._net.hidden(texts, self._cache)
            for row, text in enumerate(self._texts):
                if start < len(text) <= start + size:
                    last[row] = hidden_ND[sum(texts.lengths[: row + 1]) - 1]
        return self._net.heads["lm"](torch.stack([last[row] for row in range(len(self._texts))]))

    @torch.inference_mode()
    def following(self, tokens: list[int]) -> torch.Tensor:
        """Read one more token of each text; the logits after it, [B, V]."""
        self._longest += 1
        return self._net.heads["lm"](self._net.hidden(self._pack([[token] for token in tokens]), self._cache))

    def _pack(self, texts: Sequence[Sequence[int]], source: Packed | None = None, *, is_causal: bool | None = True) -> Packed:
        ids = torch.tensor([token for text in texts for token in text], device=self._device)
        return Packed(ids, tuple(map(len, texts)), is_causal=is_causal, source=source)

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        self._cache.keep(torch.tensor(rows, device=self._device))
        lengths = self._cache.lengths
        self._longest = int(max(lengths))


def _begin(length: int, begin: int, context_length: int) -> int:
    """Where the part of a text that is read begins: where it did, or at the last half of the context when it has outgrown that.

    It is kept for each text, so that one that outgrows the context does not cut the others short.
    """
    return begin if length - begin <= context_length else length - max(1, context_length // 2)
