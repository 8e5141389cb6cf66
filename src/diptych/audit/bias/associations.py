"""Whether a model's vectors put groups beside attributes: WEAT for words (Caliskan et al. 2017), SEAT for sentences (May et al. 2019).

A test has two sets of targets X and Y (names of men and of women) and two of attributes A and B (career, family). The association of a
target is s(w) = mean cos(w, a) - mean cos(w, b), the effect its mean over X less that over Y, in standard deviations of s over both: from
-2 to 2. p is the share of all ways to halve the targets whose X has at least the sum of s that X has: all of them where there are few, a
draw otherwise, which then counts itself once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np

from diptych.audit.bias.finding import FEWEST, Finding
from diptych.errors import UsageError
from diptych.evaluation.intervals import LEVEL, RESAMPLES, Score
from diptych.messages import _, mark
from diptych.streams import stream

MEASURE = mark("association of vectors (WEAT, SEAT), effect size")
SETS = ("targ1", "targ2", "attr1", "attr2")
MOST_PARTITIONS = 20_000
TIE = 1e-12
"""Sums that differ by less, as a share, are equal but for rounding."""

# Shapes: X, Y targets, T both together, A, B attributes, D numbers of a vector, R samples.


@dataclass(frozen=True)
class AssociationTest:
    """Four sets of words or sentences with their names, in the order of `SETS`."""

    name: str
    titles: tuple[str, ...]
    examples: tuple[tuple[str, ...], ...]


def association(test: AssociationTest, vectors: Sequence[np.ndarray], *, seed: int = 0) -> Finding:
    """The effect with its interval, by resampling all four sets, and p of its being as large by chance.

    Args:
        vectors: of the four sets, [X, D], [Y, D], [A, D], [B, D].
    """
    first, second, third, fourth = (_unit(each) for each in vectors)
    cosines = np.concatenate([first, second]) @ np.concatenate([third, fourth]).T
    num_x, num_a = len(first), len(third)
    value = effect(cosines, num_x, num_a)
    samples = _resampled(cosines, num_x, num_a, seed)
    low, high = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    about = _("{name}: {first} and {second}, {third} and {fourth}").format(
        name=test.name, **dict(zip(("first", "second", "third", "fourth"), test.titles, strict=True))
    )
    count = len(cosines)
    chance = permutation_chance(cosines, num_x, num_a, seed=seed) if count >= FEWEST else None
    return Finding(MEASURE, about, Score(about, value, float(low), float(high), count), chance=chance)


def effect(cosines: np.ndarray, num_x: int, num_a: int) -> float:
    """The effect size, of the cosines of all targets (X, then Y) with all attributes (A, then B)."""
    s = _associations(cosines, num_a)
    spread = s.std(ddof=1)
    return float((s[:num_x].mean() - s[num_x:].mean()) / spread) if spread else float("nan")


def permutation_chance(cosines: np.ndarray, num_x: int, num_a: int, *, seed: int = 0, most: int = MOST_PARTITIONS) -> float:
    """The share of halvings whose X has at least as large a sum."""
    s = _associations(cosines, num_a)
    own = s[:num_x].sum() - TIE * np.abs(s).sum()
    if comb(len(s), num_x) <= most:
        sums = np.fromiter((s[list(chosen)].sum() for chosen in combinations(range(len(s)), num_x)), dtype=float)
        return float((sums >= own).mean())
    draw = stream(seed, "halvings")
    reached, left = 1, most - 1
    while left:
        few = min(left, 4096)
        chosen = draw.random((few, len(s))).argpartition(num_x - 1, axis=1)[:, :num_x]
        reached += int((s[chosen].sum(1) >= own).sum())
        left -= few
    return reached / most


def read_tests(path: str | Path) -> list[AssociationTest]:
    """The tests of a file or folder, as the authors of SEAT keep them: a JSON object of targ1, targ2, attr1, attr2 a file.

    Raises:
        UsageError E843: there is no such file, or one has another shape.
    """
    base = Path(path)
    files = sorted(base.glob("*.json*")) if base.is_dir() else [base] if base.is_file() else []
    if not files:
        raise UsageError("E843", path=path, problem=_("no file"))
    return [_read(each) for each in files]


def _read(path: Path) -> AssociationTest:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        parts = [data[name] for name in SETS]
        titles = tuple(str(part["category"]) for part in parts)
        examples = tuple(tuple(map(str, part["examples"])) for part in parts)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("E843", path=path, problem=error) from None
    if min(map(len, examples)) < 2:
        raise UsageError("E843", path=path, problem=_("a set has fewer than two examples"))
    return AssociationTest(path.stem, titles, examples)


def _resampled(cosines: np.ndarray, num_x: int, num_a: int, seed: int) -> np.ndarray:
    """The effects of samples of all four sets with replacement: how often each member was drawn is its weight."""
    draw = stream(seed, "associations")

    def counts(size: int) -> np.ndarray:
        return draw.multinomial(size, np.full(size, 1 / size), size=RESAMPLES) / size

    num_y, num_b = len(cosines) - num_x, cosines.shape[1] - num_a
    s_RT = counts(num_a) @ cosines[:, :num_a].T - counts(num_b) @ cosines[:, num_a:].T
    weights_RX, weights_RY = counts(num_x), counts(num_y)
    gap_R = (weights_RX * s_RT[:, :num_x]).sum(1) - (weights_RY * s_RT[:, num_x:]).sum(1)
    weights_RT = np.concatenate([weights_RX * num_x, weights_RY * num_y], axis=1) / len(cosines)
    mean_R1 = (weights_RT * s_RT).sum(1, keepdims=True)
    variance_R = (weights_RT * (s_RT - mean_R1) ** 2).sum(1) * len(cosines) / (len(cosines) - 1)
    return np.divide(gap_R, np.sqrt(variance_R), out=np.full(RESAMPLES, np.nan), where=variance_R > 0)


def _associations(cosines: np.ndarray, num_a: int) -> np.ndarray:
    return cosines[:, :num_a].mean(1) - cosines[:, num_a:].mean(1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
