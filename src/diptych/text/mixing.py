"""A corpus with a share of another: what a model goes on with, and some of what it knew, so that it does not forget."""

import hashlib

import numpy as np

from diptych.streams import permute
from diptych.text.shards import TokenShards


def mixed(own: TokenShards, other: TokenShards, share: float, seed: int) -> TokenShards:
    """`own` with whole documents of `other`, drawn by `seed`, until they are `share` of all tokens, or are used up.

    Both were cut by one tokenizer and written alike; the separator after the last document stays the last.
    """
    wanted = share / (1 - share) * int(own.borders[-1])
    size = other.num_documents
    chosen, used = [], 0
    for number in permute(np.arange(size), size, seed, "replay").tolist() if size else []:
        if used >= wanted:
            break
        chosen.append(number)
        used += int(other.borders[number + 1] - other.borders[number])
    chosen.sort()
    end = int(own.borders[-1])

    def join(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        taken = [theirs[other.borders[number] : other.borders[number + 1]] for number in chosen]
        return np.concatenate([ours[:end], *taken, ours[end:]])

    lengths = [int(other.borders[number + 1] - other.borders[number]) for number in chosen]
    borders = np.concatenate([own.borders, end + np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
    text_bytes = np.concatenate([own.text_bytes, other.text_bytes[chosen]]).astype(np.int64)
    key = f"{own.fingerprint} {other.fingerprint} {share!r} {seed}"
    continues = join(own.continues, other.continues) if own.continues is not None and other.continues is not None else None
    digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return TokenShards(join(own.tokens, other.tokens), borders, text_bytes, digest, continues)
