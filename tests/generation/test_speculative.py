"""Guessing ahead changes nothing: the same tokens for every seed, hence the same distribution, which is counted as well."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats

from diptych.errors import UsageError
from diptych.generation.decode import decode
from diptych.generation.drafts import Draft, FromModel, FromText
from diptych.generation.sampling import Sampling
from diptych.generation.speculative import speculate
from diptych.generation.writing import Writing
from diptych.presets import create

PROMPTS = [[5, 9, 2, 7, 7, 1, 5, 9, 2], [8], [4, 2, 3, 4, 2, 3, 4]]
GREEDY = Sampling(temperature=0)
WAYS = [
    GREEDY,
    Sampling(temperature=1.0, top_p=0.9, seed=3),
    Sampling(temperature=1.3, repetition_penalty=1.3, no_repeat_ngram=3, min_p=0.01),
]


def net_of(preset: str, seed: int = 1, context_length: int = 64, **more: Any) -> Any:
    sizes = {"vocab_size": 13, "hidden_size": 16, "num_layers": 2, "initializer_range": 0.5, **more}
    return create(preset, seed=seed, context_length=context_length, **sizes).eval()


def fresh(net: Any, prompts: list[list[int]]) -> list[Writing]:
    return [Writing([0], prompt) if net.config.is_encoder_decoder else Writing(prompt) for prompt in prompts]


def plain(net: Any, sampling: Sampling, num: int, ends: frozenset[int] = frozenset()) -> list[Writing]:
    answers = fresh(net, PROMPTS)
    for _step in decode(net, answers, sampling, max_new_tokens=num, ends=ends):
        pass
    return answers


class Wrong:
    """Guesses that are hardly ever right."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def propose(self, text: Any, most: int) -> list[int]:
        return self.tokens[:most]


def drafts_of(kind: str, net: Any, small: Any, answers: list[Writing], sampling: Sampling) -> list[Draft]:
    if kind == "text":
        return [FromText(answer) for answer in answers]
    if kind == "model":
        return [FromModel(small, answer, sampling, 40) for answer in answers]
    return [Wrong([3, 3, 3, 3, 3]) for _answer in answers]


@pytest.mark.parametrize("kind", ["text", "model", "wrong"])
@pytest.mark.parametrize("preset", ["gpt-tiny", "modernbert-decoder-tiny", "bart-tiny", "t5-tiny"])
def test_every_seed_writes_the_tokens_that_it_writes_without_guessing(preset: str, kind: str) -> None:
    net, small = net_of(preset), net_of(preset, seed=1, num_layers=1)
    for sampling in WAYS:
        for ends in (frozenset[int](), frozenset({6})):
            expected = plain(net, sampling, 30, ends)
            answers = fresh(net, PROMPTS)
            for _step in speculate(net, answers, sampling, drafts_of(kind, net, small, answers, sampling), 9, max_new_tokens=30, ends=ends):
                pass
            assert [(answer.tokens, answer.ending) for answer in answers] == [(each.tokens, each.ending) for each in expected]


@pytest.mark.parametrize("context_length", [5, 16])
@pytest.mark.parametrize("kind", ["text", "model", "wrong"])
def test_beyond_the_context_as_well(kind: str, context_length: int) -> None:
    net, small = net_of("gpt-tiny", context_length=context_length), net_of("gpt-tiny", seed=1, num_layers=1, context_length=context_length)
    for sampling in WAYS[:2]:
        answers = fresh(net, PROMPTS)
        for _step in speculate(net, answers, sampling, drafts_of(kind, net, small, answers, sampling), 6, max_new_tokens=40):
            pass
        assert [answer.tokens for answer in answers] == [each.tokens for each in plain(net, sampling, 40)]


def test_log_probabilities_are_the_same_too() -> None:
    net, found = net_of("gpt-tiny"), []
    for is_guessed in (False, True):
        answer = Writing(PROMPTS[0], alternatives=2)
        steps = (
            speculate(net, [answer], GREEDY, [FromText(answer)], 8, max_new_tokens=20)
            if is_guessed
            else decode(net, [answer], GREEDY, max_new_tokens=20)
        )
        for _step in steps:
            pass
        found.append(answer.chances)
    for one, other in zip(*found, strict=True):
        assert one.token == other.token and math.isclose(one.log_probability, other.log_probability, abs_tol=1e-4)


@pytest.mark.parametrize("kind", ["text", "model"])
def test_what_is_drawn_follows_the_models_own_distribution(kind: str) -> None:
    """All answers of two tokens over a small vocabulary, counted beside their probability."""
    vocab, num = 5, 800
    net, small = net_of("gpt-tiny", vocab_size=vocab), net_of("gpt-tiny", seed=2, vocab_size=vocab, num_layers=1)
    prompt, sampling = [1, 2, 3, 1, 2], Sampling(temperature=1.0, top_p=1.0, seed=8)
    answers = [Writing(prompt, key=key) for key in range(num)]
    for _step in speculate(net, answers, sampling, drafts_of(kind, net, small, answers, sampling), 4, max_new_tokens=2):
        pass
    counts = Counter(tuple(answer.tokens) for answer in answers)
    expected = []
    with torch.inference_mode():
        for first, second in itertools.product(range(vocab), repeat=2):
            chances = torch.softmax(net.logits(torch.tensor([[*prompt, first]]))[0].double(), dim=-1)
            expected.append(num * float(chances[-2, first] * chances[-1, second]))
    observed = [counts[pair] for pair in itertools.product(range(vocab), repeat=2)]
    assert sum(observed) == num
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_a_text_that_goes_round_in_circles_is_read_in_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of("gpt-tiny", context_length=256)
    expected, answer, passes = Writing(PROMPTS[0]), Writing(PROMPTS[0]), []
    for _step in decode(net, [expected], GREEDY, max_new_tokens=200):
        pass
    assert len(set(zip(expected.tokens[100:], expected.tokens[101:]))) < 30, "greedy writing of a small net repeats itself"
    hidden = net.hidden
    monkeypatch.setattr(net, "hidden", lambda texts, cache=None: passes.append(texts.num_tokens) or hidden(texts, cache))
    for _step in speculate(net, [answer], GREEDY, [FromText(answer)], 16, max_new_tokens=200):
        pass
    assert answer.tokens == expected.tokens
    assert len(passes) < 100


def test_what_a_text_says_of_what_follows() -> None:
    answer = Writing([1, 2, 3, 4, 9, 2, 3], [2, 3, 7, 7])
    draft = FromText(answer)
    assert draft.propose(answer.text, 3) == [4, 9, 2], "the last place, not the source"
    answer.tokens += [5, 2, 3]
    assert draft.propose(answer.text, 2) == [5, 2]
    answer.tokens += [7]
    assert draft.propose(answer.text, 5) == [7], "nothing is guessed across the end of the source"
    assert FromText(Writing([1, 2])).propose([1, 2], 4) == []
    assert FromText(Writing([5, 6, 5, 6])).propose([], 6) == [5, 6, 5, 6, 5, 6]


def test_a_recurrent_net_is_refused() -> None:
    answer = Writing([1])
    with pytest.raises(UsageError) as caught:
        list(speculate(net_of("gru-tiny"), [answer], GREEDY, [FromText(answer)], 4, max_new_tokens=3))
    assert caught.value.code == "E645"
