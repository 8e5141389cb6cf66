"""What is said of RNN, LSTM and Transformer, measured on this machine: recall over distance, and time per token by length.

Recall: a letter is shown, then noise, then a question mark, after which the letter has to be said. Each net learns that at distances
drawn up to the longest, for the same seconds, and is asked at each distance on fresh rows; guessing gives one in `NUM_LETTERS`. A
recurrent net carries the letter through one state, an LSTM with gates that can hold it; attention looks back at it (Hochreiter and
Schmidhuber 1997; Vaswani et al. 2017). Time: a forward pass over one text by its length, per token: a recurrent step costs the same at
any length, and attention looks at all that came before.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from diptych.evaluation.calibration import wilson
from diptych.packed import Packed
from diptych.presets import create
from diptych.streams import stream
from diptych.tasks.head_task import ask

# Shapes: B rows, T tokens.

NETS = {"rnn-tiny": "RNN", "lstm-tiny": "LSTM", "gpt-tiny": "Transformer"}
NUM_LETTERS, NUM_NOISE = 8, 8
ASKED = NUM_LETTERS + NUM_NOISE
"""The token that asks for the letter."""
DISTANCES = (2, 4, 8, 16, 32, 64)
LENGTHS = (32, 64, 128, 256, 512, 1024)
ROWS = 64
TESTED = 256
RATE = 3e-3
ROUNDS = 5


@dataclass(frozen=True)
class Recall:
    """How often one net said the letter after so many tokens, with Wilson's interval."""

    distance: int
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One kind of net: what it recalls, and microseconds per token at each length."""

    name: str
    parameters: int
    steps: int
    recall: tuple[Recall, ...]
    microseconds: tuple[tuple[int, float], ...]


def measure_claims(
    seconds: float = 30.0, *, seed: int = 0, distances: tuple[int, ...] = DISTANCES, lengths: tuple[int, ...] = LENGTHS
) -> Iterator[Measured]:
    """Measure one kind of net after the other.

    Args:
        seconds: how long each of them learns.
    """
    for preset, name in NETS.items():
        longest = max(*lengths, distances[-1] + 3)
        net = create(preset, seed=seed, vocab_size=ASKED + 1, context_length=longest)
        times = tuple((length, _microseconds(net, length)) for length in lengths)
        steps = _learn(net, seconds, distances, seed)
        recall = tuple(_asked(net, distance, seed) for distance in distances)
        yield Measured(name, sum(part.numel() for part in net.parameters()), steps, recall, times)


def rows_of(count: int, distance: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a letter, `distance` - 1 tokens of noise and the question, and the letters: int64 [B, T], [B]."""
    letters_B = draw.integers(0, NUM_LETTERS, count)
    noise = draw.integers(NUM_LETTERS, ASKED, (count, distance - 1))
    return np.concatenate([letters_B[:, None], noise, np.full((count, 1), ASKED)], axis=1), letters_B


def _learn(net: Any, seconds: float, distances: tuple[int, ...], seed: int) -> int:
    """Train on distances that are drawn anew for each step, the short ones as often as the long ones; how many steps it came to."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.0)
    net.train()
    start, step = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        draw = stream(seed, "recall", step)
        rows, letters_B = rows_of(ROWS, int(draw.choice(distances)), draw)
        share = (time.perf_counter() - start) / seconds
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * max(0.05, 1.0 - share)
        loss = _answers(net, rows).nats(torch.from_numpy(letters_B)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
    net.eval()
    return step


def _asked(net: Any, distance: int, seed: int) -> Recall:
    rows, letters_B = rows_of(TESTED, distance, stream(seed, "recall asked", distance))
    with torch.inference_mode():
        said = _answers(net, rows).logits()[:, :NUM_LETTERS].argmax(-1).numpy()
    hits = int((said == letters_B).sum())
    return Recall(distance, hits / TESTED, *wilson(hits, TESTED))


def _answers(net: Any, rows_BT: np.ndarray) -> Any:
    count, size = rows_BT.shape
    texts = Packed(torch.from_numpy(rows_BT.flatten()), (size,) * count, is_causal=True)
    return ask(net, "lm", net.hidden(texts), texts, torch.arange(size - 1, size * count, size))


def _microseconds(net: Any, length: int) -> float:
    """The median of several passes over one text, per token."""
    texts = Packed(torch.zeros(length, dtype=torch.int64), (length,), is_causal=True)
    net.eval()
    taken = []
    with torch.inference_mode():
        net.hidden(texts)
        for _round in range(ROUNDS):
            start = time.perf_counter()
            net.hidden(texts)
            taken.append(time.perf_counter() - start)
    return 1e6 * median(taken) / length
