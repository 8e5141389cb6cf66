"""Recommending items by what they say: like one item, or like those that a user chose, the latest of them first.

A user is the mean of the vectors of what was chosen, each worth half as much as one five choices later. Whether that is of use is
measured: choices after a moment are held out, and what is recommended from those before is compared with what was really chosen, beside
the items that everybody chooses and those that share words with what was chosen.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych import runtime
from diptych.errors import UsageError
from diptych.evaluation.baselines.bm25 import BM25
from diptych.evaluation.evaluate import Comparison, System
from diptych.evaluation.intervals import Scores, mean_of
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.model import Model
from diptych.running import load_model
from diptych.searching.choices import Choice, Items, histories, read_choices, read_items

HALF_LIFE = 5
"""After so many more choices an earlier one says half as much of what a user likes."""
LATEST = 5
"""So many of the latest choices are searched by their words."""
HELD_OUT = 0.2
"""The share of the choices, the latest, that is recommended for and not from."""

Scorer = Callable[[Sequence[int]], np.ndarray]
"""A history of items, the latest last, to a score for every item."""


@dataclass(frozen=True)
class Recommended:
    """An item, and how well it fits: the cosine of the two vectors."""

    item: str
    text: str
    score: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def recommend(
    items: Any,
    *,
    like: Any = None,
    choices: Any = None,
    user: str | None = None,
    model: Model | str | Path = "minilm",
    text: str | None = None,
    identity: str | None = None,
    top: int = 5,
    ledger: Ledger | None = None,
) -> list[Recommended]:
    """The items most like one, like several of a list (the latest last), or like those that a user chose; what is known already is
    not among them.

    Args:
        items: a table with a text and, as a rule, an identity for each; or a list of texts, which are called by their numbers from 1.
        like: the identity of an item, or a list of identities.
        choices, user: a table of user, item and time, and whose choices are meant.
        text, identity: columns of `items`; None guesses them.

    Raises:
        UsageError E628: there is no such item. E629: `choices` is no such table. E630: neither `like` nor choices of the user are given.
    """
    runtime.prepare()
    ledger = ledger if ledger is not None else Ledger()
    found = read_items(items, ledger, text=text, identity=identity)
    history = _history(found, like, choices, user, ledger)
    if not history:
        raise UsageError("E630", user=user if user is not None else "–")
    scores = by_meaning(_vectors(found, model, ledger))(history)
    return [Recommended(found.ids[number], found.texts[number], float(scores[number])) for number in best(scores, history, top)]


def judge_recommendations(
    items: Any,
    choices: Any,
    *,
    model: Model | str | Path = "minilm",
    text: str | None = None,
    identity: str | None = None,
    top: int = 10,
    ledger: Ledger | None = None,
) -> Comparison:
    """How much of what users chose later is among the `top` items that are recommended from what they chose before.

    The latest fifth of all choices is held out, at one moment for everybody: nothing of the future, of other users neither, has a part in
    what is recommended. A user counts who chose something before and something else after; the recall of each has the same weight.

    Raises:
        UsageError E629: the table does not say when items were chosen, or nobody chose before and after the moment.
    """
    runtime.prepare()
    ledger = ledger if ledger is not None else Ledger()
    found = read_items(items, ledger, text=text, identity=identity)
    made, has_times = read_choices(choices, found, ledger)
    if not has_times:
        raise UsageError("E629", path=_("the table"), problem=_("there is no time"))
    before, wanted = split_by_time(made)
    ledger.add("items", "users who chose before the moment and something else after it", len(wanted), total=len(histories(made)))
    if not wanted:
        raise UsageError("E629", path=_("the table"), problem=_("nobody chose before and after"))
    start = time.perf_counter()
    scorers: list[tuple[str, Scorer, float]] = [(mark("by meaning"), by_meaning(_vectors(found, model, ledger)), 0.0)]
    scorers[0] = (*scorers[0][:2], time.perf_counter() - start)
    known = Counter(item for history in before.values() for item in history)
    popular_N = np.array([known[number] for number in range(len(found.ids))], dtype=float)
    scorers += [(mark("most chosen"), lambda _history: popular_N, 0.0), (mark("shared words (BM25)"), by_words(found), 0.0)]
    name = _("recall of {n}").format(n=top)
    systems = []
    for label, scorer, seconds in scorers:
        recalls = [recall(best(scorer(before[user]), before[user], top), later) for user, later in wanted.items()]
        counts = mean_of(name, np.array(recalls))
        systems.append(System(label, Scores([counts.score()]), recalls, seconds, 0, counts=counts))
    return Comparison(systems, list(wanted), watched=name)


def split_by_time(choices: Sequence[Choice]) -> tuple[dict[str, list[int]], dict[str, set[int]]]:
    """(what each user chose before the moment, what each of those who are asked about chose after it and not before)"""
    moment = choices[int(len(choices) * (1 - HELD_OUT))].time if choices else 0.0
    before = histories([choice for choice in choices if choice.time < moment])
    after = histories([choice for choice in choices if choice.time >= moment])
    later = {user: set(items) - set(before.get(user, ())) for user, items in after.items() if user in before}
    return before, {user: items for user, items in later.items() if items}


def by_meaning(vectors_ND: np.ndarray) -> Scorer:
    """Scores by the cosine with the mean of what was chosen, later choices weighing more."""

    def scores(history: Sequence[int]) -> np.ndarray:
        ages_H = np.arange(len(history))[::-1]
        mean_D = (0.5 ** (ages_H / HALF_LIFE)) @ vectors_ND[list(history)]
        return vectors_ND @ (mean_D / max(float(np.linalg.norm(mean_D)), 1e-12))

    return scores


def by_words(items: Items) -> Scorer:
    """Scores by the words that an item shares with the latest choices."""
    found = BM25(items.texts)
    return lambda history: found.scores(" ".join(items.texts[number] for number in history[-LATEST:]))


def best(scores_N: np.ndarray, history: Sequence[int], top: int) -> list[int]:
    """The numbers of the items with the largest scores, those of the history left out; of equal ones the first."""
    free_N = scores_N.astype(float).copy()
    free_N[list(set(history))] = -np.inf
    order = np.argsort(-free_N, kind="stable")[: max(0, min(top, len(free_N) - len(set(history))))]
    return order.tolist()


def recall(found: Sequence[int], wanted: set[int]) -> float:
    """The share of what was wanted that was found."""
    return len(wanted.intersection(found)) / len(wanted)


def _history(items: Items, like: Any, choices: Any, user: str | None, ledger: Ledger) -> list[int]:
    if like is not None:
        return [items.number(each) for each in (like if isinstance(like, list | tuple) else [like])]
    if choices is None or user is None:
        return []
    return histories(read_choices(choices, items, ledger)[0]).get(str(user), [])


def _vectors(items: Items, model: Model | str | Path, ledger: Ledger) -> np.ndarray:
    found = model if isinstance(model, Model) else load_model(model)
    return found.embed(items.texts, ledger, normalize=True).cpu().numpy()
