"""The product of gradients is autograd's, and the nearest examples are those that say the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diptych.errors import UsageError
from diptych.explain.nearest import nearest_examples
from diptych.text.tokenizer import Tokenizer

Made = Callable[..., tuple[Any, Tokenizer]]
ROWS = [("the food was good", "good"), ("the room was bad", "bad"), ("早餐也不错🙂", "good"), ("房间有点小\r\n", "bad")]


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_similarities_are_the_cosines_of_autograds_gradients(made: Made, family: str) -> None:
    net, tokenizer = made(family)
    net.ensure_head("classes", labels=("good", "bad", "so-so"), seed=3)
    net.eval()
    found = nearest_examples(net, tokenizer, "the food was bad", ROWS, top=4)
    output = net.heads["classes"].output
    weights = [part for part in (output.weight, output.bias) if part is not None]

    def gradient(text: str, label: str) -> np.ndarray:
        ids = tokenizer.frame(tokenizer.encode(text))[0]
        loss = -net.logits(torch.tensor([ids]))[0].log_softmax(-1)[("good", "bad", "so-so").index(label)]
        parts = torch.autograd.grad(loss, weights)
        flat = torch.cat([part.flatten() for part in parts])
        return flat.detach().double().numpy()

    own = gradient("the food was bad", found.answer)
    for each in (*found.taught, *found.opposed):
        other = gradient(each.texts[0], each.label)
        cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
        assert each.similarity == pytest.approx(cosine, abs=1e-4)
    assert [each.similarity for each in found.taught] == sorted((each.similarity for each in found.taught), reverse=True)
    assert all(each.similarity < 0 for each in found.opposed) and found.num_examples == 4


def test_an_example_is_nearest_to_itself(made: Made) -> None:
    net, tokenizer = made("bert")
    net.ensure_head("classes", labels=("good", "bad"), seed=3)
    found = nearest_examples(net, tokenizer, "早餐也不错🙂", ROWS, label="good", top=1)
    assert found.taught[0].texts == ("早餐也不错🙂",) and found.taught[0].similarity == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(UsageError, match="E802"):
        nearest_examples(net, tokenizer, "早餐", ROWS, label="fine")
    other, tokenizer = made("bert", "lm")
    with pytest.raises(UsageError, match="E847"):
        nearest_examples(other, tokenizer, "早餐", ROWS)
