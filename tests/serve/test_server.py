"""A real server on loopback, and real clients: OpenAI's own package, people who hang up, who read a byte at a time, who send too much."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import diptych as dt
from diptych.serving import Running

openai = pytest.importorskip("openai")
SECONDS = 120.0


@pytest.fixture(scope="module")
def server(tiny: Any) -> Iterator[Running]:
    with dt.serve({"gpt": tiny.gpt(context_length=512), "bert": tiny.bert()}, port=0, block=False, slots=4, body_mb=0.5) as found:
        yield found


def idle(server: Running) -> None:
    """Wait until nobody is served."""
    until = time.monotonic() + SECONDS
    while server.desk.engine.num_open:
        assert time.monotonic() < until
        threading.Event().wait(0.01)
    for lane in server.desk.engine.lanes.values():
        assert (lane.num_active, lane.num_waiting) == (0, 0)


def test_openais_package_works_unchanged(server: Running) -> None:
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=SECONDS)
    ask: dict[str, Any] = {"model": "gpt", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**ask)
    parts = list(client.chat.completions.create(**ask, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.choices[0].message.content
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**ask, "model": "none"})
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="gpt", prompt="今天", temperature=3.0, n=0)
    vectors = client.embeddings.create(model="bert", input=["今天", "park"])
    assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 16

    async def together() -> list[str]:
        asking = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", timeout=SECONDS)
        found = await asyncio.gather(*(asking.completions.create(model="gpt", prompt="今天", max_tokens=8, seed=n % 3) for n in range(9)))
        return [each.choices[0].text for each in found]

    texts = asyncio.run(together())
    assert texts[:3] == texts[3:6] == texts[6:]


def send(server: Running, body: dict[str, Any], path: str = "/v1/completions") -> socket.socket:
    """A request on a socket of its own."""
    host, port = server.url.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)), timeout=SECONDS)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    line.sendall(head.encode() + content)
    return line


@pytest.mark.parametrize("is_stream", [True, False])
def test_who_hangs_up_leaves_nothing_behind(server: Running, is_stream: bool) -> None:
    ends = {str(token): -100 for token in range(5)}
    for number in range(12):
        line = send(server, {"model": "gpt", "prompt": "今天", "max_tokens": 480, "logit_bias": ends, "stream": is_stream})
        if is_stream and number % 2:
            line.recv(100)
        line.close()
    idle(server)
    assert server.desk.engine.lanes["gpt"].num_free == 4


def test_a_slow_reader_gets_all_of_it_and_keeps_nobody_waiting(server: Running) -> None:
    line = send(server, {"model": "gpt", "prompt": "今天", "max_tokens": 60, "temperature": 0, "stream": True})
    first = line.recv(1)
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=SECONDS)
    assert client.completions.create(model="gpt", prompt="x", max_tokens=2).usage.completion_tokens == 2
    text = first
    while not text.endswith(b"0\r\n\r\n"):
        text += line.recv(7)
    line.close()
    assert text.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in text
    idle(server)


def test_a_large_body_is_refused_before_it_has_come(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as line:
        line.sendall(f"POST /tokenize HTTP/1.1\r\nHost: {host}\r\nContent-Length: {100 << 20}\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 413")


def test_what_is_no_http_is_no_reason_to_end(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for noise in (b"\x00\xff\xfe", b"GET\r\n\r\n", b"POST / HTTP/9\r\n\r\n", "你好\r\n\r\n".encode()):
        with socket.create_connection((host, int(port)), timeout=SECONDS) as line:
            line.sendall(noise)
            line.shutdown(socket.SHUT_WR)
            line.recv(100)
    with urllib.request.urlopen(server.url + "/health", timeout=SECONDS) as answer:
        assert answer.status == 200


def test_what_is_under_way_is_finished_and_nothing_new_is_taken(tiny: Any) -> None:
    server = dt.serve({"gpt": tiny.gpt(context_length=512)}, port=0, block=False, grace=SECONDS)
    line = send(server, {"model": "gpt", "prompt": "今天", "max_tokens": 100, "temperature": 0, "stream": True})
    line.recv(1)
    ending = threading.Thread(target=server.stop)
    ending.start()
    text = b""
    while more := line.recv(4096):
        text += more
    ending.join(SECONDS)
    assert not ending.is_alive() and b"data: [DONE]" in text and b"E665" not in text
    with pytest.raises(OSError):
        send(server, {"prompt": "x"})


def test_without_grace_what_is_under_way_is_told_so(tiny: Any) -> None:
    server = dt.serve({"gpt": tiny.gpt(context_length=2048)}, port=0, block=False, grace=0.0)
    line = send(server, {"model": "gpt", "prompt": "今天", "max_tokens": 2000, "temperature": 0, "stream": True})
    line.recv(1)
    server.stop()
    text = b""
    while more := line.recv(4096):
        text += more
    assert b"E665" in text or b"length" in text or b'"stop"' in text


@pytest.mark.slow
def test_a_server_that_is_killed_starts_again_and_says_the_same(tiny: Any, tmp_path: Path) -> None:
    tiny.gpt().save(tmp_path / "gpt")
    texts = []
    for kill in (signal.SIGKILL, signal.SIGTERM):
        command = [sys.executable, "-m", "diptych", "serve", str(tmp_path / "gpt"), "--port", "0"]
        spoken = {**os.environ, "DIPTYCH_LANG": "en"}
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=spoken)
        assert running.stdout is not None
        url = next(word for word in running.stdout.readline().split() if word.startswith("http"))
        client = openai.OpenAI(base_url=url + "/v1", api_key="none", timeout=SECONDS)
        texts.append([client.completions.create(model="gpt", prompt="今天", max_tokens=20, seed=seed).choices[0].text for seed in range(3)])
        running.send_signal(kill)
        assert running.wait(SECONDS) in (-signal.SIGKILL, -signal.SIGTERM, 0)
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_ten_thousand_aborted_requests(server: Running) -> None:
    for number in range(10_000):
        send(server, {"model": "gpt", "prompt": "今天", "max_tokens": 400, "stream": bool(number % 2)}).close()
    idle(server)
    assert server.desk.engine.lanes["gpt"].num_free == 4


@pytest.mark.slow
def test_schemathesis_finds_no_fault_of_the_server(server: Running, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json", "--checks", "not_a_server_error"),
        *("--max-examples", "40", "--seed", "1", "--no-color", "--request-timeout", "60"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    idle(server)


@pytest.mark.slow
def test_captum_attributes_to_a_prompt_over_the_wire(server: Running, tiny: Any) -> None:
    from captum.attr._core.remote_provider import VLLMProvider

    model = server.desk.shelf.get("gpt").model

    class Pieces:
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return model.tokenizer.encode(text)

    provider = VLLMProvider(server.url + "/v1", "gpt")
    found = provider.get_logprobs("今天", "天气很好", Pieces())  # type: ignore[arg-type]
    assert len(found) == len(model.tokenizer.encode("天气很好"))
    both, alone = model.score("今天天气很好")[0], model.score("今天")[0]
    assert abs(sum(found) - (both - alone)) < 1e-3
