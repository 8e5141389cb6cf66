"""Metrics of classification and of language models, on plain arrays.

A score over many examples is a ratio of sums, never a mean of means: perplexity and bits per byte do not depend on how the
text was cut into batches.
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def confusion(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> np.ndarray:
    """int64 [gold class, predicted class]; a class of -1 (unknown) is left out of the columns it lacks.

    Args:
        gold: class numbers, -1 for a label that the model does not know.
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    known = gold >= 0
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (gold[known], predicted[known]), 1)
    return table


def accuracy(gold: ArrayLike, predicted: ArrayLike) -> float:
    """The share of examples that are predicted right; an unknown label cannot be."""
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    return float(np.mean(gold == predicted)) if len(gold) else math.nan


def f1_by_class(table: np.ndarray, num_missed: np.ndarray | int = 0) -> np.ndarray:
    """2 tp / (2 tp + fp + fn) of each class; 0 where a class occurs on neither side."""
    right = np.diagonal(table, axis1=-2, axis2=-1)
    both = table.sum(-2) + table.sum(-1) + num_missed
    return np.divide(2 * right, both, out=np.zeros(right.shape), where=both > 0)


def macro_f1(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> float:
    """The mean of the F1 of the classes that occur, in the gold labels or in the predictions."""
    table = confusion(gold, predicted, num_classes)
    return float(_macro(table[None])[0])


def mcc(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where one side has one class only."""
    return float(_mcc(confusion(gold, predicted, num_classes)[None])[0])


def perplexity(nats: float, num_targets: float) -> float:
    """exp of the mean loss in nats per token."""
    return math.exp(min(nats / num_targets, 700.0)) if num_targets else math.nan


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """The loss in bits over the UTF-8 bytes of the raw text: comparable between tokenizers."""
    return nats / math.log(2) / num_bytes if num_bytes else math.nan


def _macro(tables: np.ndarray) -> np.ndarray:
    """Macro F1 of each table of [R, C, C]."""
    occurs = (tables.sum(-2) + tables.sum(-1)) > 0
    return np.where(occurs, f1_by_class(tables), 0).sum(-1) / np.maximum(1, occurs.sum(-1))


def _mcc(tables: np.ndarray) -> np.ndarray:
    """Matthews' correlation of each table of [R, C, C]."""
    tables = tables.astype(np.float64)
    total = tables.sum((-2, -1))
    right = np.trace(tables, axis1=-2, axis2=-1)
    of_gold, of_predicted = tables.sum(-1), tables.sum(-2)
    over = right * total - (of_gold * of_predicted).sum(-1)
    under = np.sqrt((total**2 - (of_gold**2).sum(-1)) * (total**2 - (of_predicted**2).sum(-1)))
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def accuracy_of(tables: np.ndarray) -> np.ndarray:
    """Accuracy of each table of [R, C, C]."""
    return np.trace(tables, axis1=-2, axis2=-1) / np.maximum(1, tables.sum((-2, -1)))


TABLE_METRICS = {"accuracy": accuracy_of, "macro-F1": _macro, "MCC": _mcc}
"""Metrics that follow from a table of confusions, over many tables at once."""
