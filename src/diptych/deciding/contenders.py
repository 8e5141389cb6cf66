"""The systems that are put beside each other: each learns from the same rows and is asked the same questions.

Cheap ones first: the majority, TF-IDF, a logistic regression on the vectors of a model that stays as it is, a model whose vectors
were taught with few labels, and one that was fine-tuned.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diptych.deciding.trials import Trial
from diptych.evaluation.baselines import majority, tfidf
from diptych.evaluation.baselines.counting import strength
from diptych.evaluation.judges.classification import Counting, predictions
from diptych.finetuning import Parts, bytes_of, finetune_parts, finetune_recipe
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.model import Model
from diptych.presets import list_presets
from diptych.recipe import build
from diptych.streams import stream
from diptych.tasks.answers import Prediction
from diptych.tasks.embedding import embed_texts
from diptych.tasks.labels import shown
from diptych.tasks.tables import LabelledRow
from diptych.training.progress import Several

Input = str | tuple[str, ...]

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularizations for vectors of length 1, which want less of it than counts do."""
TIMED = 256
"""So many texts are read at least, and say how long one takes."""
READING = 0.6
"""The share of its time that a frozen model reads what it learns from; the rest is for the regression and for answers."""
EPOCHS = 3.0
STEP_COST = 3.5
"""A step takes so many times as long as reading the same texts."""
PAIRS_PER_TEXT = 16
"""So many pairs are drawn for each text that a model is taught with, half of them of one label, where there is time."""


@dataclass
class Fitted:
    """A system that has learnt."""

    answers: Callable[[Sequence[Input]], list[Prediction]]
    size_bytes: int


class Contender(Protocol):
    name: str
    wants_time: bool
    """Whether it can use all the time that there is, so that the others go first."""

    def fit(self, trial: Trial, limit_seconds: float) -> Fitted:
        """Learn from the rows of a trial in about so many seconds."""
        ...


class Counted:
    """One that counts words, or nothing but the labels."""

    wants_time = False

    def __init__(self, name: str, fit: Callable[[list[str], list[str]], Any]) -> None:
        self.name, self._fit = name, fit

    def fit(self, trial: Trial, limit_seconds: float) -> Fitted:
        counting = Counting(self._fit([" ".join(row.texts) for row in trial.train], _labels(trial.train)))
        return Fitted(counting.answers, counting.size_bytes)


def counted(seed: int) -> list[Contender]:
    """The majority, and TF-IDF."""
    return [Counted(mark("majority"), majority), Counted(mark("TF-IDF"), lambda texts, labels: tfidf(texts, labels, seed))]


class Frozen:
    """A logistic regression on the vectors of a model that is not changed."""

    name = mark("frozen embeddings")
    wants_time = False

    def __init__(self, model: Model, seed: int, ledger: Ledger | None = None) -> None:
        self.model, self.seed = model, seed
        self._ledger = ledger if ledger is not None else Ledger()
        self._known: dict[tuple[str, ...], np.ndarray] = {}
        self._seconds_per_text = 0.0

    @property
    def seconds_per_text(self) -> float:
        """How long the model takes to read a text, by those that it has read."""
        return self._seconds_per_text

    def fit(self, trial: Trial, limit_seconds: float) -> Fitted:
        from sklearn.linear_model import LogisticRegression

        rows = self._within(trial.train, limit_seconds)
        vectors_ND, labels = self._learnt(rows), _labels(rows)
        model = LogisticRegression(C=strength(vectors_ND, labels, self.seed, STRENGTHS), max_iter=1000).fit(vectors_ND, labels)
        classes = [str(label) for label in model.classes_]

        def answers(inputs: Sequence[Input]) -> list[Prediction]:
            if not inputs:
                return []
            texts = [(each,) if isinstance(each, str) else tuple(each) for each in inputs]
            return predictions(classes, model.predict_proba(self._vectors(texts)))

        return Fitted(answers, bytes_of(self.model.net) + 8 * model.coef_.size)

    def _within(self, rows: list[LabelledRow], limit_seconds: float) -> list[LabelledRow]:
        """The first rows, as many as there is time to read."""
        if not self._seconds_per_text:
            self._learnt(rows[:TIMED])
        new = np.cumsum([row.texts not in self._known for row in rows])
        most = READING * limit_seconds / max(self._seconds_per_text, 1e-9)
        kept = max(TIMED, int(np.searchsorted(new, most, "right")))
        self._ledger.add("frozen", "rows that there was no time to read", max(0, len(rows) - kept), total=len(rows))
        return rows[:kept]

    def _learnt(self, rows: Sequence[LabelledRow]) -> np.ndarray:
        """The vectors of rows that are learnt from, which folds and learning curves ask for again and again."""
        new = [each for each in dict.fromkeys(row.texts for row in rows) if each not in self._known]
        if new:
            start = time.perf_counter()
            self._known.update(zip(new, self._vectors(new), strict=True))
            if len(new) >= TIMED or not self._seconds_per_text:  # a few alone take longer each than many together
                self._seconds_per_text = (time.perf_counter() - start) / len(new)
        return np.stack([self._known[row.texts] for row in rows])

    def _vectors(self, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        """A vector a text; of a pair both, their difference and their product (Conneau et al. 2017)."""
        self.model.net.eval()
        sides = [
            embed_texts(self.model.net, self.model.tokenizer, [each[side] for each in texts], self._ledger, normalize=True).cpu().numpy()
            for side in range(len(texts[0]))
        ]
        if len(sides) == 1:
            return sides[0]
        first, second = sides
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


class FewShot:
    """Teach a model with pairs of the texts: alike where they have one label (SetFit, Tunstall et al. 2022), then as `Frozen`."""

    name = mark("contrastive few-shot")
    wants_time = True

    def __init__(self, base: str, seed: int, seconds_per_text: Callable[[], float]) -> None:
        self.base, self.seed, self._seconds_per_text = base, seed, seconds_per_text

    def fit(self, trial: Trial, limit_seconds: float) -> Fitted:
        each = 2 * STEP_COST * max(1e-4, self._seconds_per_text())
        count = int(min(PAIRS_PER_TEXT * len(trial.train), max(32, limit_seconds / each)))
        task = {"name": "embedding", "objective": "value", "duplicates": "keep"}
        train = {"epochs": 1.0, "seed": self.seed, "evaluations": 0}
        recipe = build({"model": {"base": self.base}, "task": task, "train": train})
        pairs = draw_pairs(trial.train, count, self.seed)
        done = finetune_recipe(recipe, pairs, listener=Several([]), with_baselines=False, hold_out=False)
        return Frozen(done.model, self.seed).fit(trial, limit_seconds)


class FineTuned:
    """All weights of a model, or those of a preset from nothing."""

    wants_time = True

    def __init__(self, base: str, settings: dict[str, Any], seed: int, seconds_per_text: Callable[[], float] | None = None) -> None:
        self.is_preset = base in list_presets()
        self.name = base if self.is_preset else mark("fine-tuned")
        self.base, self._settings, self.seed, self._seconds_per_text = base, settings, seed, seconds_per_text
        self.ledger = Ledger()

    def fit(self, trial: Trial, limit_seconds: float) -> Fitted:
        # Whatever the clock says, a run must have time for a few steps.
        train: dict[str, Any] = {"seed": self.seed, "minutes": max(limit_seconds, 2.0) / 60}
        if self._seconds_per_text is not None and len(trial.train) * EPOCHS * STEP_COST * self._seconds_per_text() < limit_seconds:
            train = {"seed": self.seed, "epochs": EPOCHS}
        model = {"preset" if self.is_preset else "base": self.base}
        recipe = build({"model": model, "task": {**self._settings, "name": "classification"}, "train": train})
        parts = Parts(trial.train, trial.dev, [], {}, is_split=False)
        ledger = Ledger()
        done = finetune_parts(recipe, parts, ledger, listener=Several([]), with_baselines=False)
        if not len(self.ledger):
            self.ledger = ledger
        return Fitted(lambda inputs: list(done.model.predictions(inputs)), bytes_of(done.model.net))


def draw_pairs(rows: Sequence[LabelledRow], count: int, seed: int) -> list[tuple[str, str, float]]:
    """Pairs of texts, (text, text, 1.0) of one label and (text, text, 0.0) of two, in turn; each text as often as any other."""
    texts, labels = [" ".join(row.texts) for row in rows], np.array(_labels(rows))
    alike = {label: np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())}
    others = {label: np.flatnonzero(labels != label) for label in alike}
    pairs: list[tuple[str, str, float]] = []
    for turn in range(count):
        draw = stream(seed, "few-shot", turn // 2)
        first = (turn // 2) % len(rows)
        if turn % 2 == 0:
            own = alike[labels[first]]
            own = own[own != first] if len(own) > 1 else own
            pairs.append((texts[first], texts[int(draw.choice(own))], 1.0))
        else:
            pairs.append((texts[first], texts[int(draw.choice(others[labels[first]]))], 0.0))
    return pairs


def _labels(rows: Sequence[LabelledRow]) -> list[str]:
    return [shown(row.label) for row in rows]
