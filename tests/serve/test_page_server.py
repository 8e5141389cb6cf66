"""What the page needs of the server: its files under a strict policy, the text that a token would have added, how a blank is spelt."""

import pytest
from starlette.testclient import TestClient

from diptych.serve.desk import Desk


@pytest.mark.parametrize("prompt", ["The for statement", "今天天气很好🙂"])
def test_what_might_have_stood_there_comes_with_the_text_that_it_would_have_added(client: TestClient, desk: Desk, prompt: str) -> None:
    model = desk.shelf.get("gpt").model
    body = {"model": "gpt", "prompt": prompt, "max_tokens": 12, "temperature": 0, "logprobs": 5}
    found = client.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]["top_texts"]
    answer = model.answers(prompt, 12, temperature=0, log_probabilities=5)[0]
    ids, decode = list(model.tokenizer.encode(prompt)), model.tokenizer.decode
    num_compared = 0
    for place, chance in enumerate(answer.chances):
        before = decode([*ids, *answer.tokens[:place]])
        for token, _log in () if before.endswith("\ufffd") else chance.alternatives:
            added = decode([*ids, *answer.tokens[:place], token])[len(before) :]
            # Half of a character adds nothing yet; after bytes that are no character, what follows stands by itself.
            assert found[place][model.tokenizer.token(token)] in ({"", added.replace("\ufffd", "")} if "\ufffd" in added else {added})
            num_compared += 1
    assert num_compared > 10


def test_a_model_that_fills_blanks_says_how_it_spells_one(client: TestClient) -> None:
    models = {each["id"]: each for each in client.get("/v1/models").json()["data"]}
    assert models["bert"]["blank"] == "[MASK]" and "blank" not in models["gpt"]


@pytest.mark.parametrize("path", ["/", "/app.js", "/app.css", "/icon.svg"])
def test_a_file_of_the_page_comes_under_a_policy_that_lets_in_no_more_than_it_needs(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy.pop("img-src") == "'self' data:"
    assert {name for name, value in policy.items() if value == "'self'"} == {"script-src", "style-src", "connect-src"}
    assert {name for name, value in policy.items() if value == "'none'"} == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert len(policy) == 7 and headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/page/app.js", "/%2e%2e/files.py", "/files.py", "/__init__.py", "/index.html"])
def test_nothing_else_is_handed_out(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
