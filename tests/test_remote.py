"""The client of OpenAI-compatible services, against a server on this machine that says what it was asked."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from diptych.errors import TrainingError
from diptych.remote import Service, choose


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((self.path, dict(self.headers), body))
        status, answer = self.server.say(body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("diptych.remote.time.sleep", lambda _seconds: None)
    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.heard, made.say = [], lambda _body: (200, said("A"))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    made.address = f"http://127.0.0.1:{made.server_port}/v1"
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def said(content, top=None):
    logprobs = None if top is None else {"content": [{"token": content, "top_logprobs": [{"token": t, "logprob": p} for t, p in top]}]}
    return {"choices": [{"message": {"role": "assistant", "content": content}, "logprobs": logprobs}]}


def test_labels_get_the_probabilities_of_their_letters(server):
    server.say = lambda _body: (200, said("B", [("B", math.log(0.6)), (" A", math.log(0.2)), ("B ", math.log(0.1)), ("x", -3.0)]))
    found = choose(Service(server.address, "m"), "今天很好 🙂\r\nfine", ["差", "好", "ok"])
    assert [math.exp(each) for each in found] == pytest.approx([0.99 * 2 / 9 + 0.01 / 3, 0.99 * 7 / 9 + 0.01 / 3, 0.01 / 3])
    path, headers, body = server.heard[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert body["model"] == "m" and body["top_logprobs"] == 20 and body["max_tokens"] == 1
    assert "B. 好" in body["messages"][0]["content"] and "今天很好 🙂" in body["messages"][0]["content"]


def test_a_service_without_probabilities_is_taken_at_its_word(server):
    server.say = lambda _body: (200, said(" B. "))
    found = choose(Service(server.address, "m"), "x", ["no", "yes"])
    assert math.exp(found[1]) == pytest.approx(0.995)
    labels = [f"label {number}" for number in range(30)]
    server.say = lambda _body: (200, said("label 7"))
    found = choose(Service(server.address, "m"), "x", labels)
    assert max(range(30), key=found.__getitem__) == 7 and sum(map(math.exp, found)) == pytest.approx(1.0)


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "very-secret")
    service = Service(server.address, "m", "MY_KEY")
    service.write("hi", max_tokens=3, temperature=0.5, seed=4)
    assert server.heard[0][1]["Authorization"] == "Bearer very-secret" and server.heard[0][2]["seed"] == 4
    server.say = lambda _body: (401, {"error": "no"})
    with pytest.raises(TrainingError) as caught:
        service.write("hi", max_tokens=3, temperature=0.5, seed=4)
    assert caught.value.code == "E538" and "secret" not in f"{caught.value}{caught.value.values}{service}"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(TrainingError) as caught:
        service.write("hi", max_tokens=3, temperature=0.5, seed=4)
    assert caught.value.code == "E540" and "MY_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "code", "asked"),
    [
        ((500, {}), "E538", 3),
        ((429, {}), "E538", 3),
        ((404, {}), "E538", 1),
        ((302, {}), "E538", 1),
        ((200, b"<html>"), "E539", 1),
        ((200, {"choices": []}), "E539", 1),
        ((200, ["?"]), "E539", 1),
        ((200, said("I think it is fine")), "E539", 1),
    ],
)
def test_what_goes_wrong_is_said(server, answer, code, asked):
    server.say = lambda _body: answer
    with pytest.raises(TrainingError) as caught:
        choose(Service(server.address, "m"), "x", ["no", "yes"])
    assert caught.value.code == code and "127.0.0.1" in str(caught.value)
    assert len(server.heard) == asked


def test_a_busy_service_is_asked_again(server):
    answers = iter([(503, {}), (200, said("A"))])
    server.say = lambda _body: next(answers)
    assert choose(Service(server.address, "m"), "x", ["no", "yes"])[0] > -0.1


def test_nobody_there_and_other_schemes(server):
    for address in ("http://127.0.0.1:9/v1", "file:///etc/passwd"):
        with pytest.raises(TrainingError) as caught:
            Service(address, "m", seconds=1).write("x", max_tokens=1, temperature=0.0, seed=0)
        assert caught.value.code == "E538"
