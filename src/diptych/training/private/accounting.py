"""What a run has cost: ε for a δ, by Opacus' accountants, from the steps that were taken and how each was taken.

Rényi differential privacy (Mironov 2017) gives a bound that is quick and a little high; privacy random variables composed numerically
(Gopi et al. 2021) give one that is tight. Both are for Poisson sampling, each unit by itself, and for neighbours that differ in one unit.
"""

import math
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from diptych.errors import TrainingError

Accountant = Literal["prv", "rdp"]
Segment = tuple[float, float, int]
"""(noise multiplier, share of the units that a step shows, steps) of a stretch of steps that were taken alike."""
LARGEST_NOISE = 1e4


@dataclass
class Account:
    """The steps so far."""

    accountant: Accountant = "prv"
    history: list[Segment] = field(default_factory=list)

    def step(self, noise: float, rate: float) -> None:
        if self.history and self.history[-1][:2] == (noise, rate):
            self.history[-1] = (noise, rate, self.history[-1][2] + 1)
        else:
            self.history.append((noise, rate, 1))

    def epsilon(self, delta: float) -> float:
        return epsilon(tuple(self.history), delta, self.accountant)

    def state(self) -> list[list[Any]]:
        return [list(segment) for segment in self.history]

    def restore(self, state: list[list[Any]]) -> None:
        self.history = [(float(noise), float(rate), int(steps)) for noise, rate, steps in state]


@cache
def epsilon(history: tuple[Segment, ...], delta: float, accountant: Accountant) -> float:
    """ε of such steps for `delta`.

    Raises:
        TrainingError E550: Opacus is not installed. E557: the accountant cannot tell, as the numerical one where ε is large.
    """
    if not any(steps for _noise, _rate, steps in history):
        return 0.0
    if any(noise == 0 for noise, _rate, _steps in history):
        return math.inf
    kind = _opacus()[accountant]()
    kind.history = list(history)
    try:
        with warnings.catch_warnings():
            # RDP warns where the best order lies at the end of its list: the bound is right all the same, and higher than need be.
            warnings.simplefilter("ignore")
            found = float(kind.get_epsilon(delta))
    except (ValueError, RuntimeError, ArithmeticError, MemoryError):
        found = math.nan
    if not math.isfinite(found):
        raise TrainingError("E557", accountant=accountant)
    return max(0.0, found)


def noise_for(target: float, delta: float, rate: float, steps: int, accountant: Accountant) -> float:
    """The least noise multiplier, to a thousandth, with which so many steps cost at most `target`.

    Raises:
        TrainingError E558: no noise is enough. E550, E557: see `epsilon`.
    """

    def costs_more(noise: float) -> bool:
        try:
            return epsilon(((noise, rate, steps),), delta, accountant) > target
        except TrainingError as error:
            if error.code != "E557":
                raise
            return True  # too little noise for the accountant to tell is too little

    # The numerical accountant is slow where there is little noise, and its answer lies a little below the quick one's.
    high = noise_for(target, delta, rate, steps, "rdp") if accountant == "prv" else 1.0
    while costs_more(high):
        high *= 2
        if high > LARGEST_NOISE:
            raise TrainingError("E558", epsilon=target, delta=f"{delta:.2g}")
    low = high / 2
    while low > 1e-3 and not costs_more(low):
        low, high = low / 2, low
    while high - low > 5e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if costs_more(middle) else (low, middle)
    return round(high + 5e-5, 4)


def steps_for(target: float, delta: float, rate: float, noise: float, accountant: Accountant) -> int:
    """How many steps cost at most `target`; 0 where one costs more."""
    if epsilon(((noise, rate, 1),), delta, accountant) > target:
        return 0
    low, high = 1, 2
    while epsilon(((noise, rate, high),), delta, accountant) <= target:
        low, high = high, high * 2
        if high > 1 << 24:
            return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if epsilon(((noise, rate, middle),), delta, accountant) <= target else (low, middle)
    return low


@cache
def _opacus() -> dict[str, Any]:
    try:
        from opacus.accountants import PRVAccountant, RDPAccountant
    except ImportError:
        raise TrainingError("E550") from None
    return {"prv": PRVAccountant, "rdp": RDPAccountant}
