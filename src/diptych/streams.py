"""Chance without hidden state: every draw is a function of (seed, purpose, position).

A stream is a counter-based generator (Philox) keyed by what it is for, so that a run can be resumed at any step, cut over
any number of ranks, or interrupted by an evaluation, and still draws the same numbers.
"""

import hashlib

import numpy as np

Key = int | str


def stream(seed: int, *key: Key) -> np.random.Generator:
    """The random stream for `key`, for example `stream(seed, "mask", epoch, index)`."""
    return np.random.Generator(np.random.Philox(key=_digest(seed, *key)))


def seed_for(seed: int, *key: Key) -> int:
    """A 63-bit seed for a library that keeps its own generator, for example torch's for dropout."""
    return _digest(seed, *key) & ((1 << 63) - 1)


def uniforms(position: np.ndarray, seed: int, *key: Key) -> np.ndarray:
    """A number in (0, 1) for each of `position` under `key`, each by its own position alone: none is drawn for those between.

    Args:
        position: integers of 0 or more.
    """
    digest = _digest(seed, *key)
    with np.errstate(over="ignore"):
        counter = np.asarray(position, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(digest & ((1 << 64) - 1))
    bits = _mix(_mix(counter) ^ np.uint64(digest >> 64)) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def permute(position: np.ndarray, size: int, seed: int, *key: Key) -> np.ndarray:
    """Where a keyed shuffle of 0..size-1 puts each of `position`, without holding the shuffle in memory.

    A four-round Feistel network over the smallest even number of bits that hold `size`, walked again while it falls
    outside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): a bijection for every key.

    Args:
        position: int64, each in 0..size-1.
    """
    half_bits = max(1, ((int(size) - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half_bits) - 1)
    shift = np.uint64(half_bits)
    rounds = [np.uint64(_digest(seed, "permute", i, *key) & ((1 << 64) - 1)) for i in range(4)]
    values = np.asarray(position, dtype=np.uint64).copy()
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        left, right = values[outside] >> shift, values[outside] & mask
        for round_key in rounds:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        values[outside] = (left << shift) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _mix(values: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer: every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _digest(seed: int, *key: Key) -> int:
    text = "\x1f".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
