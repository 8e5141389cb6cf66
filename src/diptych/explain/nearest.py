"""Which training examples pull an answer most: those whose gradients point where its own does (TracIn, Pruthi et al. 2020).

A step on an example moves the answer by the product of the two gradients of the loss. In the last layer the gradient is (p - y) ⊗ (h,
1), the errors of the classes by the vector that the layer reads, so that the product of two gradients is the product of two short ones
and is worked out exactly, without a gradient of anything. It is the cosine that is shown: otherwise the same few examples that the
model never learnt would be nearest to every text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.tasks import task_of_net
from diptych.tasks.head_task import ask
from diptych.tasks.labels import shown
from diptych.tasks.windows import Framed, by_size, frame_texts, lay
from diptych.text.tokenizer import Tokenizer

# Shapes: N examples, C classes, D numbers of the vector that the last layer reads, and one for its bias.

TEXTS_AT_ONCE, TOKENS_AT_ONCE = 64, 8192


@dataclass(frozen=True)
class Neighbour:
    """A training example: above 0 it taught the answer, below 0 it spoke against it."""

    texts: tuple[str, ...]
    label: str
    similarity: float
    where: str

    def __str__(self) -> str:
        return f"{self.similarity:+.3f}  {self.label}  {' | '.join(self.texts)}  ({self.where})"


@dataclass(frozen=True)
class Nearest:
    """The examples that speak most for an answer, and those that speak most against it."""

    answer: str
    taught: tuple[Neighbour, ...]
    opposed: tuple[Neighbour, ...]
    num_examples: int

    def to_json(self) -> dict[str, Any]:
        def plain(few: Sequence[Neighbour]) -> list[dict[str, Any]]:
            return [
                {"texts": list(each.texts), "label": each.label, "similarity": round(each.similarity, 6), "where": each.where}
                for each in few
            ]

        return {"answer": self.answer, "taught": plain(self.taught), "opposed": plain(self.opposed), "examples": self.num_examples}

    def __str__(self) -> str:
        lines = [_("Of {count:,} examples those that taught {answer} most:").format(count=self.num_examples, answer=self.answer)]
        lines += [f"  {each}" for each in self.taught]
        if self.opposed:
            lines += [_("and those that spoke most against it:"), *(f"  {each}" for each in self.opposed)]
        return "\n".join(lines)


def nearest_examples(net: Any, tokenizer: Tokenizer, given: Any, data: Any, *, label: str | None = None, top: int = 5) -> Nearest:
    """The training examples nearest to a text by the gradient of the last layer.

    Args:
        given: a text, or a pair. data: the labelled rows that the model learnt from. label: the answer; None for the model's own.

    Raises:
        UsageError E802: there is no such label. E847: the model does not choose one label for a text.
    """
    task = task_of_net(net)
    if task is None or task.name != "classification" or task.kind != "single" or len(task.labels) < 2:
        raise UsageError("E847", heads=", ".join(net.heads) or _("none"))
    if label is not None and label not in task.labels:
        raise UsageError("E802", label=label, known=", ".join(task.labels), hint="")
    numbers = {name: number for number, name in enumerate(task.labels)}
    rows = [row for row in task.read(data, Ledger())[0] if shown(row.label) in numbers]
    texts = [(given,) if isinstance(given, str) else tuple(given), *(row.texts for row in rows)]
    vectors_ND, logits_NC = _last_layer(net, frame_texts(texts, tokenizer, net.config.context_length, Ledger()))
    chosen = numbers[label] if label is not None else int(logits_NC[0].argmax())
    gold = np.array([chosen, *(numbers[shown(row.label)] for row in rows)])
    similarity = gradient_cosines(vectors_ND, logits_NC, gold, has_bias=net.heads["classes"].output.bias is not None)
    order = np.argsort(-similarity, kind="stable")

    def neighbours(places: np.ndarray) -> tuple[Neighbour, ...]:
        return tuple(Neighbour(rows[n].texts, shown(rows[n].label), float(similarity[n]), rows[n].where) for n in places)

    opposed = order[::-1][:top]
    return Nearest(task.labels[chosen], neighbours(order[:top]), neighbours(opposed[similarity[opposed] < 0]), len(rows))


def gradient_cosines(vectors_ND: np.ndarray, logits_NC: np.ndarray, gold_N: np.ndarray, *, has_bias: bool = True) -> np.ndarray:
    """The cosine of the first example's gradient with that of every other one: [N - 1].

    Of a right and certain answer the gradient is nearly nothing, but its direction is what counts.
    """
    logits_NC = logits_NC - logits_NC.max(1, keepdims=True)
    errors_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
    errors_NC[np.arange(len(gold_N)), gold_N] = 0.0
    errors_NC[np.arange(len(gold_N)), gold_N] = -errors_NC.sum(1)
    if has_bias:
        vectors_ND = np.concatenate([vectors_ND, np.ones((len(vectors_ND), 1))], axis=1)
    parts = []
    for each in (errors_NC, vectors_ND):
        unit = each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-300)
        parts.append(unit[1:] @ unit[0])
    return parts[0] * parts[1]


def _last_layer(net: Any, framed: Sequence[Framed]) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer of the classifier reads of each text, and what it makes of it."""
    output = net.heads["classes"].output
    seen: list[torch.Tensor] = []
    handle = output.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    device = next(net.parameters()).device
    vectors: list[Any] = [None] * len(framed)
    logits: list[Any] = [None] * len(framed)
    net.eval()
    try:
        with torch.inference_mode():
            for few in by_size([len(each.ids) for each in framed], TOKENS_AT_ONCE, TEXTS_AT_ONCE):
                texts = lay([framed[number] for number in few]).to(device)
                seen.clear()
                answers = ask(net, "classes", net.hidden(texts), texts, torch.arange(len(few), device=device)).logits()
                for number, vector, row in zip(few, seen[0].double().cpu().numpy(), answers.double().cpu().numpy(), strict=True):
                    vectors[number], logits[number] = vector, row
    finally:
        handle.remove()
    return np.stack(vectors), np.stack(logits)
