"""Choosing a token beside the distribution written out and beside transformers' own filters."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diptych.generation import truncation
from diptych.generation.sampling import Sampling
from diptych.generation.writing import Writing

LOGITS_V = torch.tensor([1.0, 3.1, -2.0, 0.5, 2.9, 0.0, 1.7, -0.3])
SETTINGS = [
    {"temperature": 1.0, "top_p": 1.0},
    {"temperature": 0.3, "top_p": 1.0},
    {"temperature": 2.5, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 3, "top_p": 1.0},
    {"temperature": 1.0, "top_p": 0.5},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 1.6, "top_k": 5, "top_p": 0.8},
    {"temperature": 1.0, "top_k": 100, "top_p": 0.95},
]


def written_out(logits_V: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> list[float]:
    """The probability of each token, by the words of the definition."""
    weights = [math.exp(logit / temperature) for logit in logits_V.tolist()]
    order = sorted(range(len(weights)), key=lambda token: -weights[token])[: top_k or len(weights)]
    total = sum(weights[token] for token in order)
    kept, held = [], 0.0
    for token in order:
        if held >= top_p * total:
            break
        kept.append(token)
        held += weights[token]
    return [weights[token] / held if token in kept else 0.0 for token in range(len(weights))]


def chosen_by(sampling: Sampling, logits_BV: Tensor, keys: Iterable[int], position: int = 0) -> list[int]:
    return sampling.choose(logits_BV, [Writing([1], key=key, tokens=[0] * position) for key in keys])


@pytest.mark.parametrize("chosen", SETTINGS)
def test_tokens_are_drawn_as_often_as_the_definition_says(chosen: dict[str, float]) -> None:
    num = 3000
    drawn = chosen_by(Sampling(**chosen, seed=5), LOGITS_V.expand(num, -1), range(num))
    counts = torch.bincount(torch.tensor(drawn), minlength=8).tolist()
    for count, chance in zip(counts, written_out(LOGITS_V, **chosen), strict=True):
        # Never what is left out, and within five standard errors of what is kept.
        assert abs(count - num * chance) <= 5 * math.sqrt(num * chance * (1 - chance))


@pytest.mark.parametrize("chosen", SETTINGS)
def test_what_is_left_out_is_what_transformers_leaves_out(chosen: dict[str, float]) -> None:
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = LOGITS_V[None]
    filters = [TemperatureLogitsWarper(float(chosen["temperature"])), TopPLogitsWarper(float(chosen["top_p"]))]
    if chosen.get("top_k"):
        filters.insert(1, TopKLogitsWarper(int(chosen["top_k"])))
    for each in filters:
        scores = each(None, scores)
    assert torch.allclose(torch.softmax(scores[0], -1), torch.tensor(written_out(LOGITS_V, **chosen)), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    logits=st.lists(st.integers(-3000, 3000).map(lambda hundredths: hundredths / 100), min_size=1, max_size=12, unique=True),
    temperature=st.floats(0.05, 20),
    top_k=st.integers(0, 15),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**40),
)
def test_only_what_is_kept_is_ever_drawn(logits: list[float], temperature: float, top_k: int, top_p: float, seed: int) -> None:
    logits_V = torch.tensor(logits)
    chances = written_out(logits_V, temperature, top_k, min(1.0, top_p + 1e-5))
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    assert all(chances[token] > 0 for token in chosen_by(sampling, logits_V.expand(20, -1), range(20), 3))


@pytest.mark.parametrize(
    "chosen", [{"temperature": 0.0}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 0, "top_k": 3, "top_p": 0.5}]
)
def test_the_most_probable_token_is_all_that_is_left(chosen: dict[str, float]) -> None:
    logits_BV = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    assert chosen_by(Sampling(**chosen, seed=3), logits_BV, range(50), 7) == logits_BV.argmax(-1).tolist()


def test_logits_in_bfloat16_are_chosen_from_in_float32() -> None:
    logits_BV = torch.randn(20, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=2)
    assert chosen_by(sampling, logits_BV, range(20)) == chosen_by(sampling, logits_BV.float(), range(20))


def test_a_choice_depends_on_seed_answer_and_position_and_on_nothing_else() -> None:
    logits_BV = torch.zeros(40, 1000)
    sampling = Sampling(temperature=1.0, top_p=1.0, seed=11)
    torch.manual_seed(0)
    first = chosen_by(sampling, logits_BV, range(40), 4)
    torch.manual_seed(1)
    assert chosen_by(sampling, logits_BV, range(40), 4) == first
    assert chosen_by(sampling, logits_BV[:2], [30, 7], 4) == [first[30], first[7]]
    others = [chosen_by(sampling.model_copy(update={"seed": 12}), logits_BV, range(40), 4), chosen_by(sampling, logits_BV, range(40), 5)]
    for other in others:
        assert sum(a == b for a, b in zip(other, first, strict=True)) < 8
    assert len(set(first)) > 30


def test_the_best_are_sorted_first_and_more_where_they_do_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    scores_BV = torch.randn(9, 300, generator=torch.Generator().manual_seed(2)) * torch.linspace(0.01, 6, 9)[:, None]
    for share in (0.2, 0.9, 0.999):
        whole = truncation.top_p(scores_BV, share)
        with monkeypatch.context() as patch:
            patch.setattr(truncation, "FEW", 3)
            assert torch.equal(truncation.top_p(scores_BV, share), whole)


def both(name: str, **settings: float) -> tuple[Callable[[Tensor], Tensor], Any]:
    """Our cut and transformers' processor."""
    from transformers.generation import logits_process

    value = next(iter(settings.values()))
    return lambda scores_BV: getattr(truncation, name)(scores_BV, value), getattr(logits_process, THEIRS[name])(value)


THEIRS = {"top_k": "TopKLogitsWarper", "top_p": "TopPLogitsWarper", "min_p": "MinPLogitsWarper", "typical": "TypicalLogitsWarper"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("top_k", 3),
        ("top_k", 40),
        ("top_p", 0.3),
        ("top_p", 0.97),
        *(("min_p", p) for p in (0.02, 0.3, 1.0)),
        *(("typical", p) for p in (0.1, 0.6, 0.95)),
    ],
)
def test_each_cut_is_that_of_transformers(name: str, value: float) -> None:
    ours, theirs = both(name, value=value)
    scores_BV = torch.randn(20, 60, generator=torch.Generator().manual_seed(3)) * torch.linspace(0.1, 5, 20)[:, None]
    assert torch.equal(ours(scores_BV).isinf(), theirs(None, scores_BV).isinf())


TEXTS = [[1, 2, 3, 1, 2], [4], [0, 0, 0, 0], [5, 6, 5, 6, 5]]


@pytest.mark.parametrize(
    "settings, theirs",
    [
        ({"repetition_penalty": 1.7}, ("RepetitionPenaltyLogitsProcessor", 1.7)),
        ({"repetition_penalty": 0.6}, ("RepetitionPenaltyLogitsProcessor", 0.6)),
        *(({"no_repeat_ngram": size}, ("NoRepeatNGramLogitsProcessor", size)) for size in (1, 2, 3, 6)),
        ({"logit_bias": {2: 3.5, 5: -math.inf}}, ("SequenceBiasLogitsProcessor", {(2,): 3.5, (5,): -math.inf})),
    ],
)
def test_what_is_against_a_token_is_what_transformers_has_against_it(settings: dict[str, Any], theirs: tuple[str, Any]) -> None:
    from transformers.generation import logits_process

    logits_BV = torch.randn(4, 8, generator=torch.Generator().manual_seed(5))
    processor = getattr(logits_process, theirs[0])(theirs[1])
    for text, logits_V in zip(TEXTS, logits_BV, strict=True):
        expected = processor(torch.tensor([text]), logits_V[None].clone())
        # A prompt and what was written count alike.
        found = Sampling.model_construct(**{**Sampling().model_dump(), **settings})._scores(
            logits_V[None], [Writing(text[:1], tokens=text[1:])]
        )
        assert torch.allclose(found, expected)


def test_presence_counts_once_and_frequency_each_time_and_the_prompt_not_at_all() -> None:
    logits_BV = torch.zeros(1, 6)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    scores = sampling._scores(logits_BV, [Writing([0, 1, 1], tokens=[1, 2, 2, 2])])
    assert scores.tolist() == [[0, -0.75, -1.25, 0, 0, 0]]


def test_penalties_that_leave_nothing_give_way() -> None:
    logits_BV = torch.tensor([[0.0, 2.0, 1.0]])
    assert Sampling(temperature=0, no_repeat_ngram=1).choose(logits_BV, [Writing([0, 1, 2])]) == [1]
    assert Sampling(temperature=0, no_repeat_ngram=1).choose(logits_BV, [Writing([0, 1])]) == [2]
