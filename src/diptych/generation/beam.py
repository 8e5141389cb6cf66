"""Beam search: the best whole answers that a few candidates at a time can find (Sutskever et al. 2014; Wu et al. 2016).

At each step every candidate of a text is continued by its best tokens and the best of these go on. An answer that ends is put
aside with its log-probability over a penalty of its length, so that short answers do not win by being short. With one candidate
this is greedy decoding.

The candidates of one search are mostly one answer with another last word. With several groups (diverse beam search, Vijayakumar et
al. 2016) each group looks at what those before it chose at the same step, and takes a little off it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.generation.cached import Cached, check_writes
from diptych.generation.writing import Writing


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
    groups: int = 1
    """Into so many the candidates are parted; the width is a multiple of it."""
    diversity: float = 0.5
    """What a token loses, in nats, for each candidate of an earlier group that chose it at the same step."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError("E601", name="beams", value=self.width, rule="1 <= beams")
        if self.groups < 1 or self.width % self.groups:
            raise UsageError("E601", name="beam_groups", value=self.groups, rule="beams % beam_groups == 0")
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
    """One group's candidates and answers for one text."""

    owner: int
    """The number of its text."""
    limit: int
    least: int
    rows: list[tuple[tuple[int, ...], float]] = field(default_factory=lambda: [((), 0.0)])
    ended: list[Found] = field(default_factory=list)

    def best(self, beam: Beam) -> list[Found]:
        """Its answers, the best first; those that were cut come after those that ended."""
        cut = [Found(tokens, total, len(tokens)) for tokens, total in self.rows]
        return sorted([*self.ended, *cut], key=lambda each: (not each.is_ended, -beam.value(each.log_probability, each.length)))


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

    Args and errors are those of `beam_answers`.
    """
    found = beam_answers(net, prompts, beam, limits=limits, least=least, ends=ends, sources=sources)
    return [answers[0] for answers in found]


def beam_answers(
    net: Any,
    prompts: Sequence[Sequence[int]],
    beam: Beam,
    *,
    limits: Sequence[int],
    least: Sequence[int] | None = None,
    ends: frozenset[int] = frozenset(),
    sources: Sequence[Sequence[int]] | None = None,
) -> list[list[Found]]:
    """What the search finds for each prompt, the best first; of several groups the best of each, then the second best of each.

    Args:
        limits: how many tokens each answer may have, the end included; never more than the context has room for.
        least: how many tokens each has before it may end.
        ends: tokens that end an answer.
        sources: what an encoder-decoder writes each answer from.

    Raises:
        UsageError E602: this model does not write. E603: a prompt is empty.
    """
    own_sources = [None] * len(prompts) if sources is None else list(sources)
    check_writes(net, [Writing(prompt, source) for prompt, source in zip(prompts, own_sources, strict=True)])
    if not prompts:
        return []
    net.eval()
    rooms = [net.config.context_length - len(prompt) + 1 for prompt in prompts]
    owners = [number for number in range(len(prompts)) for _group in range(beam.groups)]
    searches = [_Search(number, max(1, min(limits[number], rooms[number])), least[number] if least else 0) for number in owners]
    longest = max(search.limit for search in searches)
    cached = Cached(net, [prompts[number] for number in owners], [own_sources[number] for number in owners], longest)
    logits_RV, going = cached.first(), searches
    for step in range(longest):
        origins, going = _step(logits_RV, going, beam, ends, step)
        if not going:
            break
        cached.keep(origins)
        logits_RV = cached.following([tokens[-1] for search in going for tokens, _log in search.rows])
    found: list[list[list[Found]]] = [[] for _prompt in prompts]
    for search in searches:
        found[search.owner].append(search.best(beam))
    return [[each for rank in zip_longest(*groups) for each in rank if each is not None] for groups in found]


def _step(logits_RV: torch.Tensor, searches: list[_Search], beam: Beam, ends: frozenset[int], step: int) -> tuple[list[int], list[_Search]]:
    """Continue every candidate; (the row that each one that goes on came from, the searches that go on)."""
    logits_RV = logits_RV.float()
    if ends:
        early = [row for row, search in enumerate(each for each in searches for _row in each.rows) if step < search.least]
        if early:
            logits_RV = logits_RV.clone()
            logits_RV[torch.tensor(early)[:, None], torch.tensor(sorted(ends))[None]] = -math.inf
    width = beam.width // beam.groups
    # Twice the width, so that as many go on as are wanted although some end; and as many more as other groups may have taken.
    count = width + max(len(ends), width) + (beam.width if beam.groups > 1 else 0)
    best = torch.log_softmax(logits_RV, dim=-1).topk(min(logits_RV.shape[-1], count), dim=-1)
    logs_RK, ids_RK = best.values.double().cpu().numpy(), best.indices.cpu().numpy()
    chosen: dict[int, Counter[int]] = defaultdict(Counter)
    origins, still, first = [], [], 0
    for search in searches:
        rows, taken = search.rows, chosen[search.owner]
        here = slice(first, first + len(rows))
        totals_RK = np.array([log for _tokens, log in rows])[:, None] + logs_RK[here]
        # What other groups took decides what goes on, and is no part of an answer's probability.
        values_RK = totals_RK - beam.diversity * np.vectorize(taken.__getitem__, otypes=[float])(ids_RK[here]) if taken else totals_RK
        search.rows, came_from = [], []
        for rank, place in enumerate(np.argsort(-values_RK, axis=None, kind="stable").tolist()):
            row, column = divmod(place, totals_RK.shape[1])
            token, total = int(ids_RK[first + row, column]), float(totals_RK[row, column])
            if total == -math.inf or len(search.rows) == width:
                break
            if token in ends:
                if rank < width:
                    search.ended.append(Found(rows[row][0], total, step + 1))
            else:
                search.rows.append(((*rows[row][0], token), total))
                came_from.append(first + row)
        if beam.groups > 1:
            taken.update(tokens[-1] for tokens, _log in search.rows)
        first += len(rows)
        if step + 1 < search.limit and len(search.ended) < width and search.rows:
            origins += came_from
            still.append(search)
    return origins, still
