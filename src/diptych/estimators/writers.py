"""Estimators that write: `Translator`, `Summarizer`, `ChatModel`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diptych.estimators.estimator import Estimator, objects
from diptych.tasks.chat import conversation


class Writer(Estimator):
    """Writes a text from another one."""

    task_name = "seq2seq"
    inputs_named = ("source",)

    def predict(self, X: Any) -> np.ndarray:
        """What is written from each text."""
        return objects([answer.text for answer in self._answers(X)])

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        return [{"source": source, "target": target} for source, target in zip(X, y, strict=True)]


class Translator(Writer):
    """Learns from texts and their translations; two files line by line are a table, too: `fit("train.{en,zh}")`.

    Args:
        base: a preset for a translator from scratch, or a model folder: an encoder-decoder, or a decoder that knows both languages.
        epochs: of fresh weights it takes many.
        lr, seed, settings: see `TextClassifier`; `settings={"beams": 1}` writes faster and a little worse.
    """

    told = {"kind": "translation"}

    def __init__(
        self,
        base: str = "transformer-mini",
        epochs: float = 20.0,
        lr: float | None = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(base, epochs, lr, seed, settings)


class Summarizer(Writer):
    """Learns from texts and their summaries.

    Args:
        base: a decoder that knows the language, or an encoder-decoder.
        epochs, lr, seed, settings: see `TextClassifier`.
    """

    told = {"kind": "summary"}

    def __init__(
        self, base: str = "smollm2", epochs: float = 3.0, lr: float | None = None, seed: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        super().__init__(base, epochs, lr, seed, settings)


class ChatModel(Estimator):
    """Learns to converse.

    `X` is a list of things said, or of conversations ([{"role": "user", "content": "…"}, …]), and `y` the answer to each; without `y`,
    `X` is a table of conversations that hold their answers.

    Args:
        base: a decoder; one without a chat template is given ChatML.
        epochs, lr, seed, settings: see `TextClassifier`; `settings={"max_answer": 200}` allows longer answers.
    """

    task_name = "chat"
    inputs_named = ("conversation",)

    def __init__(
        self, base: str = "smollm2", epochs: float = 3.0, lr: float | None = None, seed: int = 0, settings: dict[str, Any] | None = None
    ) -> None:
        super().__init__(base, epochs, lr, seed, settings)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable answer to each conversation, or to each thing said."""
        return objects([answer.text for answer in self._answers([_messages(item) for item in self._inputs(X)])])

    def _examples(self, X: list[Any], y: list[Any]) -> list[Any]:
        return [{"messages": [*_messages(said), {"role": "assistant", "content": str(answer)}]} for said, answer in zip(X, y, strict=True)]


def _messages(item: Any) -> list[dict[str, str]]:
    return conversation(item["messages"] if isinstance(item, Mapping) and "messages" in item else item)
