"""Contrastive search against its equation, worked out anew for every token without a cache."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from diptych.errors import UsageError
from diptych.generation.contrastive import contrastive_search
from diptych.generation.decode import decode
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing
from diptych.packed import Packed
from diptych.presets import create

PROMPTS = [[5, 9, 2, 7, 7, 1], [8], [40, 2, 3]]


def net_of(preset: str, context_length: int = 64) -> Any:
    sizes = {"vocab_size": 61, "hidden_size": 16, "num_layers": 2, "initializer_range": 0.6}
    return create(preset, seed=1, context_length=context_length, **sizes).eval()


def row(ids: list[int], source: list[int] | None = None) -> Packed:
    return Packed(
        torch.tensor(ids), (len(ids),), is_causal=True, source=None if source is None else Packed(torch.tensor(source), (len(source),))
    )


@torch.inference_mode()
def by_hand(net: Any, prompt: list[int], source: list[int] | None, alpha: float, k: int, num: int) -> list[int]:
    text = list(prompt)
    for _position in range(num):
        hidden_TD = net.hidden(row(text, source))
        chances = torch.softmax(net.heads["lm"](hidden_TD[-1:])[0], dim=-1).topk(k)
        values = []
        for chance, token in zip(chances.values, chances.indices.tolist(), strict=True):
            own_D = net.hidden(row([*text, token], source))[-1]
            values.append(float((1 - alpha) * chance - alpha * F.cosine_similarity(own_D[None], hidden_TD).max()))
        text.append(int(chances.indices[max(range(k), key=values.__getitem__)]))
    return text[len(prompt) :]


def written(net: Any, prompts: list[list[int]], alpha: float, k: int, num: int, ends: frozenset[int] = frozenset()) -> list[list[int]]:
    pairs = net.config.is_encoder_decoder
    answers = [Writing([0], prompt) if pairs else Writing(prompt) for prompt in prompts]
    for _step in contrastive_search(net, answers, alpha, k, max_new_tokens=num, ends=ends):
        pass
    return [answer.tokens for answer in answers]


@pytest.mark.parametrize("preset", ["gpt-tiny", "gpt2-tiny", "modernbert-decoder-tiny", "bart-tiny", "gru-tiny"])
def test_each_token_is_the_best_by_the_equation(preset: str) -> None:
    net = net_of(preset)
    pairs = net.config.is_encoder_decoder
    for alpha, k in ((0.6, 4), (0.3, 7)):
        expected = [by_hand(net, [0] if pairs else prompt, prompt if pairs else None, alpha, k, 10) for prompt in PROMPTS]
        assert written(net, PROMPTS, alpha, k, 10) == expected


def test_without_likeness_it_is_greedy() -> None:
    net = net_of("gpt-tiny")
    greedy = [Writing(prompt) for prompt in PROMPTS]
    for _step in decode(net, greedy, Sampling(temperature=0), max_new_tokens=12):
        pass
    assert written(net, PROMPTS, 0.0, 5, 12) == [answer.tokens for answer in greedy]


def test_an_end_ends_one_answer_and_the_context_all() -> None:
    net = net_of("gpt-tiny", 12)
    whole = written(net, PROMPTS, 0.5, 4, 100)
    assert [len(answer) for answer in whole] == [6, 11, 9]
    end = whole[1][4]
    expected = [answer[: answer.index(end)] if end in answer else answer for answer in whole]
    assert written(net, PROMPTS, 0.5, 4, 100, frozenset({end})) == expected
    assert len(written(net, [[1] * 40], 0.5, 4, 100)[0]) == 7


def test_what_does_not_write_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        list(contrastive_search(create("bert-tiny", vocab_size=9), [Writing([1])], 0.5, 4, max_new_tokens=3))
    assert caught.value.code == "E602"
    assert list(contrastive_search(net_of("gpt-tiny"), [], 0.5, 4, max_new_tokens=3)) == []
