"""More rows for a vocabulary: each new token begins as the mean of the old ones that it is made of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diptych.models.transformer import Network


def extend_vocabulary(net: Network, pieces: Sequence[Sequence[int]], start: int) -> None:
    """Give `net` the tokens `start`, `start` + 1 … whose pieces these are: embedding, language head and its bias.

    Args:
        start: the number of the first new token; rows that a checkpoint keeps beyond its vocabulary are used first.
    """
    size = max(net.config.vocab_size, start + len(pieces))
    embedding = net.body.embedding.tokens
    embedding.weight = nn.Parameter(_longer(embedding.weight, pieces, start, size))
    embedding.num_embeddings = size
    if "lm" in net.heads:
        head: Any = net.heads["lm"]
        if isinstance(decoder := getattr(head, "decoder", None), nn.Linear):
            decoder.weight = nn.Parameter(_longer(decoder.weight, pieces, start, size))
            decoder.out_features = size
        if head.bias_V is not None:
            head.bias_V = nn.Parameter(_longer(head.bias_V, pieces, start, size))
    net.set_config(vocab_size=size)
    body: Any = net.body
    body.config = net.config


def _longer(rows: Tensor, pieces: Sequence[Sequence[int]], start: int, size: int) -> Tensor:
    with torch.no_grad():
        longer = rows.new_zeros(size, *rows.shape[1:])
        longer[: len(rows)] = rows
        for number, some in enumerate(pieces):
            longer[start + number] = rows[list(some)].mean(0)
    return longer
