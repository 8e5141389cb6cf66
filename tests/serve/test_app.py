"""What keeps strangers out and mistakes small: keys, hosts, origins, sizes, and an answer in one shape to everything that is wrong."""

import json
import logging
import math
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from diptych.errors import MachineError, UsageError
from diptych.serve.bodies import Body, ChatBody, CompletionBody, EmbeddingBody
from diptych.serve.desk import Desk
from diptych.serve.files import Files
from diptych.serving import check_bind, named_models, open_server, read_keys

KEY, OTHER = "a-key-that-opens-it", "another-key-that-opens"


def code(answer: Any) -> tuple[int, str]:
    """The status and the code of an error, which has OpenAI's shape."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return answer.status_code, error["code"]


def test_a_key_opens_and_nothing_else_does(tiny: Any, desk: Desk) -> None:
    client = tiny.client(desk, keys=(KEY, OTHER))
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    wrong: list[dict[str, str]] = [{"Authorization": value} for value in ("Bearer wrong", KEY, f"Basic {KEY}", "Bearer")]
    for headers in [{}, *wrong]:
        answer = client.get("/v1/models", headers=headers)
        assert code(answer) == (401, "E666") and answer.json()["error"]["type"] == "authentication_error"
        assert client.post("/tokenize", json={"text": "x"}, headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/nowhere", headers=headers).status_code == 401
    for key in (KEY, OTHER):
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_only_its_own_names_reach_it(tiny: Any, desk: Desk) -> None:
    client = tiny.client(desk)
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:80"):
        assert code(client.get("/v1/models", headers={"Host": host})) == (403, "E667")
    for host in ("127.0.0.1", "127.0.0.1:8000"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200
    named = tiny.client(desk, hosts=("[::1]".strip("[]"), "models.example"))
    assert named.get("/health", headers={"Host": "[::1]:9"}).status_code == 200
    assert named.get("/health", headers={"Host": "models.example"}).status_code == 200


def test_pages_of_other_sites_ask_only_where_they_may(tiny: Any, desk: Desk) -> None:
    client = tiny.client(desk, origins=("https://ours.example",))
    ask = {"json": {"text": "今天"}}
    refused = client.post("/tokenize", headers={"Origin": "https://evil.example"}, **ask)
    assert code(refused) == (403, "E668") and "access-control-allow-origin" not in refused.headers
    assert code(client.post("/tokenize", headers={"Origin": "null"}, **ask)) == (403, "E668")
    allowed = client.post("/tokenize", headers={"Origin": "https://ours.example"}, **ask)
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://ours.example"
    assert "access-control-allow-credentials" not in allowed.headers
    own = client.post("/tokenize", headers={"Origin": "http://127.0.0.1"}, **ask)
    assert own.status_code == 200 and "access-control-allow-origin" not in own.headers
    asked = {"Access-Control-Request-Method": "POST"}
    assert client.options("/tokenize", headers={"Origin": "https://ours.example", **asked}).status_code == 204
    assert client.options("/tokenize", headers={"Origin": "https://evil.example", **asked}).status_code == 403


def test_a_body_that_is_too_large_is_not_read(tiny: Any, desk: Desk) -> None:
    client = tiny.client(desk, body_bytes=1000)
    assert code(client.post("/tokenize", content=b"x" * 1001)) == (413, "E669")
    pieces = (b"x" * 100 for _number in range(100))
    assert code(client.post("/tokenize", content=pieces, headers={"Content-Type": "application/json"})) == (413, "E669")
    assert client.post("/tokenize", json={"text": "x" * 900}).status_code == 200


BAD_BODIES = [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"text": NaN}', b'{"text": 5}', b"\xff\xfe", b"[" * 100_000, b"1" * 5000]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:12]))
@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions", "/v1/chat/completions"])
def test_a_body_that_is_none_is_said_to_be(client: TestClient, path: str, body: bytes) -> None:
    if path == "/v1/completions" and body == b"{}":
        return  # OpenAI's own prompt of nothing
    status, found = code(client.post(path, content=body, headers={"Content-Type": "application/json"}))
    assert status == 400 and found in ("E658", "E659", "E660")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/completions", {"prompt": "x", "temprature": 1}, "E660"),
    ("/v1/completions", {"prompt": "x", "temperature": -0.1}, "E659"),
    ("/v1/completions", {"prompt": "x", "top_p": 1.5}, "E659"),
    ("/v1/completions", {"prompt": "x", "n": 0}, "E659"),
    ("/v1/completions", {"prompt": "x", "max_tokens": -1}, "E659"),
    ("/v1/completions", {"prompt": "x", "max_tokens": "5"}, "E659"),
    ("/v1/completions", {"prompt": "x", "suffix": "y"}, "E672"),
    ("/v1/completions", {"prompt": "x", "best_of": 3}, "E672"),
    ("/v1/completions", {"prompt": "x", "logit_bias": {"99999": 1}}, "E642"),
    ("/v1/completions", {"prompt": "x", "logit_bias": {"5": 101}}, "E659"),
    ("/v1/completions", {"prompt": [99999]}, "E659"),
    ("/v1/completions", {"prompt": [-1]}, "E659"),
    ("/v1/completions", {"prompt": []}, "E659"),
    ("/v1/completions", {"prompt": [[]]}, "E603"),
    ("/v1/completions", {"prompt": [5] * 300}, "E661"),
    ("/v1/completions", {"prompt": "x", "model": "none"}, "E656"),
    ("/v1/completions", {"prompt": "x", "model": "bert"}, "E657"),
    ("/v1/completions", {"prompt": ["x"] * 128, "n": 128, "max_tokens": 200}, "E674"),
    ("/v1/completions", {"prompt": "x", "response_format": {"type": "xml"}}, "E659"),
    ("/v1/completions", {"prompt": "x", "response_format": {"type": "json_schema"}}, "E659"),
    (
        "/v1/completions",
        {"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}}},
        "E648",
    ),
    ("/v1/completions", {"prompt": "x", "response_format": {"type": "regex", "regex": "("}}, "E648"),
    ("/v1/completions", {"prompt": "x", "response_format": {"type": "grammar", "grammar": "start: other"}}, "E648"),
    ("/v1/chat/completions", {"messages": []}, "E659"),
    ("/v1/chat/completions", {"messages": [{"role": "king", "content": "x"}]}, "E659"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "E659"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}, "E641"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "f"}}]}, "E672"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "functions": [{"name": "f"}]}, "E672"),
    ("/v1/embeddings", {"input": "x", "model": "bert", "dimensions": 999}, "E169"),
    ("/v1/embeddings", {"input": []}, "E659"),
    ("/fill", {"text": "no blank"}, "E607"),
    ("/explain", {"text": "good", "model": "judge", "method": "magic"}, "E812"),
    ("/detokenize", {"tokens": [99999]}, "E659"),
]


@pytest.mark.parametrize(("path", "body", "expected"), WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_said_and_never_let_go(client: TestClient, path: str, body: dict[str, Any], expected: str) -> None:
    if "response_format" in body:
        pytest.importorskip("llguidance")
    status, found = code(client.post(path, json=body))
    assert (status, found) == (404 if expected == "E656" else 400, expected)


@settings(max_examples=15)
@given(st.sampled_from(["temperature", "top_p", "presence_penalty", "min_p", "repetition_penalty"]), st.floats())
def test_any_number_is_taken_or_refused(client: TestClient, name: str, value: float) -> None:
    body = json.dumps({"prompt": "今", "max_tokens": 1, name: value})
    answer = client.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 or code(answer)[0] == 400
    assert math.isfinite(value) or answer.status_code == 400


def test_half_a_character_is_refused_or_mended(client: TestClient) -> None:
    said = {"role": "user", "content": "?"}
    message = json.dumps({"messages": [said], "max_tokens": 1}).replace("?", "\\ud83d 今")
    asked = {"/tokenize": '{"text": "\\ud83d 今"}', "/v1/completions": '{"prompt": "\\ud83d"}', "/v1/chat/completions": message}
    for path, body in asked.items():
        assert client.post(path, content=body, headers={"Content-Type": "application/json"}).status_code in (200, 400)


def test_paths_and_ways_that_nobody_knows(client: TestClient) -> None:
    assert code(client.get("/nowhere")) == (404, "E676") and code(client.get("/../etc/passwd")) == (404, "E676")
    assert code(client.get("/%2e%2e/errors.py")) == (404, "E676")
    refused = client.get("/v1/completions")
    assert code(refused) == (405, "E677") and refused.headers["allow"] == "POST"
    assert code(client.delete("/v1/models/gpt")) == (405, "E677")


def test_a_fault_of_ours_is_said_without_its_inside(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.serve.panel.tokenize", lambda *_: 1 / 0)
    answer = client.post("/tokenize", json={"text": "secret"})
    assert code(answer) == (500, "E675") and "secret" not in answer.text


def test_every_field_of_openais_client_is_known() -> None:
    from openai.types import completion_create_params, embedding_create_params
    from openai.types.chat import completion_create_params as chat

    kinds: list[tuple[type[Body], Any]] = [
        (CompletionBody, completion_create_params.CompletionCreateParamsBase),
        (ChatBody, chat.CompletionCreateParamsBase),
        (EmbeddingBody, embedding_create_params.EmbeddingCreateParams),
    ]
    for ours, theirs in kinds:
        assert set(get_type_hints(theirs)) <= set(ours.model_fields)


def test_the_counts_can_be_read_by_prometheus(client: TestClient) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    client.post("/v1/completions", json={"prompt": "今天", "max_tokens": 3, "temperature": 0})
    client.get("/some/secret/name")
    text = client.get("/metrics").text
    found = {each.name: each for each in text_string_to_metric_families(text)}
    assert found["diptych:generation_tokens"].samples[0].value >= 3 and "secret" not in text
    free = {sample.labels["model"]: sample.value for sample in found["diptych:num_slots_free"].samples}
    assert free["gpt"] == 4
    first = [sample for sample in found["diptych:time_to_first_token_seconds"].samples if sample.name.endswith("_count")]
    assert first[0].value >= 1


def test_texts_are_in_the_log_only_where_they_are_asked_for(tiny: Any, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    from diptych.serve.app import Options, create_app
    from diptych.serve.gate import Rules

    caplog.set_level(logging.INFO, "diptych.serve")
    for logs_texts in (False, True):
        caplog.clear()
        app = create_app(desk, Options(Rules(), logs_texts))
        TestClient(app, base_url="http://127.0.0.1").post("/tokenize", json={"text": "geheim 秘密"})
        assert ("秘密" in caplog.text) is logs_texts
        lines = [json.loads(record.message) for record in caplog.records if record.name == "diptych.serve.access"]
        assert lines[0]["path"] == "/tokenize" and lines[0]["status"] == 200


def test_the_endpoints_are_described_without_the_network(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert {"/v1/completions", "/v1/chat/completions", "/fill", "/explain"} <= set(found["paths"])
    page = client.get("/docs")
    assert "script" not in page.text and "https://" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]


def test_the_pages_files_are_those_of_the_folder_and_no_others(client: TestClient) -> None:
    for path in Files():
        answer = client.get(path)
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
    assert "/__init__.py" not in Files()


def test_no_key_no_open_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_API_KEYS", raising=False)
    for host in ("0.0.0.0", "192.168.1.5", "::", "models.example"):
        with pytest.raises(MachineError) as refused:
            check_bind(host, ())
        assert refused.value.code == "E907"
        check_bind(host, (KEY,))
    for host in ("127.0.0.1", "::1", "localhost", "127.8.0.1"):
        check_bind(host, ())
    with pytest.raises(MachineError) as refused:
        open_server({}, host="0.0.0.0")
    assert refused.value.code == "E907"
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n {OTHER} \n", encoding="utf-8")
    monkeypatch.setenv("DIPTYCH_API_KEYS", f"{KEY}, yet-another-long-key")
    assert read_keys((), file) == (KEY, "yet-another-long-key", OTHER)
    for content in ("", "short\n"):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(MachineError) as unusable:
            read_keys((), file)
        assert unusable.value.code == "E909"
    with pytest.raises(MachineError):
        read_keys((), tmp_path / "none")


def test_a_port_that_is_taken_and_names_that_clash(tiny: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError) as refused:
            open_server({"gpt": tiny.gpt()}, port=taken.getsockname()[1])
    assert refused.value.code == "E908"
    with pytest.raises(UsageError) as none:
        open_server({}, port=0)
    assert none.value.code == "E655"
    with pytest.raises(UsageError) as twice:
        named_models(["a/gpt", "b/gpt"])
    assert twice.value.code == "E673"
    assert list(named_models(["a/gpt", "b/bert.gguf"])) == ["gpt", "bert"]
