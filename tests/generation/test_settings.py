"""Which settings go together, and that no value without meaning gets through."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.errors import UsageError
from diptych.generation.settings import Decoding, decoding_of


@pytest.mark.parametrize(
    "code, named, settings",
    [
        ("E640", "beams", {"beams": 4, "temperature": 0.5}),
        ("E640", "log_probabilities", {"beams": 4, "log_probabilities": 2}),
        ("E640", "contrastive", {"contrastive": 0.5, "top_p": 0.5}),
        ("E640", "n", {"contrastive": 0.5, "n": 2}),
        ("E640", "n", {"n": 3, "temperature": 0}),
        ("E641", "length_penalty", {"length_penalty": 1.0}),
        ("E641", "beam_groups", {"beam_groups": 2}),
        ("E641", "diversity", {"beams": 4, "diversity": 1.0}),
        ("E640", "regex", {"regex": "a", "choices": ["b"]}),
        ("E640", "draft", {"regex": "a", "draft": "text"}),
        ("E640", "beams", {"regex": "a", "beams": 2}),
        ("E641", "draft_tokens", {"draft_tokens": 4}),
        ("E644", "choices", {"choices": []}),
        ("E643", "min_p", {"minp": 0.5}),
        ("E601", "beam_groups", {"beams": 4, "beam_groups": 3}),
        ("E601", "n", {"beams": 2, "n": 3}),
        ("E601", "draft", {"draft": "no such thing"}),
        *(("E644", "temperature", {"temperature": value}) for value in (-0.1, math.inf, math.nan, "warm", None)),
        *(("E644", "top_k", {"top_k": value}) for value in (-1, 0.5)),
        *(("E644", "top_p", {"top_p": value}) for value in (0.0, -0.5, 1.01, math.nan)),
        ("E644", "repetition_penalty", {"repetition_penalty": 0.0}),
        ("E644", "presence_penalty", {"presence_penalty": math.inf}),
        ("E644", "logit_bias", {"logit_bias": {"好": math.nan}}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(code: str, named: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        decoding_of(settings)
    assert caught.value.code == code and named in str(caught.value)


def test_what_is_said_but_changes_nothing_is_allowed() -> None:
    assert decoding_of({"beams": 4, "temperature": 0.8, "n": 2, "stop": "。"}) == Decoding(beams=4, n=2, stop=["。"])
    assert decoding_of({"length_penalty": 0.6}) == Decoding()
    assert decoding_of({"logit_bias": {"好": 1, 7: -2.5}, "stop": ("a", "b")}).stop == ["a", "b"]


@given(
    name=st.sampled_from([name for name in Decoding.model_fields if name != "stop"]),
    value=st.floats() | st.integers() | st.none() | st.text(),
)
def test_any_value_is_taken_or_refused_by_a_code(name: str, value: Any) -> None:
    try:
        decoding_of({name: value})
    except UsageError as error:
        assert error.code in ("E601", "E640", "E641", "E644")
