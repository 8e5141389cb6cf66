"""Which size learns most in a given time: a law of how loss falls with size and text, and a ladder of shapes to try it on.

The law is Hoffmann et al.'s (2022, eq. 2), bits per byte = floor + a / parameters^alpha + b / tokens^beta, with three corrections for
small machines and texts. Text that is read again is worth less and less (Muennighoff et al. 2023, eq. 5). Large steps waste text while
the loss is still high (McCandlish et al. 2018, eq. 2.7). And the tokens are those that this machine was seen to take, since small nets
wait for memory and for Python rather than for products.

The constants are what `benchmarks/scaling_fit.py` makes of `benchmarks/results/scaling.csv`; they hold for bits per byte of English,
and of Chinese but for a factor, which decides nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR = 1.034
SIZE_WEIGHT, SIZE_POWER = 24.1, 0.362
TEXT_WEIGHT, TEXT_POWER = 15.6, 0.288
READINGS = 15.4
"""How often text can be read again until more of it is worth nothing much: Muennighoff et al. 2023, table 1; not fitted here."""
CRITICAL_TOKENS = 1900.0
"""The step, in tokens, that needs twice the text of a tiny one, in a run of a million tokens; it grows with the root of the tokens."""
STEPS = (2048, 4096, 8192, 16_384, 32_768, 65_536)
"""Tokens of a step are one of these."""


@dataclass(frozen=True)
class Rung:
    """A shape that is worth trying."""

    num_layers: int
    hidden_size: int
    vocab_size: int
    context_length: int


LADDER = (
    Rung(2, 64, 8192, 256),
    Rung(2, 96, 8192, 256),
    Rung(2, 128, 8192, 256),
    Rung(3, 192, 8192, 256),
    Rung(4, 256, 8192, 256),
    Rung(5, 320, 8192, 256),
    Rung(6, 384, 8192, 512),
    Rung(8, 512, 16_384, 512),
    Rung(10, 640, 16_384, 512),
    Rung(12, 768, 32_768, 1024),
    Rung(16, 1024, 32_768, 1024),
    Rung(24, 1280, 32_768, 1024),
    Rung(28, 1792, 32_768, 1024),
    Rung(32, 2560, 32_768, 1024),
)
"""Each has 1.2 to three times the parameters of the one before; deeper as they grow wider, as published models are. One layer alone
falls short of what its size promises (2.7 % on English novels): it cannot look for what followed the last time."""


def expected_bits(parameters: int, tokens: float) -> float:
    """Bits per byte on held-out text after so many tokens of fresh text in small steps; good for comparing, not for promising."""
    return FLOOR + SIZE_WEIGHT / parameters**SIZE_POWER + TEXT_WEIGHT / max(1.0, tokens) ** TEXT_POWER


def fresh_tokens(tokens: float, text_tokens: float) -> float:
    """What `tokens` of training are worth in fresh text where there are only `text_tokens` of it."""
    if tokens <= text_tokens:
        return tokens
    again = tokens / text_tokens - 1
    return text_tokens * (1 + READINGS * (1 - math.exp(-again / READINGS)))


def critical_step(tokens: float) -> float:
    """Tokens of the step that needs twice the text of a tiny one, in a run of so many tokens."""
    return CRITICAL_TOKENS * (tokens / 1e6) ** 0.5


def useful_tokens(tokens: float, step_tokens: int) -> float:
    """What `tokens` in steps of `step_tokens` are worth in tiny steps."""
    return tokens / (1 + step_tokens / critical_step(tokens))


@dataclass(frozen=True)
class Pick:
    """A step for a size, and what comes of it in the time."""

    step_tokens: int
    tokens: float
    """How many this machine reads in the time."""
    bits: float
    """Bits per byte that the law expects."""


def best_step(
    parameters: int,
    *,
    seconds: float,
    token_seconds: float,
    update_seconds: float,
    text_tokens: float,
    steps: Sequence[int] = STEPS,
) -> Pick:
    """The step that gets a size furthest: large ones waste text, small ones spend the time on the optimizer.

    Args:
        token_seconds: of a token's passes. update_seconds: of the optimizer's step.
        text_tokens: how much text there is. steps: those to choose from.
    """
    picks = []
    for step_tokens in steps:
        tokens = seconds / (token_seconds + update_seconds / step_tokens)
        useful = useful_tokens(fresh_tokens(tokens, text_tokens), step_tokens)
        picks.append(Pick(step_tokens, tokens, expected_bits(parameters, useful)))
    return min(picks, key=lambda pick: pick.bits)
