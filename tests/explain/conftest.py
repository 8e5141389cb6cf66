"""Small networks of every kind with tokenizers of English and Chinese, and questions to them."""

from collections.abc import Callable
from typing import Any

import pytest

from diptych.explain.perturb import Subject, blank_of
from diptych.explain.question import question_of
from diptych.explain.reading import units_of
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "the food was good, but the room was bad. I liked it.",
    "这家酒店很干净，早餐也不错。房间有点小。",
    "Mixed 中文 and English 🙂.\r\nA second line; a third one.",
]
SHORT = ("the food was good", "这家酒店很干净")
"""Few units, so that every set of them can be asked."""


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    return {panel: Tokenizer.train(TEXTS, "characters", 400, panel=panel) for panel in ("masked", "causal")}  # type: ignore[arg-type]


@pytest.fixture
def made(random_net: Callable[..., Any], tokenizers: dict[str, Tokenizer]) -> Callable[..., tuple[Any, Tokenizer]]:
    """made("bert", "classes") is a network and its tokenizer."""

    def make(family: str, *heads: str, **sizes: Any) -> tuple[Any, Tokenizer]:
        is_masked = family in ("bert", "modernbert", "distilbert", "roberta")
        tokenizer = tokenizers["masked" if is_masked else "causal"]
        sizes = {"num_layers": 2, "context_length": 96, **sizes}
        net = random_net(family, *heads, vocab_size=tokenizer.vocab_size, token_ids=tokenizer.token_ids, **sizes)
        if "tags" in heads:
            net.heads.pop("tags")
            net.ensure_head("tags", labels=("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), seed=1)
        return net.eval(), tokenizer

    return make


@pytest.fixture
def subject_of(made: Callable[..., tuple[Any, Tokenizer]]) -> Callable[..., Subject]:
    """subject_of("bert", text) is the question why a classifier says what it says."""

    def make(family: str, text: Any, units: Any = "words", head: str = "classes", **asked: Any) -> Subject:
        net, tokenizer = made(family, head)
        question = question_of(net, tokenizer, text, **asked)
        return Subject(net, question, units_of(question.reading, units), blank_of(tokenizer))

    return make
