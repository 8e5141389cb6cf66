"""Pages of explanations: whole, in both languages, without a network, and every text in them is text."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.explain.explain import explain
from diptych.explain.picture import attention_picture, explanation_page, shaded, show
from diptych.messages import set_language
from diptych.model import Model

NASTY = 'good <script>alert(1)</script> & "food" 酒店'
EMPTY = ("meta", "hr", "br", "img", "line", "rect")


class Reader(HTMLParser):
    """The tags of a page, all closed, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_the_text_as_text_and_loads_nothing(made: Callable[..., Any], tmp_path: Path, language: str) -> None:
    set_language(language)
    net, tokenizer = made("bert", "classes")
    net.set_config(labels=("<b>a</b>", "好评", "c"))
    found = explain(net, tokenizer, NASTY, budget=60)
    html = explanation_page([found, found])
    read = Reader(html)
    assert NASTY in read.text and "<script" not in html
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in html
    assert not [tag for tag, _attrs in read.tags if tag in ("script", "link", "iframe", "img")]
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "") and "url(" not in html
    path = found.save(tmp_path / "why.html")
    assert "<b>a</b>" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 100_000


def test_colours_are_as_strong_as_the_values_and_nothing_of_the_text_is_lost() -> None:
    text = "a & b 很好 <c>"
    places = [(0, 0, 1), (0, 6, 8), (0, 9, 12)]
    html = shaded([text, "另一个"], places, np.array([1.0, -2.0, 0.0]))
    read = Reader(html)
    assert read.text == text + "另一个"
    strengths = [float(value) for value in re.findall(r"rgba\(\d+,\d+,\d+,([\d.]+)\)", html)]
    assert strengths[1] == pytest.approx(2 * strengths[0]) and strengths[2] == 0
    colours = re.findall(r"rgba\((\d+,\d+,\d+),", html)
    assert colours[0] != colours[1]


def test_a_notebook_gets_html_and_a_terminal_words(made: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    net, tokenizer = made("bert", "classes")
    found = explain(net, tokenizer, "这家酒店很干净", budget=60)
    Reader(found._repr_html_())
    show(found)
    assert "酒店" in capsys.readouterr().out


def test_attention_is_drawn_as_lines_between_pieces(made: Callable[..., Any], tmp_path: Path) -> None:
    net, tokenizer = made("bert", "classes")
    seen = Model(net, tokenizer).attention("酒店 <很> &", of="酒店")
    svg = ElementTree.fromstring(attention_picture(seen, 0, 1))
    texts = ["".join(each.itertext()) for each in svg.iter() if each.tag.endswith("text")]
    assert texts == [piece for piece in seen.pieces for _side in "lr"]
    lines = [each for each in svg.iter() if each.tag.endswith("line")]
    assert len(lines) == int((seen.weights[0, 1] >= 0.02).sum())
    html = seen.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "no reason for an answer" in html
    Reader(html)
