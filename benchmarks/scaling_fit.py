"""Fit the constants of `training/scaling.py` to `results/scaling.csv`, and say how well they hold.

The law has a floor and two powers, and one factor for each text, since a byte of Chinese says less than one of English. A few
dozen runs do not tell five constants apart: those that would only trade off against each other are held near Hoffmann et al. (2022)
and Muennighoff et al. (2023) by a prior, and the residuals are printed, so that anybody can see what the runs do say.

    python benchmarks/scaling_fit.py
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from diptych.presets import num_parameters, preset_config
from diptych.training import scaling

RESULTS = Path(__file__).parent / "results" / "scaling.csv"
NAMES = ("floor", "size weight", "size power", "text weight", "text power", "critical step")
NOISE = 0.005
"""About what a run's bits per byte differ by from seed to seed, as a share."""
PRIORS = {"size power": (0.34, 0.04), "text power": (0.28, 0.04), "critical step": (math.log(2048), 0.7), "floor": (math.log(0.8), 0.3)}
"""(value, standard deviation); of logarithms where a constant is positive by nature."""


@dataclass(frozen=True)
class Run:
    """What the law is asked of a line of the results."""

    text: str
    parameters: int
    tokens: int
    text_tokens: int
    step_tokens: int
    bits: float
    about: str


def runs() -> list[Run]:
    """The lines of next words without dropout."""
    found = []
    with RESULTS.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["task"] != "causal-lm" or float(line["dropout"]):
                continue
            shape = {"num_layers": int(line["layers"]), "hidden_size": int(line["hidden"]), "context_length": int(line["context"])}
            parameters = num_parameters(preset_config("gpt-mini", vocab_size=int(line["vocab_size"]), **shape))
            about = f"{line['text']:18} {line['layers']}x{line['hidden']:4} v{line['vocab_size']:6} {float(line['minutes']):5.2f} min"
            numbers = (int(line[name]) for name in ("tokens", "text_tokens", "batch_tokens"))
            found.append(Run(line["text"], parameters, *numbers, bits=float(line["bits_per_byte"]), about=about))
    return found


def expected(run: Run, constants: np.ndarray) -> float:
    """The law's bits per byte, short of the factor of the text."""
    floor, size_weight, size_power, text_weight, text_power, critical = constants
    fresh = scaling.fresh_tokens(run.tokens, run.text_tokens)
    useful = fresh / (1 + run.step_tokens / (math.exp(critical) * (fresh / 1e6) ** 0.5))
    return math.exp(floor) + math.exp(size_weight) / run.parameters**size_power + math.exp(text_weight) / useful**text_power


def fit(found: list[Run]) -> tuple[np.ndarray, dict[str, float]]:
    """(constants in the order of NAMES, the factor of each text)"""
    texts = list(dict.fromkeys(run.text for run in found))

    def residuals(values: np.ndarray) -> list[float]:
        factors = dict(zip(texts, [0.0, *values[len(NAMES) :]], strict=True))
        off = [(math.log(expected(run, values[: len(NAMES)])) + factors[run.text] - math.log(run.bits)) / NOISE for run in found]
        held = [(values[NAMES.index(name)] - value) / width for name, (value, width) in PRIORS.items()]
        return [*off, *held]

    start = [math.log(0.8), math.log(10), 0.34, math.log(10), 0.28, math.log(2048), *[0.0] * (len(texts) - 1)]
    solved = least_squares(residuals, start, loss="soft_l1", max_nfev=20_000)
    return solved.x[: len(NAMES)], dict(zip(texts, [1.0, *np.exp(solved.x[len(NAMES) :])], strict=True))


def main() -> None:
    found = runs()
    constants, factors = fit(found)
    for run in found:
        said = expected(run, constants) * factors[run.text]
        beside = f"{run.about}  {run.tokens:10,} tokens in {run.step_tokens:5}"
        print(f"{beside}  measured {run.bits:.4f}  law {said:.4f}  {said / run.bits - 1:+.1%}")
    for name, value in zip(NAMES, constants, strict=True):
        print(f"{name:14} {value if name.endswith('power') else math.exp(value):.4g}")
    print("factors:", {text: round(factor, 3) for text, factor in factors.items()})


if __name__ == "__main__":
    main()
