"""Answers of a form: whatever a model of chance would like to write, what ends is of the form, in both languages."""

import json
import re
import sys
from functools import cache
from typing import Any

import pytest

from diptych.errors import UsageError
from diptych.model import Model
from diptych.presets import create
from diptych.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")

TEXTS = [
    'The answer is {"name": "Anna", "age": 31, "tags": ["a", "b"]} or no, or yes. 0123456789',
    "今天天气很好，我们去公园散步吧！🙂 价格 味道 好 不好 是 否",
    "Mixed 中文 and English: abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ - + * ( ) true false null _ / \\ 名字年龄",
]
KINDS = ["bpe", "unigram", "characters"]
CHOICES = ["yes", "no", "好", "不好", "天气很好", "味道 好"]
SCHEMA = {
    "type": "object",
    "properties": {
        "名字": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "ok": {"enum": [True, "好"]},
    },
    "required": ["名字", "age", "ok"],
    "additionalProperties": False,
}
SUM = """
start: term (" " SIGN " " term)*
term: NUMBER | "(" start ")"
SIGN: "+" | "*"
NUMBER: /[0-9]{1,2}/
"""


@cache
def model(kind: str, panel: str = "causal") -> Model:
    tokenizer = Tokenizer.train(TEXTS * 4, kind, 330, panel="causal")  # type: ignore[arg-type]
    # More numbers than tokens, as models have that are padded to a round number.
    sizes = {"vocab_size": tokenizer.vocab_size + 7, "hidden_size": 16, "num_layers": 1, "context_length": 160, "initializer_range": 0.4}
    more = {"num_decoder_layers": 1} if panel == "pair" else {}
    return Model(create("bart-tiny" if panel == "pair" else "gpt-tiny", seed=3, **sizes, **more), tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_is_one_of_the_choices(kind: str) -> None:
    found = [answer for few in model(kind).answers(["The", "今天"], 20, n=8, temperature=2.0, choices=CHOICES) for answer in few]
    assert {answer.text for answer in found} <= set(CHOICES) and len({answer.text for answer in found}) > 1
    assert all(answer.ending == "end" for answer in found)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_regular_expression_says(kind: str) -> None:
    pattern = r"(今天|天气)[0-9]{2}-[a-c]+！?"
    for answer in model(kind).answers("The", 60, n=12, temperature=1.5, regex=pattern):
        assert re.fullmatch(pattern, answer.text) if answer.ending == "end" else answer.ending == "length"


@pytest.mark.parametrize("kind", KINDS)
def test_json_that_has_ended_is_valid(kind: str) -> None:
    ended = 0
    for answer in model(kind).answers("The answer", 120, n=10, temperature=1.0, json_schema=SCHEMA):
        if answer.ending == "end":
            ended += 1
            found = json.loads(answer.text)
            assert list(found) == ["名字", "age", "ok"] and len(found["名字"]) <= 6
            assert type(found["age"]) is int and 0 <= found["age"] <= 120 and found["ok"] in (True, "好")
    assert ended > 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_grammar_may_call_itself(kind: str) -> None:
    ended = 0
    for answer in model(kind).answers("今天", 60, n=10, temperature=1.0, grammar=SUM):
        if answer.ending == "end":
            ended += 1
            # Python reads sums too, once no number begins with a zero.
            compile(re.sub(r"[0-9]+", "1", answer.text), "sum", "eval")
            assert re.fullmatch(r"[0-9()+* ]+", answer.text)
    assert ended


def test_an_encoder_decoder_keeps_to_a_form_too() -> None:
    for answer in model("bpe", "pair").answers(["The", "今天天气"], 20, choices=CHOICES, temperature=1.0):
        assert answer[0].text in CHOICES


def test_a_form_holds_against_bias_and_penalties_and_in_a_stream() -> None:
    settings: dict[str, Any] = {"choices": ["好好好好", "no no no"], "no_repeat_ngram": 1, "logit_bias": {"T": 50.0}, "seed": 5}
    text = model("bpe").generate("The", 30, **settings)
    assert text in settings["choices"] and "".join(model("bpe").stream("The", 30, **settings)) == text


def test_an_empty_form_is_an_empty_answer() -> None:
    (answer,) = model("bpe").answers("The", 30, choices=[""])
    assert answer.text == "" and answer.ending == "end"


@pytest.mark.parametrize(
    "settings",
    [
        {"regex": "(a"},
        {"regex": "(" * 60_000 + "a" + ")" * 60_000},
        {"json_schema": {"type": "strin"}},
        {"json_schema": '{"type": '},
        {"json_schema": 3},
        {"json_schema": False},
        {"json_schema": {"$ref": "http://example.com/schema.json"}},
        {"json_schema": '{"items":' * 20_000 + "true" + "}" * 20_000},
        {"json_schema": '{"items":' * 50_000},
        {"json_schema": {"type": "string", "pattern": "["}},
        {"json_schema": {"properties": {1: object()}}},
        {"grammar": "start: nothing"},
        {"grammar": 'word: "a"'},
        {"grammar": ""},
    ],
    ids=lambda settings: str(settings)[:40],
)
def test_a_form_that_cannot_be_read_is_refused_and_nothing_is_written(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        model("bpe").generate("The", 5, **settings)
    assert caught.value.code == "E648"


def test_what_cannot_be_written_is_said() -> None:
    with pytest.raises(UsageError) as caught:
        model("characters").generate("The", 5, choices=["猫"])
    assert caught.value.code == "E650"
    tokenizer = Tokenizer.train(TEXTS, "wordpiece", 200, panel="causal")
    with pytest.raises(UsageError) as refused:
        Model(create("gpt-tiny", vocab_size=tokenizer.vocab_size), tokenizer).generate("The", 5, regex="a")
    assert refused.value.code == "E649"


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match="pip install llguidance") as caught:
        model("bpe").generate("The", 5, regex="a")
    assert caught.value.code == "E647"


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_tokens_join_to_the_text(kind: str) -> None:
    from diptych.generation.forms import bytes_of

    tokenizer = model(kind).tokenizer
    pieces = bytes_of(tokenizer)
    for text in ("The answer is no", "今天天气很好", "Mixed 中文 and 🙂"):
        if tokenizer.unk_id not in (ids := tokenizer.encode(text)):
            assert b"".join(pieces[token] for token in ids).decode().removeprefix(" ") == text
