"""The page of a text's way: its numbers beside a computation by hand and `model.logits`, whole and without a network."""

import base64
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych.errors import UsageError
from diptych.explain.trace_page import picture, trace_page
from diptych.messages import set_language
from diptych.model import Model

TEXTS = ("我爱学习编程", "the food was good")


def by_hand(net: Any, ids: list[int], layer: int) -> dict[str, np.ndarray]:
    """BERT's layer as its paper and Vaswani et al. have it, in numpy, with the weights alone."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in net.named_parameters()}

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + net.config.norm_eps)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    from scipy.special import erf, softmax

    heads, size, found = net.config.num_heads, net.config.head_size, {}
    embedding = "body.embedding"
    x = weights[f"{embedding}.tokens.weight"][ids] + weights[f"{embedding}.positions.weight"][: len(ids)]
    x = normed(x + weights[f"{embedding}.types.weight"][0], f"{embedding}.norm")
    for number in range(layer + 1):
        name = f"body.layers.{number}"
        q, k, v = (each.reshape(-1, heads, size).swapaxes(0, 1) for each in np.split(dense(x, f"{name}.attention.qkv"), 3, axis=-1))
        products = np.einsum("htk,hsk->hts", q, k)
        chances = softmax(products / np.sqrt(size), axis=-1)
        views = np.einsum("hts,hsk->htk", chances, v)
        output = dense(views.swapaxes(0, 1).reshape(len(ids), -1), f"{name}.attention.output")
        fed = normed(x + output, f"{name}.attention_norm")
        inner = dense(fed, f"{name}.feed_forward.up")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        out = dense(inner, f"{name}.feed_forward.down")
        found = {"q": q, "k": k, "v": v, "products": products, "weights": chances, "views": views, "output": output}
        found |= {"summed": x + output, "fed": fed, "inner": inner, "out": out}
        x = normed(fed + out, f"{name}.feed_forward_norm")
    return {**found, "layer out": x}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("layer", [0, 1])
def test_every_number_of_a_layer_is_the_one_by_hand(made: Callable[..., Any], text: str, layer: int) -> None:
    net, tokenizer = made("bert", "classes")
    traced = Model(net, tokenizer).trace(text, layer=layer, head=1)
    expected = by_hand(net, traced.reading.ids.tolist(), layer)
    look = traced.look
    ours = {"q": look.q_HTK, "k": look.k_HTK, "v": look.v_HTK, "products": look.products_HTT, "weights": look.weights_HTT}
    ours |= {"views": look.views_HTK, "output": look.output_TD, "summed": traced.summed_TD, "fed": traced.fed_TD}
    ours |= {"inner": traced.inner_TF, "out": traced.fed_out_TD, "layer out": traced.layer_out_TD}
    for name, x in ours.items():
        assert x.double().numpy() == pytest.approx(expected[name], rel=1e-4, abs=1e-5 * np.abs(expected[name]).max() + 1e-5), name
    together = traced.token_TD + traced.position_TD + traced.type_TD
    assert torch.allclose(net.body.embedding.norm(together), traced.embedded_TD, atol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_the_answer_is_that_of_the_logits(made: Callable[..., Any], text: str) -> None:
    net, tokenizer = made("bert", "classes")
    model = Model(net, tokenizer)
    traced = model.trace(text)
    logits = model.logits([traced.reading.ids.tolist()])[0]
    assert {name: logit for name, logit, _chance in traced.guesses[0].best} == pytest.approx(
        dict(zip(net.config.labels, logits.tolist(), strict=True)), abs=1e-5
    )
    net, tokenizer = made("gpt", "lm")
    model = Model(net, tokenizer)
    traced = model.trace(text)
    logits = model.logits([traced.reading.ids.tolist()])[0, -1]
    assert [logit for _name, logit, _chance in traced.guesses[0].best] == pytest.approx(logits.topk(5).values.tolist(), abs=1e-5)
    net, tokenizer = made("bert", "lm")
    model = Model(net, tokenizer)
    traced = model.trace(f"{text}[MASK]")
    place = traced.reading.ids.tolist().index(tokenizer.mask_id)
    logits = model.logits([traced.reading.ids.tolist()])[0, place]
    assert traced.guesses[0].place == place
    assert [chance for *_name, chance in traced.guesses[0].best] == pytest.approx(logits.softmax(-1).topk(5).values.tolist(), abs=1e-5)


def test_the_page_prints_those_numbers_and_loads_nothing(made: Callable[..., Any], tmp_path: Path) -> None:
    net, tokenizer = made("bert", "classes")
    traced = Model(net, tokenizer).trace("爱 <b>学习</b> &", head=1)
    html = traced.save(tmp_path / "trace.html").read_text(encoding="utf-8")
    assert "<b>学习" not in html and "<script" not in html and len(html.encode()) < 1_000_000
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/", "") and not re.search(r'src="(?!data:)', html)
    expected = by_hand(net, traced.reading.ids.tolist(), 1)
    size = len(traced.pieces)
    matrices = [table for table in re.findall(r"<table.*?</table>", html, re.DOTALL) if "softmax" in table or "Q Kᵀ</caption>" in table]
    for name, table in zip(("products", "weights"), (matrices[0], matrices[-1]), strict=True):
        shown = np.array([float(cell) for cell in re.findall(r"<td[^>]*>([-\d.]+)</td>", table)]).reshape(size, size)
        assert shown == pytest.approx(expected[name][1], rel=1e-4, abs=2e-5), name


TABLES = (
    "Q (",
    "K (",
    "V (",
    "Q Kᵀ",
    "softmax",
    "weights × V",
    "all heads",
    "added to",
    "feed-forward net reads",
    "inside",
    "what it adds",
    "leaves",
)
"""What the captions of a layer's tables begin with or hold, in the order in which they stand."""


@pytest.mark.parametrize("text", TEXTS)
def test_every_number_that_a_browser_shows_is_the_one_by_hand(
    made: Callable[..., Any], opened: Callable[..., Any], tells_apart: Callable[..., bool], tmp_path: Path, text: str
) -> None:
    net, tokenizer = made("bert", "classes")
    model = Model(net, tokenizer)
    traced = model.trace(text, head=1)
    path = traced.save(tmp_path / "trace.html")
    page = opened(path)
    assert page.asked == [] and page.errors == [] and path.stat().st_size < 1_000_000
    script = """() => {
      const numbers = (row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent).filter(Boolean);
      const tables = [...document.querySelectorAll("table.numbers")];
      return tables.map((table) => [table.caption?.textContent ?? "", [...table.rows].map(numbers).filter((row) => row.length)]);
    }"""
    shown = [(caption, np.array(rows, float)) for caption, rows in page.evaluate(script)]
    expected = by_hand(net, traced.reading.ids.tolist(), 1)
    values = [expected[name][1] for name in ("q", "k", "v", "products", "weights", "views")]
    values += [expected[name] for name in ("output", "summed", "fed", "inner", "out", "layer out")]
    found = 0
    for name, value in zip(TABLES, values, strict=True):
        found, table = next((place + 1, rows) for place, (caption, rows) in enumerate(shown[found:], found) if name in caption)
        if "Kᵀ" not in name and name != "softmax":
            # Of a vector the first numbers, and its length.
            value = np.concatenate([value[:, :6], np.linalg.norm(value, axis=-1, keepdims=True)], axis=1)
        assert table == pytest.approx(value, rel=1e-5, abs=1.5e-5), name
    logits = model.logits([traced.reading.ids.tolist()])[0].detach()
    answers = next(rows for caption, rows in shown if caption == "the whole text")
    assert answers == pytest.approx(torch.stack([logits, logits.softmax(-1)], 1).sort(0, descending=True).values.numpy(), abs=1e-5)
    if not text.isascii():
        assert text in page.locator("main").inner_text() and tells_apart(page, ".pieces span", text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_causal_and_a_bidirectional_model_stand_side_by_side(made: Callable[..., Any], language: str) -> None:
    set_language(language)
    traces = [Model(*made(family, "lm")).trace("学习 good") for family in ("bert", "gpt")]
    html = trace_page(traces)
    assert html.count("<td>−∞</td>") == sum(range(len(traces[1].pieces))), (
        "a causal piece does not see those after it, and nobody else is unseen"
    )
    words = ("sees what came before", "sees both sides") if language == "en" else ("只看前文", "两边都看")
    assert all(each in html for each in words)
    assert html.count("<section>") == 10 and html.count('<div class="beside"><div>') == 10


def test_a_picture_holds_a_grey_point_for_each_weight() -> None:
    weights = np.array([[1.0, 0.0], [0.5, 0.25], [0.0, 1.0]])
    data = base64.b64decode(picture(weights).removeprefix("data:image/png;base64,"))
    start = data.index(b"IDAT") + 4
    lines = zlib.decompress(data[start : data.index(b"IEND") - 8])
    assert [list(lines[3 * row + 1 : 3 * row + 3]) for row in range(3)] == [[0, 255], [128, 191], [255, 0]]
    assert data[16:24] == (2).to_bytes(4, "big") + (3).to_bytes(4, "big")


def test_what_cannot_be_traced_is_refused(made: Callable[..., Any]) -> None:
    model = Model(*made("bert", "classes"))
    for asked, code in (({"layer": 9}, "E813"), ({"head": -1}, "E813")):
        with pytest.raises(UsageError, match=code):
            model.trace("good", **asked)
    with pytest.raises(UsageError, match="E801"):
        model.trace(" ")
    with pytest.raises(UsageError, match="E815"):
        model.trace("好" * 80)
