"""Answers as a person gets them: texts, in both languages, piece by piece, with what is known of each token."""

from typing import Any

import pytest

from diptych.errors import UsageError
from diptych.model import Model
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

TEXTS = [
    "The for statement iterates over the items of a sequence, in order.",
    "今天天气很好，我们去公园散步吧！🙂",
    "Mixed 中文 and English.",
]
PROMPTS = ["The for", "今天天气", "🙂 and"]


@pytest.fixture(scope="module")
def gpt() -> Model:
    tokenizer = Tokenizer.train(TEXTS * 3, "bpe", 300, panel="causal")
    net = create(
        "gpt-tiny", seed=2, vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=2, context_length=96, initializer_range=0.6
    )
    return Model(net, tokenizer)


@pytest.fixture(scope="module")
def bart() -> Model:
    tokenizer = Tokenizer.train(TEXTS * 3, "bpe", 300, panel="causal")
    sizes = {"hidden_size": 16, "num_layers": 1, "num_decoder_layers": 1, "context_length": 96, "initializer_range": 0.6}
    return Model(create("bart-tiny", seed=2, vocab_size=tokenizer.vocab_size, **sizes), tokenizer)


WAYS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.5, "top_p": 1.0, "seed": 3},
    {"temperature": 1.2, "min_p": 0.02, "typical": 0.9, "repetition_penalty": 1.2, "frequency_penalty": 0.1, "no_repeat_ngram": 3},
    {"beams": 4, "length_penalty": 1.0},
    {"beams": 4, "beam_groups": 2},
    {"contrastive": 0.6, "top_k": 5},
    {"draft": "text", "temperature": 1.0, "draft_tokens": 5},
]


@pytest.mark.parametrize("name", ["gpt", "bart"])
@pytest.mark.parametrize("settings", WAYS, ids=str)
def test_every_way_writes_the_same_alone_in_a_batch_and_as_a_stream(
    name: str, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    together = model.generate(PROMPTS, 16, **settings)
    assert together == [model.generate(prompt, 16, **settings) for prompt in PROMPTS]
    for prompt, text in zip(PROMPTS, together, strict=True):
        assert "".join(model.stream(prompt, 16, **settings)) == text
    assert any(together)


def test_several_answers_are_a_list_for_each_prompt(gpt: Model) -> None:
    found = gpt.generate(PROMPTS[:2], 12, n=3, temperature=1.5)
    assert [len(set(few)) for few in found] == [3, 3]
    assert found[0] == gpt.generate(PROMPTS[0], 12, n=3, temperature=1.5)
    # The first of several is the one that is written alone.
    assert found[1][0] == gpt.generate(PROMPTS[1], 12, temperature=1.5)


def test_a_stop_string_ends_an_answer_across_the_border_of_its_tokens() -> None:
    # A token a character, so that a stop string is several tokens.
    tokenizer = Tokenizer.train(TEXTS * 3, "characters", 300, panel="causal")
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_layers": 1, "context_length": 96, "initializer_range": 0.6}
    model = Model(create("gpt-tiny", seed=2, **sizes), tokenizer)
    settings: dict[str, Any] = {"temperature": 1.0, "seed": 1, "logit_bias": {tokenizer.eos_id: -100.0}}
    for prompt in PROMPTS[:2]:
        whole = model.generate(prompt, 40, **settings)
        stop = whole[10:13]
        (answer,) = model.answers(prompt, 40, **settings, stop=stop)
        assert answer.text == whole[: whole.index(stop)] and answer.ending == "stop"
        assert len(answer.tokens) < 40
        assert "".join(model.stream(prompt, 40, **settings, stop=[stop])) == answer.text


def test_a_bias_names_its_token_by_text_or_by_number(gpt: Model) -> None:
    number = gpt.tokenizer.encode("e")[0]
    forced = gpt.generate("The", 5, temperature=0, logit_bias={"e": 1000.0})
    assert forced == gpt.generate("The", 5, temperature=0, logit_bias={number: 1000.0}) == "eeeee"
    for wrong in ("🙂and much more", "", -1, 10_000):
        with pytest.raises(UsageError) as caught:
            gpt.generate("The", 5, logit_bias={wrong: 1.0})
        assert caught.value.code == "E642"


def test_log_probabilities_are_shown_with_their_tokens(gpt: Model) -> None:
    (answer,) = gpt.answers("今天", 6, log_probabilities=2, temperature=0)
    shown = answer.to_json()
    assert [each["id"] for each in shown["tokens"]] == list(answer.tokens)
    for each in shown["tokens"]:
        assert each["alternatives"][0]["id"] == each["id"] and len(each["alternatives"]) == 2
        assert each["alternatives"][0]["log_probability"] == each["log_probability"] < 0
    assert "tokens" not in gpt.answers("今天", 6, temperature=0)[0].to_json()


def test_several_answers_are_no_stream(gpt: Model) -> None:
    with pytest.raises(UsageError) as caught:
        next(gpt.stream("The", 5, n=2))
    assert caught.value.code == "E640"


def test_a_draft_changes_nothing_and_must_have_the_same_tokens(gpt: Model, bart: Model) -> None:
    sizes = {"vocab_size": gpt.tokenizer.vocab_size, "hidden_size": 16, "num_layers": 1, "initializer_range": 0.6}
    small = Model(create("gpt-tiny", seed=2, context_length=96, **sizes), gpt.tokenizer)
    for prompt in PROMPTS:
        assert gpt.generate(prompt, 30, temperature=1.0, draft=small) == gpt.generate(prompt, 30, temperature=1.0)
    other = Model(small.net, Tokenizer.train(TEXTS, "bpe", 290, panel="causal"))
    recurrent = Model(create("gru-tiny", vocab_size=gpt.tokenizer.vocab_size), gpt.tokenizer)
    for code, wrong in (("E646", other), ("E602", bart), ("E645", recurrent), ("E601", "no such thing")):
        with pytest.raises(UsageError) as caught:
            gpt.generate("The", 5, draft=wrong)
        assert caught.value.code == code
