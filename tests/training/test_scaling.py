"""The scaling law against derivatives and limits that are worked out by hand."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.presets import num_parameters, preset_config
from diptych.training.scaling import LADDER, STEPS, best_step, critical_step, expected_bits, fresh_tokens, useful_tokens


@settings(max_examples=50, deadline=None)
@given(text=st.floats(1e3, 1e9), passes=st.floats(0.01, 200))
def test_text_read_again_is_worth_less_than_fresh_and_more_than_none(text, passes):
    tokens = passes * text
    worth = fresh_tokens(tokens, text)
    assert worth <= tokens * (1 + 1e-12) and worth >= min(tokens, text) * (1 - 1e-12)
    assert fresh_tokens(2 * tokens, text) >= worth
    assert worth < 30 * text, "however often it is read"


def test_four_readings_are_worth_almost_four_texts():
    """Muennighoff et al. 2023: up to four epochs cost almost nothing."""
    assert 3.7 < fresh_tokens(4e6, 1e6) / 1e6 < 4


def test_a_step_of_the_critical_size_takes_twice_the_text():
    for tokens in (1e6, 4e6):
        assert useful_tokens(tokens, round(critical_step(tokens))) == pytest.approx(tokens / 2, rel=1e-3)
    assert critical_step(4e6) == pytest.approx(2 * critical_step(1e6))


def test_more_of_either_costs_nothing():
    assert expected_bits(10**6, 1e6) > expected_bits(2 * 10**6, 1e6) > expected_bits(2 * 10**6, 2e6)


@settings(max_examples=30, deadline=None)
@given(update=st.floats(1e-3, 1.0), token=st.floats(1e-6, 1e-3))
def test_the_best_step_balances_the_optimizers_time_and_the_texts_use(update, token):
    """Seconds per useful token are (token + update / S)(1 + S / critical), least where S² = update * critical / token."""
    found = best_step(10**6, seconds=600, token_seconds=token, update_seconds=update, text_tokens=1e12)
    ideal = math.sqrt(update * critical_step(found.tokens) / token)
    assert found.step_tokens == min(STEPS) or found.step_tokens <= 2.5 * ideal
    assert found.step_tokens == max(STEPS) or found.step_tokens >= ideal / 2.5
    assert found.tokens == pytest.approx(600 / (token + update / found.step_tokens))


def test_the_ladder_climbs_evenly():
    sizes = [
        num_parameters(preset_config("gpt-mini", num_layers=r.num_layers, hidden_size=r.hidden_size, vocab_size=r.vocab_size))
        for r in LADDER
    ]
    assert all(1.4 < larger / smaller < 3.2 for smaller, larger in pairwise(sizes)), sizes
