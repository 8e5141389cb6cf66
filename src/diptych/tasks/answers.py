"""How classes are chosen, by the kind of label: one of them (softmax), several at once (a sigmoid each), or a grade (a number).

Losses are those of Hugging Face's `problem_type`: cross entropy, binary cross entropy over every label, squared error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.errors import DataError
from diptych.tasks.head_task import Logits
from diptych.tasks.labels import Kind, Label, grade_of, names_of
from diptych.tasks.task import Answers

# Shapes: M texts that are asked about, C classes.


@dataclass(frozen=True)
class Prediction:
    """The label of a text, and how probable each one is."""

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "probability": round(self.probability, 6)}

    def __str__(self) -> str:
        return f"{self.label}\t{self.probability:.4f}"


@dataclass(frozen=True)
class SeveralLabels:
    """The labels that apply to a text, and how probable each of all is."""

    labels: tuple[str, ...]
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "probabilities": {name: round(value, 6) for name, value in self.probabilities.items()}}

    def __str__(self) -> str:
        return ", ".join(self.labels) or "–"


@dataclass(frozen=True)
class Grade:
    """A number that a text was given."""

    value: float

    def to_json(self) -> dict[str, Any]:
        return {"score": round(self.value, 6)}

    def __str__(self) -> str:
        return f"{self.value:.4f}"


class Choice(Protocol):
    """What one kind of label makes of a head's logits."""

    width: int
    """How many decisions a text is: what its loss is counted by."""

    def gold(self, labels: Sequence[Label | None]) -> np.ndarray:
        """The right answers as numbers, one row a text; a text whose label is not known or was not learnt has a negative or NaN."""
        ...

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        """Which of the texts can be learnt from: [M]."""
        ...

    def answers(self, logits_MC: Tensor) -> Answers: ...

    def wrong(self, logits_MC: Tensor, gold: Tensor) -> Tensor:
        """What early stopping counts, for each text: [M]."""
        ...

    def prediction(self, logits_C: Tensor) -> Any: ...


def choice_of(kind: Kind, classes: Sequence[str], threshold: float = 0.5, positive: str | None = None) -> Choice:
    """
    Raises:
        DataError E707: a positive class was named, and there are not two of which it is one.
    """
    if positive is not None and (kind != "single" or len(classes) != 2 or positive not in classes):
        raise DataError("E707", positive=positive, classes=", ".join(classes))
    if kind == "several":
        return Several(tuple(classes), threshold)
    return Graded() if kind == "graded" else Single(tuple(classes), threshold, positive)


@dataclass
class Single:
    """One class a text: the most probable, or of two the positive one where it reaches a threshold that is not one half."""

    classes: tuple[str, ...]
    threshold: float = 0.5
    positive: str | None = None
    """Of two classes the one that the threshold is for; None is the last."""
    width: int = 1

    def gold(self, labels: Sequence[Label | None]) -> np.ndarray:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers.get(str(label), -1) if label is not None else -1 for label in labels], dtype=np.int64)

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        return gold >= 0

    def answers(self, logits_MC: Tensor) -> Answers:
        return Logits(logits_MC)

    def wrong(self, logits_MC: Tensor, gold: Tensor) -> Tensor:
        return (self._said(logits_MC) != gold).float()

    def prediction(self, logits_C: Tensor) -> Prediction:
        chances = torch.softmax(logits_C.float(), dim=-1).tolist()
        said = int(self._said(logits_C[None])[0])
        return Prediction(self.classes[said], chances[said], dict(zip(self.classes, chances, strict=True)))

    def _said(self, logits_MC: Tensor) -> Tensor:
        if len(self.classes) != 2 or self.threshold == 0.5:
            return logits_MC.argmax(-1)
        number = 1 if self.positive is None else self.classes.index(self.positive)
        is_positive_M = torch.softmax(logits_MC.float(), dim=-1)[:, number] >= self.threshold
        return torch.where(is_positive_M, number, 1 - number)


class Several:
    """Every label for itself: those whose probability reaches the threshold."""

    def __init__(self, classes: tuple[str, ...], threshold: float) -> None:
        self.classes, self.threshold = classes, threshold
        self.width = len(classes)

    def gold(self, labels: Sequence[Label | None]) -> np.ndarray:
        found = [[name in names_of(label) for name in self.classes] if label is not None else [np.nan] * self.width for label in labels]
        return np.array(found, dtype=np.float32).reshape(-1, self.width)

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        return np.isfinite(gold.sum(axis=1))

    def answers(self, logits_MC: Tensor) -> Answers:
        return Sigmoids(logits_MC)

    def wrong(self, logits_MC: Tensor, gold: Tensor) -> Tensor:
        return ((torch.sigmoid(logits_MC.float()) >= self.threshold).float() != gold).float().sum(-1)

    def prediction(self, logits_C: Tensor) -> SeveralLabels:
        chances = dict(zip(self.classes, torch.sigmoid(logits_C.float()).tolist(), strict=True))
        return SeveralLabels(tuple(name for name, chance in chances.items() if chance >= self.threshold), chances)


class Graded:
    """A number a text."""

    width = 1

    def gold(self, labels: Sequence[Label | None]) -> np.ndarray:
        return np.array([grade_of(label) for label in labels], dtype=np.float32)

    def is_known(self, gold: np.ndarray) -> np.ndarray:
        return ~np.isnan(gold)

    def answers(self, logits_MC: Tensor) -> Answers:
        return Grades(logits_MC)

    def wrong(self, logits_MC: Tensor, gold: Tensor) -> Tensor:
        return (logits_MC.float().squeeze(-1) - gold).square()

    def prediction(self, logits_C: Tensor) -> Grade:
        return Grade(float(logits_C))


class Sigmoids(Logits):
    """Every class for itself; `nats` has the sum over them for each text."""

    def nats(self, gold_M: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits_MC.float(), gold_M, reduction="none").sum(-1)

    def __getitem__(self, part: slice) -> "Sigmoids":
        return Sigmoids(self.logits_MC[part])


class Grades(Logits):
    """One number a text; what it costs is the squared error, the nats of a normal distribution up to a constant."""

    def nats(self, gold_M: Tensor) -> Tensor:
        return (self.logits_MC.float().squeeze(-1) - gold_M).square()

    def __getitem__(self, part: slice) -> "Grades":
        return Grades(self.logits_MC[part])
