"""Any number of inputs goes through a model in bounded memory, in order, whatever its task: answers come before the inputs end."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from diptych.models.pooling import Pooling, SentenceHead
from diptych.presets import create
from diptych.tasks.answering import Answering, AnsweringSettings
from diptych.tasks.classification import Classification, ClassificationSettings
from diptych.tasks.embedding import Embedding, EmbeddingSettings
from diptych.tasks.roles import Roles, RolesSettings
from diptych.tasks.spans import tag_set
from diptych.tasks.tagging import Tagging, TaggingSettings
from diptych.text.tokenizer import Tokenizer

MOST_HELD = 2048
"""Inputs that are read before the first of them is answered, at most."""
ENOUGH = 6000


class Endless:
    """Inputs without an end, which counts how many were taken."""

    def __init__(self, is_pair: bool) -> None:
        self.taken, self._is_pair = 0, is_pair

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.taken += 1
            text = f"{self.taken} {'好' if self.taken % 3 else 'yes 🙂'}"
            yield ("谁?", text) if self._is_pair else text


def model_of(name: str, tokenizer: Tokenizer) -> tuple[Any, Any]:
    net = create("bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=8, head_size=8, num_layers=1, context_length=24).eval()
    if name == "classification":
        net.ensure_head("classes", labels=("a", "b"), seed=0)
        return net, Classification(ClassificationSettings(), ("a", "b"))
    if name in ("tagging", "roles"):
        tags = tag_set(("predicate", "A0"))
        net.ensure_head("tags", labels=tags, seed=0)
        return net, (Tagging(TaggingSettings(), tags) if name == "tagging" else Roles(RolesSettings(), tags))
    if name == "answering":
        net.ensure_head("span", seed=0)
        return net, Answering(AnsweringSettings(), ("start", "end"))
    net.heads["sentence"] = SentenceHead(Pooling())
    return net, Embedding(EmbeddingSettings())


@pytest.mark.parametrize("name", ["classification", "tagging", "roles", "answering", "embedding"])
def test_answers_come_while_inputs_go_on_without_end(name: str) -> None:
    tokenizer = Tokenizer.train([f"{n} 好 yes 🙂 谁?" for n in range(10)], "characters", 100, panel="masked")
    net, task = model_of(name, tokenizer)
    inputs = Endless(is_pair=name == "answering")
    wanted = ENOUGH if name in ("classification", "embedding") else 600
    most = 0
    for number, answer in enumerate(islice(task.predict(net, tokenizer, inputs), wanted), 1):
        most = max(most, inputs.taken - number)
        if name in ("tagging", "roles"):
            assert answer.text.startswith(f"{number} ")
    assert number == wanted and most <= MOST_HELD
