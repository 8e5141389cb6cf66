"""A strict reader of HTML, and text that tries to be more than text."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

VOID = {"meta", "br", "img", "link", "input", "hr", "base", "wbr", "source", "area", "col", "embed", "track"}
LOADS = ("src", "href", "xlink:href", "action", "data", "poster", "srcset", "background", "formaction")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; </style></svg></title></pre></td></main>",
    "<!-- ]]> &amp; &lt; $\\frac{x $y$ %s {name}",
    '<svg onload="alert(1)"/>',
)


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page: elements, attributes, text; an end that fits no beginning fails."""

    elements: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open, f"left open: {page.open}"
    assert html.lstrip().lower().startswith("<!doctype html>")
    forbidden = {"script", "iframe", "object", "embed", "link", "img", "form", "base", "foreignobject"} & set(page.elements)
    assert not forbidden, forbidden
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}={value!r}>"
        if name in LOADS:
            assert value.startswith(("#", "data:image/png;base64,")), f"<{tag} {name}={value!r}> loads something"
        if name == "style":
            assert "url(" not in value.replace("url(#", "")
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL))
    assert "@import" not in styles and "url(" not in styles.replace("url(#", "")
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)
    return page


@pytest.fixture
def page():
    """Read a page strictly: whole, with nothing that runs and nothing that is loaded from elsewhere."""
    return read


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest) -> str:
    return request.param
