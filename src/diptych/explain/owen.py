"""Owen values along the text: Shapley values for those who come in groups (Owen 1977), as in SHAP's partition explainer.

The text is halved again and again, at the end of a sentence where there is one near the middle, and an order of the units counts
only where each half comes together. So neighbours share what they do together, and U² evaluations give exact values where Shapley's
take 2^U. With fewer evaluations the halves with most to share are opened first, and one that stays closed shares alike.
"""

import heapq
from collections.abc import Sequence
from itertools import count

import numpy as np

from diptych.explain.method import Attribution
from diptych.explain.perturb import Subject
from diptych.explain.reading import Unit
from diptych.text.words import sentences


def owen(subject: Subject, budget: int, seed: int) -> Attribution:
    """The values; they add up to f(all) - f(none) whatever the budget."""
    size = subject.num_units
    values = np.zeros(size)
    ends = sentence_ends(subject.units, subject.question.reading.texts)
    full, empty = subject.full, subject.empty
    number = count()
    none = np.zeros(size, dtype=bool)
    # (-what is shared, a number to tell equals apart, first, last, who came before, f of them, f with these, the share of orders)
    heap = [(-abs(full - empty), next(number), 0, size, none, empty, full, 1.0)]
    spent = 2
    while heap:
        few = [heapq.heappop(heap) for _each in range(min(len(heap), 16))]
        closed = [entry for entry in few if entry[3] - entry[2] == 1 or spent >= budget]
        few = [entry for entry in few if entry[3] - entry[2] > 1 and spent < budget]
        for _rank, _number, first, last, _before, low, high, share in closed:
            values[first:last] += share * (high - low) / (last - first)
        halves = [halfway(first, last, ends) for _rank, _number, first, last, *_rest in few]
        asked = []
        for (_rank, _number, first, last, before, *_rest), middle in zip(few, halves, strict=True):
            for start, stop in ((first, middle), (middle, last)):
                with_half = before.copy()
                with_half[start:stop] = True
                asked.append(with_half)
        if not asked:
            continue
        before_count = subject.num_evaluations
        scores = subject(np.array(asked))
        spent += subject.num_evaluations - before_count
        for place, ((_rank, _number, first, last, before, low, high, share), middle) in enumerate(zip(few, halves, strict=True)):
            with_left, with_right = asked[2 * place : 2 * place + 2]
            left, right = scores[2 * place : 2 * place + 2]
            # Each half comes first in one half of the orders, and second in the other.
            for start, stop, came, less, more in (
                (first, middle, before, low, left),
                (first, middle, with_right, right, high),
                (middle, last, before, low, right),
                (middle, last, with_left, left, high),
            ):
                heapq.heappush(heap, (-abs(more - less) * share / 2, next(number), start, stop, came, less, more, share / 2))
    return Attribution(values, empty)


def sentence_ends(units: Sequence[Unit], texts: Sequence[str]) -> list[int]:
    """The units, by number, before which a sentence or another text begins."""
    starts = [(part, start) for part, text in enumerate(texts) for start, _stop in sentences(text)]
    owners = [sum(start <= (unit.part, unit.start) for start in starts) for unit in units]
    return [number for number in range(1, len(units)) if owners[number] != owners[number - 1]]


def halfway(first: int, last: int, ends: Sequence[int]) -> int:
    """Where a run of units is halved: between two sentences where that leaves a quarter on either side, in the middle otherwise."""
    middle, quarter = (first + last) / 2, (last - first) / 4
    fitting = [end for end in ends if first < end < last and abs(end - middle) <= quarter]
    return min(fitting, key=lambda end: abs(end - middle)) if fitting else (first + last) // 2
