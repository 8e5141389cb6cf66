"""Canaries: texts with a secret that nobody else would write, planted before training and asked for afterwards (Carlini et al. 2019, "The
secret sharer").

A model that has not kept a canary finds its secret as probable as any other. How far it is ahead of others is its exposure: the
logarithm of the number of candidates less that of its rank, in bits.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import UsageError
from diptych.streams import stream

TEMPLATES = {"en": "The access code of locker {number} is {secret}.", "zh": "{number} 号柜的密码是 {secret}。"}
DIGITS = 6


@dataclass(frozen=True)
class Canary:
    """A text in which one secret stands; `text` and `label` are what is planted."""

    template: str
    """With {secret} in it, once."""
    secret: str
    label: str | None = None

    @property
    def text(self) -> str:
        return self.template.replace("{secret}", self.secret)

    def candidates(self, count: int, seed: int = 0) -> list[str]:
        """The text with its own secret first, then with `count` - 1 others that are as long and were never planted."""
        draw, length = stream(seed, "candidates", self.template, self.secret), len(self.secret)
        others: dict[str, None] = {}
        while len(others) < min(count, 10**length) - 1:
            secret = "".join(map(str, draw.integers(0, 10, length)))
            if secret != self.secret:
                others[secret] = None
        return [self.template.replace("{secret}", secret) for secret in (self.secret, *others)]


def make_canaries(count: int, language: str = "en", labels: Sequence[str] = (), seed: int = 0) -> list[Canary]:
    """So many canaries; where there are labels, each has one drawn at random, which is the secret's partner."""
    found = []
    for number in range(count):
        draw = stream(seed, "canary", number)
        template = TEMPLATES[language].replace("{number}", str(number + 1))
        secret = "".join(map(str, draw.integers(0, 10, DIGITS)))
        found.append(Canary(template, secret, str(labels[int(draw.integers(len(labels)))]) if labels else None))
    return found


def write_canaries(path: Path, canaries: Iterable[Canary]) -> Path:
    path.write_text(json.dumps([asdict(each) for each in canaries], ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def read_canaries(path: str | Path) -> list[Canary]:
    """
    Raises:
        UsageError E820: the file is not one that `write_canaries` wrote.
    """
    try:
        rows: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        found = [Canary(str(row["template"]), str(row["secret"]), row.get("label")) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("E820", path=path, problem=error) from None
    wrong = next((each for each in found if each.template.count("{secret}") != 1 or not each.secret.isdigit()), None)
    if wrong is not None or not found:
        raise UsageError("E820", path=path, problem=wrong or "[]")
    return found


def exposure(costs_R: Sequence[float] | np.ndarray) -> float:
    """In bits: log2 of the number of candidates less log2 of the rank of the first, which is the secret; ties count half.

    Args:
        costs_R: what each candidate costs, the planted one first.
    """
    costs = np.asarray(costs_R, dtype=float)
    rank = 1 + (costs[1:] < costs[0]).sum() + 0.5 * (costs[1:] == costs[0]).sum()
    return math.log2(len(costs)) - math.log2(rank)


def exposures(
    canaries: Sequence[Canary], costs_of: Callable[[Sequence[str], str | None], np.ndarray], count: int, seed: int = 0
) -> list[float]:
    """The exposure of each canary among `count` candidates.

    Args:
        costs_of: what a model finds of some texts, that is to say of these texts with that label.
    """
    return [exposure(costs_of(each.candidates(count, seed), each.label)) for each in canaries]
