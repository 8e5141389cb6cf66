"""Rescoring: which of the texts that a recognizer or a translator offers is the likeliest one, for a language model as well.

A hypothesis has the score of whoever made it, the log-probability of a language model, and its length, which both of them shorten:

    total = score + weight · log p(text) + bonus · length

Weight and bonus are what makes the fewest errors on lists whose right text is known. Along one of them the number of errors is a
staircase, so its lowest step is found exactly (Och 2003, section 5), one after the other until neither brings anything.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from diptych import runtime
from diptych.errors import UsageError
from diptych.evaluation.evaluate import System
from diptych.evaluation.intervals import Score, Scores
from diptych.evaluation.likelihood import text_nats
from diptych.evaluation.word_errors import distance, error_counts, units
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.running import load_model
from diptych.text.tables import Row, name_of, read_table
from diptych.text.words import language_of

TEXTS = ("hypotheses", "nbest", "candidates", "texts", "候选")
SCORES = ("scores", "logprobs", "log_probs")
REFERENCES = ("reference", "ref", "gold", "target", "transcript", "参考", "原文")
ROUNDS = 4
"""Weight and bonus are looked for in turn so often; more changes nothing."""


@dataclass(frozen=True)
class NBest:
    """What was offered for one utterance or source, the best first as whoever made it thinks."""

    texts: tuple[str, ...]
    scores: np.ndarray
    reference: str | None
    where: str


@dataclass(frozen=True)
class Mixture:
    """How much the language model and the length count."""

    weight: float
    bonus: float = 0.0

    def best(self, scores: np.ndarray, log_chances: np.ndarray, lengths: np.ndarray) -> int:
        """The number of the best hypothesis; of equal ones the first."""
        return int(np.argmax(scores + self.weight * log_chances + self.bonus * lengths))


@dataclass
class Rescored:
    """The best text of each list, and what that was worth."""

    texts: list[str]
    mixtures: list[Mixture]
    """One, or one for each half of the lists where each half was rescored with what was chosen on the other."""
    systems: list[System] = field(default_factory=list)
    """Error rates of the first hypotheses, of those chosen, and of the best there were; empty without references."""
    difference: Score | None = None
    """The errors of the first hypotheses less those of the chosen ones, with the interval of the paired difference."""
    ledger: Ledger = field(default_factory=Ledger)

    def verdict(self) -> str:
        """What rescoring was worth, in one sentence."""
        if self.difference is None:
            return _("No list has a reference: nothing can be said of what rescoring is worth.")
        gap = self.difference
        values = {"gap": 100 * abs(gap.value), "low": 100 * gap.low, "high": 100 * gap.high, "n": gap.n}
        if gap.has_interval and gap.low > 0:
            return _("Rescoring saves {gap:.2f} errors of 100 ({low:+.2f} to {high:+.2f}, n = {n:,}).").format(**values)
        if gap.has_interval and gap.high < 0:
            return _("Rescoring costs {gap:.2f} errors of 100 ({low:+.2f} to {high:+.2f}, n = {n:,}).").format(**values)
        return _("No difference to the first hypotheses can be claimed ({low:+.2f} to {high:+.2f} errors of 100, n = {n:,}).").format(
            **values
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "mixtures": [{"weight": each.weight, "bonus": each.bonus} for each in self.mixtures],
            "scores": {system.name: system.scores.to_json() for system in self.systems},
            "difference": None if self.difference is None else Scores([self.difference]).to_json()["difference"],
            "verdict": self.verdict(),
        }


def rescore(
    model: Model | str | Path, lists: Any, *, dev: Any = None, weight: float | None = None, bonus: float = 0.0, ledger: Ledger | None = None
) -> Rescored:
    """Choose among the hypotheses of each list.

    Args:
        model: a language model; one that fills blanks is asked for each token from the others.
        lists: JSON lines, or a list of dictionaries: {"hypotheses": [{"text": …, "score": …}, …], "reference": …}, the scores natural
            logarithms, the reference where it is known; or hypotheses and scores as two lists.
        dev: lists with references to choose weight and bonus on. None chooses on half of `lists` what the other half is rescored with,
            and the other way round, so that no list has a part in what it is judged by.
        weight, bonus: as they are to be; nothing is chosen then.

    Raises:
        UsageError E606: the model has no use for this. E626: a row is no list of hypotheses. E627: nothing has a reference, and no
        weight was given.
    """
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    ledger = ledger if ledger is not None else Ledger()
    rows = read_lists(lists, ledger)
    asked = [_Asked.of(row, found, ledger) for row in rows]
    known = [each for each in asked if each.row.reference is not None]
    is_chinese = _is_chinese([each.row.reference or "" for each in known] or [row.texts[0] for row in rows])
    for each in asked:
        each.count(is_chinese=is_chinese)
    if weight is not None:
        mixtures = [Mixture(weight, bonus)]
    elif dev is not None:
        others = [_Asked.of(row, found, ledger) for row in read_lists(dev, ledger) if row.reference is not None]
        for each in others:
            each.count(is_chinese=is_chinese)
        if not others:
            raise UsageError("E627")
        mixtures = [choose(others)]
    else:
        if len(known) < 2:
            raise UsageError("E627")
        mixtures = [choose(known[1::2]), choose(known[::2])]
    # The first half is rescored with what was chosen on the second. A list without a reference had no part in either.
    half = {id(each): number % 2 for number, each in enumerate(known)}
    chosen = [each.best(mixtures[half.get(id(each), 0) % len(mixtures)]) for each in asked]
    texts = [each.row.texts[number] for each, number in zip(asked, chosen, strict=True)]
    result = Rescored(texts, mixtures, ledger=ledger)
    if known:
        picks = {id(each): number for each, number in zip(asked, chosen, strict=True)}
        _judge(result, known, [picks[id(each)] for each in known], is_chinese=is_chinese)
    return result


def read_lists(source: Any, ledger: Ledger) -> list[NBest]:
    """The lists of a file or of a table in memory.

    Raises:
        UsageError E626: a row is no list of hypotheses.
    """
    found = [_list_of(row) for row in read_table(source, ledger)]
    if not found:
        raise UsageError("E626", where=name_of(source), found="–")
    ledger.add("rescoring", "lists read", len(found))
    ledger.add("rescoring", "hypotheses read", sum(len(each.texts) for each in found))
    return found


@dataclass
class _Asked:
    """A list, and what the language model says of it."""

    row: NBest
    log_chances: np.ndarray
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0))
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, row: NBest, model: Model, ledger: Ledger) -> "_Asked":
        nats = text_nats(model.net, model.tokenizer, row.texts)
        if np.isnan(nats).any():
            # What cannot be compared is not: the list stays in its order.
            ledger.add("rescoring", "lists left as they were: a hypothesis is longer than the context", where=row.where)
            nats = np.zeros(len(nats))
        return cls(row, -nats)

    def count(self, *, is_chinese: bool) -> None:
        """How long each hypothesis is, and how many errors it has."""
        parts = [units(text, is_chinese=is_chinese) for text in self.row.texts]
        self.lengths = np.array([len(part) for part in parts], dtype=float)
        if self.row.reference is not None:
            gold = units(self.row.reference, is_chinese=is_chinese)
            self.errors = np.array([distance(part, gold) for part in parts])

    def best(self, mixture: Mixture) -> int:
        return mixture.best(self.row.scores, self.log_chances, self.lengths)


def choose(lists: Sequence[_Asked]) -> Mixture:
    """The weight and the bonus that leave the fewest errors in some lists."""
    mixture = Mixture(0.0)
    for _round in range(ROUNDS):
        before = mixture
        for name in ("weight", "bonus"):
            parts = []
            for each in lists:
                slope = each.log_chances if name == "weight" else each.lengths
                fixed = each.row.scores + (mixture.bonus * each.lengths if name == "weight" else mixture.weight * each.log_chances)
                parts.append((fixed, slope, each.errors))
            # A language model that counts against a text is no language model; a bonus may well be a malus.
            value = lowest_step(parts, least=0.0 if name == "weight" else -math.inf, now=getattr(mixture, name))
            mixture = Mixture(value, mixture.bonus) if name == "weight" else Mixture(mixture.weight, value)
        if mixture == before:
            break
    return mixture


def lowest_step(lists: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], *, least: float = -math.inf, now: float = 0.0) -> float:
    """The x at which the hypotheses with the largest `fixed + x · slope` have the fewest errors together.

    Between the places where the best of some list changes nothing changes, so one x between each two of them is enough: the middle,
    or one beyond the last. `now` stays where nothing is better.

    Args:
        lists: (fixed, slope, errors) of each list's hypotheses.
    """
    changes: list[tuple[float, int]] = []
    total = 0
    for fixed, slope, errors in lists:
        envelope = upper_envelope(fixed, slope)
        total += int(errors[envelope[0][1]])
        changes += [(x, int(errors[now_best] - errors[was])) for (_x, was), (x, now_best) in pairwise(envelope)]
    changes.sort()
    edges = [-math.inf, *(x for x, _change in changes), math.inf]
    counts = np.cumsum([total, *(change for _x, change in changes)])
    # Asked, and not read off the stairs: `now` may lie on an edge.
    best, value = sum(int(errors[int(np.argmax(fixed + now * slope))]) for fixed, slope, errors in lists), now
    for number, count in enumerate(counts.tolist()):
        low, high = max(edges[number], least), edges[number + 1]
        if count < best and high > low:
            best, value = count, _between(low, high)
    return value


def upper_envelope(fixed: np.ndarray, slope: np.ndarray) -> list[tuple[float, int]]:
    """(from which x on, which line) is the highest of `fixed + x · slope`, from left to right; the first begins at -infinity."""
    order = np.lexsort((np.arange(len(fixed))[::-1], fixed, slope))
    hull: list[tuple[float, int]] = []
    for line in order.tolist():
        if hull and slope[line] == slope[hull[-1][1]]:
            hull.pop()
        while hull:
            start, top = hull[-1]
            x = (fixed[top] - fixed[line]) / (slope[line] - slope[top])
            if x > start:
                break
            hull.pop()
        start = -math.inf if not hull else (fixed[hull[-1][1]] - fixed[line]) / (slope[line] - slope[hull[-1][1]])
        hull.append((float(start), line))
    return hull


def _between(low: float, high: float) -> float:
    if math.isinf(low):
        return high - 1.0 if math.isfinite(high) else 0.0
    return low + 1.0 if math.isinf(high) else (low + high) / 2


def _judge(result: Rescored, known: Sequence[_Asked], chosen: Sequence[int], *, is_chinese: bool) -> None:
    """Add the error rates of what was first, of what was chosen, and of the best that could have been."""
    gold = [each.row.reference or "" for each in known]
    first = [int(np.argmax(each.row.scores)) for each in known]
    best = [int(np.argmin(each.errors)) for each in known]
    counts = []
    for name, picks in ((mark("first hypothesis"), first), (mark("rescored"), chosen), (mark("best there is"), best)):
        texts = [each.row.texts[number] for each, number in zip(known, picks, strict=True)]
        counts.append(error_counts(texts, gold, is_chinese=is_chinese))
        result.systems.append(System(name, Scores([counts[-1].score()]), texts, 0.0, 0))
    result.difference = counts[0].less(counts[1])


def _list_of(row: Row) -> NBest:
    fields = {str(name).strip().lower(): value for name, value in row.fields.items()}
    offered = next((fields[name] for name in TEXTS if name in fields), None)
    if isinstance(offered, str):
        # A cell of a table holds it as JSON.
        try:
            offered = json.loads(offered)
        except ValueError:
            offered = None
    beside = next((fields[name] for name in SCORES if isinstance(fields.get(name), list)), None)
    reference = next((fields[name] for name in REFERENCES if isinstance(fields.get(name), str)), None)
    texts, scores = [], []
    listed: Sequence[Any] = offered if isinstance(offered, list | tuple) else ()
    for number, each in enumerate(listed):
        if isinstance(each, Mapping):
            text, score = each.get("text", each.get("hypothesis")), each.get("score", each.get("logprob", 0.0))
        elif isinstance(each, list | tuple) and len(each) == 2:
            text, score = each[0], each[1]
        else:
            text, score = each, beside[number] if beside is not None and number < len(beside) else 0.0
        is_number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        if not isinstance(text, str) or not is_number:
            raise UsageError("E626", where=row.where, found=repr(each)[:60])
        texts.append(text)
        scores.append(float(score))
    if not texts:
        raise UsageError("E626", where=row.where, found=", ".join(map(str, row.fields)))
    return NBest(tuple(texts), np.array(scores), reference, row.where)


def _is_chinese(texts: Sequence[str]) -> bool:
    return language_of("".join(texts[:200])) in ("zh", "mixed")
