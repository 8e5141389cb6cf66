"""Metrics of classification and of language models, on plain arrays.

A score over many examples is a ratio of sums, never a mean of means: perplexity and bits per byte do not depend on how the
text was cut into batches.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from diptych.messages import mark


def confusion(gold: ArrayLike, predicted: ArrayLike, num_classes: int) -> np.ndarray:
    """How often each gold class (row) was predicted as each class (column).

    Args:
        gold: class numbers; examples of -1, a label that the model does not know, have no row and are left out.
    """
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    known = gold >= 0
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (gold[known], predicted[known]), 1)
    return table


def accuracy(tables: np.ndarray) -> np.ndarray:
    """The share of examples on the diagonal."""
    return np.trace(tables, axis1=-2, axis2=-1) / np.maximum(1, tables.sum((-2, -1)))


def macro_f1(tables: np.ndarray) -> np.ndarray:
    """The mean of 2 tp / (2 tp + fp + fn) over the classes that occur, in the gold labels or in the predictions."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    both = tables.sum(-2) + tables.sum(-1)
    scores = np.divide(2 * right, both, out=np.zeros(right.shape), where=both > 0)
    return scores.sum(-1) / np.maximum(1, (both > 0).sum(-1))


def mcc(tables: np.ndarray) -> np.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where one side has one class only."""
    tables = tables.astype(np.float64)
    total = tables.sum((-2, -1))
    right = np.trace(tables, axis1=-2, axis2=-1)
    of_gold, of_predicted = tables.sum(-1), tables.sum(-2)
    over = right * total - (of_gold * of_predicted).sum(-1)
    under = np.sqrt((total**2 - (of_gold**2).sum(-1)) * (total**2 - (of_predicted**2).sum(-1)))
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def perplexity(nats: float, num_targets: float) -> float:
    """exp of the mean loss in nats per token."""
    return math.exp(min(nats / num_targets, 700.0)) if num_targets else math.nan


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """The loss in bits over the UTF-8 bytes of the raw text: comparable between tokenizers."""
    return nats / math.log(2) / num_bytes if num_bytes else math.nan


TABLE_METRICS = {mark("accuracy"): accuracy, mark("macro-F1"): macro_f1, mark("MCC"): mcc}
"""Metrics that follow from a table of confusions; each takes many tables at once, [..., gold, predicted]."""
