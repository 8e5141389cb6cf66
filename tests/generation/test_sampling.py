"""Choosing a token beside the distribution written out and beside transformers' own filters."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diptych.errors import UsageError
from diptych.generation.sampling import Sampling

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


@pytest.mark.parametrize("chosen", SETTINGS)
def test_tokens_are_drawn_as_often_as_the_definition_says(chosen: dict[str, float]) -> None:
    num = 3000
    drawn = Sampling(**chosen, seed=5).choose(LOGITS_V.expand(num, -1), range(num), 0)
    counts = torch.bincount(drawn, minlength=8).tolist()
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
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12, unique=True),
    temperature=st.floats(0.05, 20),
    top_k=st.integers(0, 15),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**40),
)
def test_only_what_is_kept_is_ever_drawn(logits: list[float], temperature: float, top_k: int, top_p: float, seed: int) -> None:
    logits_V = torch.tensor(logits)
    chances = written_out(logits_V, temperature, top_k, min(1.0, top_p + 1e-5))
    drawn = Sampling(temperature, top_k, top_p, seed).choose(logits_V.expand(20, -1), range(20), 3)
    assert all(chances[token] > 0 for token in drawn.tolist())


@pytest.mark.parametrize(
    "chosen", [{"temperature": 0.0}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 0, "top_k": 3, "top_p": 0.5}]
)
def test_the_most_probable_token_is_all_that_is_left(chosen: dict[str, float]) -> None:
    logits_BV = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Sampling(**chosen, seed=3).choose(logits_BV, range(50), 7), logits_BV.argmax(-1))


def test_logits_in_bfloat16_are_chosen_from_in_float32() -> None:
    logits_BV = torch.randn(20, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    sampling = Sampling(1.0, 0, 0.9, 2)
    assert torch.equal(sampling.choose(logits_BV, range(20), 0), sampling.choose(logits_BV.float(), range(20), 0))


def test_a_choice_depends_on_seed_answer_and_position_and_on_nothing_else() -> None:
    logits_BV = torch.zeros(40, 1000)
    sampling = Sampling(1.0, 0, 1.0, 11)
    torch.manual_seed(0)
    first = sampling.choose(logits_BV, range(40), 4)
    torch.manual_seed(1)
    assert torch.equal(sampling.choose(logits_BV, range(40), 4), first)
    assert sampling.choose(logits_BV[:2], [30, 7], 4).tolist() == first[[30, 7]].tolist()
    for other in (Sampling(1.0, 0, 1.0, 12).choose(logits_BV, range(40), 4), sampling.choose(logits_BV, range(40), 5)):
        assert (other == first).float().mean() < 0.2
    assert len(set(first.tolist())) > 30


@pytest.mark.parametrize(
    "name, value",
    [
        *(("temperature", value) for value in (-0.1, math.inf, math.nan)),
        ("top_k", -1),
        *(("top_p", value) for value in (0.0, -0.5, 1.01, math.nan)),
    ],
)
def test_a_value_without_meaning_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        Sampling(**{name: value})
    assert caught.value.code == "E601" and str(value) in caught.value.what
