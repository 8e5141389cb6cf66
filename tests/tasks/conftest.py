"""A small bilingual corpus as tokens, and networks of a few thousand weights."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from diptych.models.transformer import Network
from diptych.presets import create
from diptych.text.shards import TokenShards
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "the cat sat on the mat. the dog saw it. nobody said a word.",
    "今天天气很好，我们去公园散步吧！昨天下雨了。明天呢？",
    "Mixed 中文 and English 🙂.\r\nA second line; a third one.",
    "short.",
    "a longer story of a fox, a crow and a piece of cheese. the fox won. the crow learnt. the cheese was gone.",
    "我有一本书。他有两本书。书在桌子上。",
]
CONTEXT = 24


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """English, Chinese and mixed, with an emoji, CRLF and several sentences each."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def causal_tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, "characters", 400, panel="causal")


@pytest.fixture(scope="session")
def masked_tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, "characters", 400, panel="masked")


@pytest.fixture(scope="session")
def wide_tokenizer() -> Tokenizer:
    """A thousand ordinary tokens behind five special ones, so that documents need not repeat any."""
    return Tokenizer.train(["".join(map(chr, range(0x4E00, 0x4E00 + 1000)))], "characters", 2000, panel="masked")


@pytest.fixture(scope="session")
def shards_of() -> Callable[..., TokenShards]:
    """Token shards in memory from lists of ids, with the separator where one is named."""

    def build(documents: Sequence[Sequence[int]], separator: int | None = None) -> TokenShards:
        rows = [[*([] if separator is None else [separator]), *document] for document in documents]
        tokens = [token for row in rows for token in row] + ([] if separator is None else [separator])
        borders = np.cumsum([0, *map(len, rows)])
        return TokenShards(np.asarray(tokens, np.uint16), borders, np.ones(len(rows), np.int64))

    return build


@pytest.fixture(scope="session")
def causal_shards(shards_of: Callable[..., TokenShards], causal_tokenizer: Tokenizer) -> TokenShards:
    return shards_of([causal_tokenizer.encode(text) for text in TEXTS], causal_tokenizer.eos_id)


@pytest.fixture(scope="session")
def masked_shards(shards_of: Callable[..., TokenShards], masked_tokenizer: Tokenizer) -> TokenShards:
    return shards_of([masked_tokenizer.encode(text) for text in TEXTS])


@pytest.fixture
def tiny_net() -> Callable[..., Network]:
    """A fresh network without dropout: `tiny_net("gpt", vocab_size)`."""

    def build(family: str, vocab_size: int, *, context_length: int = CONTEXT, **sizes: object) -> Network:
        shape = {"hidden_size": 16, "head_size": 8, "num_layers": 2, "initializer_range": 0.2, **sizes}
        net = create(f"{family}-tiny", seed=3, vocab_size=vocab_size, context_length=context_length, **shape)
        return net.eval()

    return build
