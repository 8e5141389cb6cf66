"""The parts of the page that count and cut, in a real browser, beside Python's own: code points, pieces, cosines, events, sentences."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diptych.serve

FOLDER = Path(diptych.serve.__file__).parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"
ORIGIN = "http://127.0.0.1:1"
TEXTS = ["The food was good.", "这家酒店很干净🙂，早餐也不错。", "a👩‍👩‍👧b é 中文\r\nend", "", "𠮷野家🍚"]


@pytest.fixture(scope="module")
def page(chromium: Any) -> Iterator[Any]:
    """The page, whose files are handed out without a server."""
    context = chromium.new_context()

    def answer(route: Any) -> None:
        found = FILES.get(route.request.url.removeprefix(f"{ORIGIN}/") or "index.html")
        if found is None:
            route.fulfill(status=503, json={"error": {"message": "no models here"}})
        else:
            headers = {"Content-Security-Policy": POLICY, "Content-Type": KINDS[found.suffix]}
            route.fulfill(status=200, body=found.read_bytes(), headers=headers)

    context.route("**/*", answer)
    page = context.new_page()
    page.goto(f"{ORIGIN}/")
    yield page
    context.close()


def call(page: Any, module: str, name: str, *arguments: Any) -> Any:
    """What a function of a file of the page answers."""
    script = "async ([module, name, given]) => (await import(`/${module}.js`))[name](...given)"
    return page.evaluate(script, [module, name, list(arguments)])


def test_places_are_code_points_as_in_python(page: Any) -> None:
    chance = random.Random(0)
    for text in TEXTS:
        for _try in range(20):
            start, end = sorted(chance.choices(range(len(text) + 1), k=2))
            assert call(page, "points", "slice", text, start, end) == text[start:end]
            spans = [{"start": start, "end": end, "label": "x"}]
            parts = call(page, "points", "cut", text, spans)
            assert "".join(part["text"] for part in parts) == text
            marked = [part["text"] for part in parts if part["span"]]
            assert marked == ([text[start:end]] if end > start else [])


def test_spans_that_cross_or_lie_outside_lose_no_text(page: Any) -> None:
    text = "Anna 🙂 lives in 北京市"
    spans = [{"start": start, "end": end, "label": "x"} for start, end in ((5, 9), (0, 4), (2, 7), (16, 99), (16, 19), (-2, 1), (8, 8))]
    parts = call(page, "points", "cut", text, spans)
    assert "".join(part["text"] for part in parts) == text
    assert [part["text"] for part in parts if part["span"]] == [text[0:4], text[5:9], text[16:19]]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("begin", [0, 7])
def test_pieces_are_whole_characters_with_the_chance_of_all_their_tokens(page: Any, text: str, begin: int) -> None:
    """Tokens are runs of bytes, as byte-level tokenizers have them; where characters end is counted here byte by byte."""
    chance, data = random.Random(begin), text.encode()
    for _try in range(5):
        cuts = sorted({0, len(data), *chance.choices(range(len(data) + 1), k=len(data))})
        tokens, expected, waiting = [], [], []
        for start, end in pairwise(cuts):
            logprob = -chance.random()
            whole = len(data[:start].decode("utf-8", "ignore"))
            tokens.append({"offset": begin + whole, "logprob": logprob, "others": [{"text": "x", "logprob": -1}]})
            waiting.append(logprob)
            grown = data[:end].decode("utf-8", "ignore")
            if len(grown) > sum(len(each) for each, *_rest in expected):
                expected.append((grown[sum(len(each) for each, *_rest in expected) :], sum(waiting), len(waiting)))
                waiting = []
        pieces = call(page, "pieces", "piecesOf", text, tokens)
        assert [piece["text"] for piece in pieces] == [each for each, *_rest in expected]
        assert [piece["logprob"] for piece in pieces] == pytest.approx([logprob for _text, logprob, _number in expected])
        assert [bool(piece["others"]) for piece in pieces] == [number == 1 for *_rest, number in expected], "half a character is no choice"


def test_a_text_without_chances_is_one_piece(page: Any) -> None:
    assert call(page, "pieces", "piecesOf", "好🙂", []) == [{"text": "好🙂", "logprob": None, "others": []}]
    assert call(page, "pieces", "piecesOf", "", []) == []


def test_cosine_is_numpys(page: Any) -> None:
    chance = np.random.default_rng(0)
    for size in (1, 3, 384):
        one, other = chance.normal(size=(2, size))
        expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert call(page, "cosine", "cosine", one.tolist(), other.tolist()) == pytest.approx(expected, abs=1e-12)
    assert call(page, "cosine", "cosine", [0, 0], [1, 2]) == 0


def test_events_are_read_wherever_the_network_cuts_them(page: Any) -> None:
    script = """async (chunks) => {
      const { events } = await import("/stream.js");
      const body = new ReadableStream({
        start(controller) {
          for (const chunk of chunks) controller.enqueue(new Uint8Array(chunk));
          controller.close();
        },
      });
      const found = [];
      for await (const event of events(body)) found.push(event);
      return found;
    }"""
    said = [{"text": text, "n": number} for number, text in enumerate(TEXTS)]
    lines = ": the line is open\r\n\r\n" + "".join(f"data: {json.dumps(each, ensure_ascii=False)}\n\n" for each in said)
    data = (lines + 'data: [DONE]\n\ndata: {"after": 1}\n\n').encode()
    chance = random.Random(0)
    for number in (0, 1, 5, len(data)):
        cuts = sorted({0, len(data), *chance.choices(range(len(data)), k=number)})
        assert page.evaluate(script, [list(data[start:end]) for start, end in pairwise(cuts)]) == said


def test_a_listener_hears_whole_sentences(page: Any) -> None:
    script = """async (parts) => {
      const { reader } = await import("/live.js");
      const said = [];
      const region = document.getElementById("live");
      const watch = new MutationObserver(() => said.push(region.textContent));
      watch.observe(region, { childList: true });
      const heard = reader();
      for (const part of parts) {
        heard.add(part);
        await new Promise((go) => setTimeout(go));
      }
      heard.end();
      await new Promise((go) => setTimeout(go));
      watch.disconnect();
      return said;
    }"""
    parts = ["The f", "ood was", " good. It", " was 3.5 euros", "! And"]
    assert page.evaluate(script, parts) == ["The food was good. ", "It was 3.5 euros! ", "And"]
    assert page.evaluate(script, list("今天天气很好。我们去公园！走吧")) == ["今天天气很好。", "我们去公园！", "走吧"]


def test_shares_can_be_told_apart(page: Any) -> None:
    assert [call(page, "words", "percent", share) for share in (1, 0.456, 0.0994, 0.004, 0)] == ["100%", "46%", "9.9%", "0.4%", "0%"]
