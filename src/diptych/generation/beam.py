"""Beam search: the best whole answers that a few candidates at a time can find (Sutskever et al. 2014; Wu et al. 2016).

At each step every candidate of a text is continued by its best tokens and the best of these go on. An answer that ends is put
aside with its log-probability over a penalty of its length, so that short answers do not win by being short. With one candidate
this is greedy decoding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.generation.decode import Cached, check_writes


@dataclass(frozen=True)
class Beam:
    """How to search.

    Raises:
        UsageError E601: a value that has no meaning.
    """

    width: int = 4
    """Candidates of each text that go on; 1 is greedy."""
    length_penalty: float = 0.6
    """The exponent of the penalty ((5 + length) / 6); larger prefers longer answers, 0 compares bare probabilities."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError("E601", name="beams", value=self.width, rule="1 <= beams")
        if not math.isfinite(self.length_penalty):
            raise UsageError("E601", name="length_penalty", value=self.length_penalty, rule="-inf < length_penalty < inf")

    def value(self, log_probability: float, length: int) -> float:
        """What answers are compared by: log P / ((5 + length) / 6) ** penalty (Wu et al. 2016, eq. 14)."""
        return log_probability / ((5 + length) / 6) ** self.length_penalty


@dataclass(frozen=True)
class Found:
    """An answer: its tokens without the one that ended it, and log P of all of them with that one."""

    tokens: tuple[int, ...]
    log_probability: float
    length: int
    """Tokens that were chosen, the end included."""

    @property
    def is_ended(self) -> bool:
        return self.length > len(self.tokens)


@dataclass
class _Search:
    """One text's candidates and answers."""

    limit: int
    least: int
    rows: list[tuple[tuple[int, ...], float]] = field(default_factory=lambda: [((), 0.0)])
    ended: list[Found] = field(default_factory=list)


def beam_search(
    net: Any,
    prompts: Sequence[Sequence[int]],
    beam: Beam,
    *,
    limits: Sequence[int],
    least: Sequence[int] | None = None,
    ends: frozenset[int] = frozenset(),
    sources: Sequence[Sequence[int]] | None = None,
) -> list[Found]:
    """The best answer to each prompt that the search finds; one that was cut at its limit only where none ended.

    Args:
        limits: how many tokens each answer may have, the end included; never more than the context has room for.
        least: how many tokens each has before it may end.
        ends: tokens that end an answer.
        sources: what an encoder-decoder writes each answer from.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    check_writes(net, prompts, sources)
    if not prompts:
        return []
    net.eval()
    room = [net.config.context_length - len(prompt) + 1 for prompt in prompts]
    searches = [
        _Search(max(1, min(limit, space)), 0 if least is None else least[number])
        for number, (limit, space) in enumerate(zip(limits, room, strict=True))
    ]
    chosen_sources = None if sources is None else list(sources)
    cached = Cached(net, [list(prompt) for prompt in prompts], chosen_sources, max(search.limit for search in searches))
    logits_RV, going = cached.first(), list(range(len(prompts)))
    for step in range(max(search.limit for search in searches)):
        origins, still = _step(logits_RV, [searches[number] for number in going], going, beam, ends, step)
        if not still:
            break
        cached.keep(origins)
        going = still
        logits_RV = cached.following([tokens[-1] for number in going for tokens, _log in searches[number].rows])
    return [_best(search, beam) for search in searches]


def _step(
    logits_RV: torch.Tensor, searches: list[_Search], numbers: list[int], beam: Beam, ends: frozenset[int], step: int
) -> tuple[list[int], list[int]]:
    """Continue every candidate; (the row that each one that goes on came from, the texts that go on)."""
    logits_RV = logits_RV.float()
    if ends:
        early = [row for row, search in enumerate(each for each in searches for _row in each.rows) if step < search.least]
        if early:
            logits_RV = logits_RV.clone()
            logits_RV[torch.tensor(early)[:, None], torch.tensor(sorted(ends))[None]] = -math.inf
    # Twice the width, so that as many go on as are wanted although some end.
    best = torch.log_softmax(logits_RV, dim=-1).topk(min(logits_RV.shape[-1], beam.width + max(len(ends), beam.width)), dim=-1)
    logs_RK, ids_RK = best.values.double().cpu().numpy(), best.indices.cpu().numpy()
    origins, still, first = [], [], 0
    for number, search in zip(numbers, searches, strict=True):
        rows, size = search.rows, len(search.rows)
        before_R = np.array([log for _tokens, log in rows])
        totals_RK = before_R[:, None] + logs_RK[first : first + size]
        search.rows, came_from = [], []
        order = np.argsort(-totals_RK, axis=None, kind="stable")
        for rank, place in enumerate(order.tolist()):
            row, column = divmod(place, totals_RK.shape[1])
            token, total = int(ids_RK[first + row, column]), float(totals_RK[row, column])
            if total == -math.inf or len(search.rows) == beam.width:
                break
            if token in ends:
                if rank < beam.width:
                    search.ended.append(Found(rows[row][0], total, step + 1))
            else:
                search.rows.append(((*rows[row][0], token), total))
                came_from.append(first + row)
        first += size
        if step + 1 < search.limit and len(search.ended) < beam.width and search.rows:
            origins += came_from
            still.append(number)
    return origins, still


def _best(search: _Search, beam: Beam) -> Found:
    cut = [Found(tokens, total, len(tokens)) for tokens, total in search.rows]
    return max(search.ended or cut, key=lambda each: beam.value(each.log_probability, each.length))
