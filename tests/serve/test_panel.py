"""The understanding panel answers what the library answers, in shapes that a page can rely on."""

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from diptych.serve.desk import Desk

TEXTS = ["We walk in the park 🙂", "我们去公园散步"]


def post(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def model(desk: Desk, name: str) -> Any:
    return desk.shelf.get(name).model


@pytest.mark.parametrize("text", ["The [MASK] iterates over [MASK].", "今天[MASK]很好"])
def test_blanks(client: TestClient, desk: Desk, text: str) -> None:
    found = post(client, "/fill", text=text, top=3)
    wanted = model(desk, "bert").fill(text, 3)
    assert [[(each["token"], each["probability"]) for each in blank["choices"]] for blank in found["blanks"]] == [
        [(each.token, pytest.approx(each.probability)) for each in place] for place in wanted
    ]
    assert "[MASK]" not in found["text"] and all(not each["text"].startswith("##") for each in found["blanks"][0]["choices"])


def test_labels(client: TestClient, desk: Desk) -> None:
    found = post(client, "/classify", texts=TEXTS)["answers"]
    wanted = model(desk, "judge").predict(TEXTS)
    assert [(each["label"], each["probability"]) for each in found] == [(each.label, pytest.approx(each.probability)) for each in wanted]
    assert all(sum(each["scores"].values()) == pytest.approx(1) and set(each["scores"]) == {"好评", "bad"} for each in found)


def test_stretches_are_counted_in_characters(client: TestClient, desk: Desk) -> None:
    found = post(client, "/tag", texts=TEXTS)["answers"]
    wanted = model(desk, "tagger").predict(TEXTS)
    for text, answer, tagged in zip(TEXTS, found, wanted, strict=True):
        assert [(each["start"], each["end"], each["label"]) for each in answer["spans"]] == [span.key for span in tagged.spans]
        assert all(text[each["start"] : each["end"]] == each["text"] for each in answer["spans"])


def test_an_answer_is_a_stretch_of_the_context(client: TestClient, desk: Desk) -> None:
    question, context = "去哪里？", "今天天气很好，我们去公园散步吧！🙂"
    found = post(client, "/answer", question=question, context=context)
    (wanted,) = model(desk, "reader").predict([(question, context)])
    assert found["text"] == wanted.text == context[found["start"] : found["end"]]


def test_documents_by_their_nearness(client: TestClient, desk: Desk) -> None:
    documents = ["The for statement", "今天天气", "公园"]
    found = post(client, "/rerank", query="天气", documents=documents, model="bert")["results"]
    vectors = model(desk, "bert").embed(["天气", *documents], normalize=True).numpy()
    scores = vectors[1:] @ vectors[0]
    assert [each["index"] for each in found] == np.argsort(-scores).tolist()
    assert [each["document"]["text"] for each in found] == [documents[each["index"]] for each in found]
    assert len(post(client, "/rerank", query="天气", documents=documents, top_n=2)["results"]) == 2


@pytest.mark.parametrize("verb", ["translate", "summarize"])
def test_an_encoder_decoder_rewrites(client: TestClient, desk: Desk, verb: str) -> None:
    assert post(client, f"/{verb}", text=TEXTS[1])["text"] == model(desk, "bart").generate(TEXTS[1], 128, temperature=0)


def test_tokens_there_and_back(client: TestClient) -> None:
    for text in TEXTS:
        found = post(client, "/tokenize", text=text)
        assert post(client, "/detokenize", tokens=found["tokens"])["text"] == text and len(found["pieces"]) == len(found["tokens"])


def test_an_explanation(client: TestClient, desk: Desk) -> None:
    found = post(client, "/explain", model="judge", text=TEXTS[0], target="bad", method="occlusion")
    wanted = model(desk, "judge").explain(TEXTS[0], label="bad", method="occlusion")
    assert found["answer"] == "bad" and [each["text"] for each in found["units"]] == wanted.words
    assert [each["value"] for each in found["units"]] == pytest.approx(wanted.values.tolist(), abs=1e-5)


def test_a_model_is_not_asked_what_it_cannot_do(client: TestClient) -> None:
    refused = client.post("/tag", json={"texts": TEXTS, "model": "gpt"})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "E657"
    assert "tokenize" in refused.json()["error"]["message"]
