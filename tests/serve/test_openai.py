"""OpenAI's endpoints: what is written is what the library writes, in both languages, whole and as a stream."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from diptych.model import Model

PROMPTS = ["The for", "今天天气", "🙂 and 中文"]
GREEDY = {"temperature": 0}
DRAWN = {"temperature": 1.1, "top_p": 0.9, "seed": 5}


def post(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(client: TestClient, path: str, **body: Any) -> list[Any]:
    """All events of a stream, which ends as it must."""
    with client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize("settings", [GREEDY, DRAWN, {**DRAWN, "presence_penalty": 0.5, "logit_bias": {"40": 3}}], ids=str)
def test_a_completion_is_what_the_library_writes(client: TestClient, gpt: Model, settings: dict[str, Any]) -> None:
    found = post(client, "/v1/completions", model="gpt", prompt=PROMPTS, max_tokens=12, **settings)
    ours = {**settings, "logit_bias": {40: 3.0}} if "logit_bias" in settings else settings
    assert [each["text"] for each in found["choices"]] == gpt.generate(PROMPTS, 12, **ours)
    assert [each["index"] for each in found["choices"]] == [0, 1, 2]
    assert found["usage"]["completion_tokens"] <= 36 and found["object"] == "text_completion"


@pytest.mark.parametrize("settings", [GREEDY, DRAWN], ids=str)
def test_a_stream_joined_is_the_answer_in_one_piece(client: TestClient, settings: dict[str, Any]) -> None:
    for prompt in PROMPTS:
        whole = post(client, "/v1/completions", prompt=prompt, max_tokens=20, **settings)["choices"][0]
        parts = [each["choices"][0] for each in events(client, "/v1/completions", prompt=prompt, max_tokens=20, **settings)]
        assert "".join(part["text"] for part in parts) == whole["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [whole["finish_reason"]]


def test_several_answers_are_the_librarys_and_greedy_ones_are_alike(client: TestClient, gpt: Model) -> None:
    drawn = post(client, "/v1/completions", prompt="今天", max_tokens=8, n=3, **DRAWN)["choices"]
    assert [each["text"] for each in drawn] == gpt.generate("今天", 8, n=3, **DRAWN)
    alike = post(client, "/v1/completions", prompt="今天", max_tokens=8, n=2, **GREEDY)["choices"]
    assert alike[0]["text"] == alike[1]["text"]


def test_tokens_are_taken_as_a_prompt(client: TestClient, gpt: Model) -> None:
    ids = gpt.read_ids("The for")
    found = post(client, "/v1/completions", prompt=ids, max_tokens=8, **GREEDY)["choices"][0]["text"]
    several = post(client, "/v1/completions", prompt=[ids, ids], max_tokens=8, **GREEDY)["choices"]
    assert [found] * 2 == [each["text"] for each in several] and found == gpt.generate("The for", 8, temperature=0)


def test_an_echo_with_log_probabilities_is_the_score_of_the_text(client: TestClient, gpt: Model) -> None:
    text = "今天天气很好，我们去公园。The for statement"
    ids = gpt.read_ids(text)
    found = post(client, "/v1/completions", prompt=ids, echo=True, max_tokens=1, logprobs=1, **GREEDY)["choices"][0]
    logs = found["logprobs"]["token_logprobs"]
    assert logs[0] is None and len(logs) == len(ids) + 1 == len(found["logprobs"]["tokens"])
    total, count = gpt.score(text)
    assert math.isclose(sum(logs[1:-1]), total, abs_tol=1e-3) and count == len(ids) - 1
    best = found["logprobs"]["top_logprobs"]
    assert best[0] is None and all(max(each.values()) >= log for each, log in zip(best[1:], logs[1:], strict=True))
    # Where each token begins: what is between two offsets is the text of a token that is whole characters.
    offsets, shown = found["logprobs"]["text_offset"], found["text"]
    assert offsets == sorted(offsets) and shown.startswith(text)
    for token, start in zip(found["logprobs"]["tokens"], offsets, strict=True):
        assert shown[start:].startswith(token) or not token.isascii() or token.startswith("<|") or not token.isprintable()


def test_nothing_new_may_be_asked_for(client: TestClient) -> None:
    found = post(client, "/v1/completions", prompt="今天", echo=True, max_tokens=0, logprobs=0)["choices"][0]
    assert found["text"] == "今天" and found["finish_reason"] == "length"
    assert all(len(each) == 1 for each in found["logprobs"]["top_logprobs"][1:])


def test_prompt_log_probabilities_as_captum_reads_them(client: TestClient, gpt: Model) -> None:
    found = post(client, "/v1/completions", prompt="The for", max_tokens=1, prompt_logprobs=0, **GREEDY)["choices"][0]["prompt_logprobs"]
    assert found[0] is None and [next(iter(each)) for each in found[1:]] == [str(token) for token in gpt.read_ids("The for")[1:]]


def test_a_stop_text_ends_an_answer_even_within_a_token(client: TestClient) -> None:
    whole = post(client, "/v1/completions", prompt="The for", max_tokens=20, **GREEDY)["choices"][0]["text"]
    stop = whole[3:5]
    found = post(client, "/v1/completions", prompt="The for", max_tokens=20, stop=stop, **GREEDY)["choices"][0]
    assert found["text"] == whole[: whole.index(stop)] and found["finish_reason"] == "stop"
    parts = events(client, "/v1/completions", prompt="The for", max_tokens=20, stop=[stop], **GREEDY)
    assert "".join(part["choices"][0]["text"] for part in parts) == found["text"]


def test_a_conversation_is_the_librarys(client: TestClient, gpt: Model) -> None:
    messages = [{"role": "system", "content": "简短"}, {"role": "user", "content": "你好 🙂"}]
    found = post(client, "/v1/chat/completions", messages=messages, max_tokens=12, logprobs=True, top_logprobs=2, **GREEDY)
    message = found["choices"][0]["message"]
    assert message["content"] == gpt.chat(messages, 12, temperature=0)
    content = found["choices"][0]["logprobs"]["content"]
    assert len(content) == found["usage"]["completion_tokens"] and all(len(each["top_logprobs"]) == 2 for each in content)
    assert (
        bytes(byte for each in content for byte in each["bytes"]).decode("utf-8", "replace").startswith(message["content"].rstrip("\ufffd"))
    )
    parts = events(client, "/v1/chat/completions", messages=messages, max_tokens=12, stream_options={"include_usage": True}, **GREEDY)
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant" and parts[-1]["usage"] == found["usage"]
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1]) == message["content"]
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}


SCHEMA = {
    "type": "object",
    "properties": {"名字": {"enum": ["安娜", "Bo"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["名字", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_of_a_schema_is_valid(client: TestClient, seed: int) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    messages = [{"role": "user", "content": "who 谁"}]
    found = post(client, "/v1/chat/completions", messages=messages, max_tokens=90, seed=seed, response_format=form)["choices"][0]
    value = json.loads(found["message"]["content"])
    assert found["finish_reason"] == "stop"
    assert value["名字"] in ("安娜", "Bo") and 0 <= value["age"] <= 99 and len(value) == 2


def test_other_forms(client: TestClient) -> None:
    def written(form: dict[str, Any]) -> str:
        return post(client, "/v1/completions", prompt="今天", max_tokens=60, seed=1, response_format=form)["choices"][0]["text"]

    assert written({"type": "regex", "regex": "(好|no) [0-9]{3}"})[-3:].isdigit()
    assert written({"type": "choices", "choices": ["是", "否"]}) in ("是", "否")
    assert written({"type": "grammar", "grammar": 'start: "天" "气"'}) == "天气"
    assert written({"type": "json_object"}).lstrip().startswith("{")


def test_a_tool_that_must_be_called_is_called(client: TestClient) -> None:
    tool = {"type": "function", "function": {"name": "天气", "parameters": SCHEMA}}
    ask = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 120, "seed": 2, "tools": [tool], "tool_choice": "required"}
    choice = post(client, "/v1/chat/completions", **ask)["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls" and call["function"]["name"] == "天气"
    assert set(json.loads(call["function"]["arguments"])) == {"名字", "age"}
    parts = events(client, "/v1/chat/completions", **ask)
    told = [part["choices"][0]["delta"]["tool_calls"][0] for part in parts if "tool_calls" in part["choices"][0]["delta"]]
    assert [each["function"] for each in told] == [call["function"]]


def test_vectors_are_the_librarys_and_base64_is_the_same_numbers(client: TestClient, desk: Any) -> None:
    texts = ["The for statement", "今天天气很好 🙂"]
    found = post(client, "/v1/embeddings", model="bert", input=texts)
    vectors = np.array([each["embedding"] for each in found["data"]], dtype=np.float32)
    model = desk.shelf.get("bert").model
    assert np.allclose(vectors, model.embed(texts).numpy(), atol=1e-6)
    coded = post(client, "/v1/embeddings", model="bert", input=texts, encoding_format="base64")["data"]
    assert np.array_equal(np.stack([np.frombuffer(base64.b64decode(each["embedding"]), dtype="<f4") for each in coded]), vectors)
    few = post(client, "/v1/embeddings", model="bert", input=texts[0], dimensions=4)["data"][0]["embedding"]
    assert np.allclose(few, model.embed(texts[0], dimensions=4).numpy()[0], atol=1e-6)
    ids = model.tokenizer.encode(texts[0])
    assert np.allclose(post(client, "/v1/embeddings", model="bert", input=ids)["data"][0]["embedding"], vectors[0], atol=1e-5)


def test_models_say_what_they_can_do(client: TestClient) -> None:
    found = {each["id"]: each for each in client.get("/v1/models").json()["data"]}
    assert list(found) == ["gpt", "bert", "judge", "tagger", "reader", "bart"]
    assert {"write", "chat"} <= set(found["gpt"]["can"]) and "fill" not in found["gpt"]["can"]
    assert {"classify", "fill", "embed"} <= set(found["judge"]["can"]) and {"translate", "summarize"} <= set(found["bart"]["can"])
    assert client.get("/v1/models/gpt").json() == found["gpt"]
    assert client.get("/v1/models/none").status_code == 404


def test_an_answer_ends_where_the_context_does(client: TestClient, gpt: Model) -> None:
    ids = [5] * (gpt.config.context_length - 4)
    found = post(client, "/v1/completions", prompt=ids, max_tokens=100, logit_bias={"5": 100}, **GREEDY)
    assert found["choices"][0]["finish_reason"] == "length" and found["usage"]["completion_tokens"] == 4
