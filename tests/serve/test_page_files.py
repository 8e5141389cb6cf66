"""The files of the page: nothing inline, nothing from elsewhere, no data as markup, and every word in both languages."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import diptych.serve

FOLDER = Path(diptych.serve.__file__).parent / "page"
FILES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")}
SCRIPTS = {address: text for address, text in FILES.items() if address.endswith(".js")}
ENTRY = re.compile(r'^  (\w+):\s+(?:"((?:[^"\\]|\\.)*)"|\'([^\']*)\'),$', re.MULTILINE)


class Read(HTMLParser):
    """The elements of the page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def words(table: str) -> dict[str, str]:
    """What the page says in a language, by key."""
    return {key: double or single for key, double, single in ENTRY.findall(FILES[f"{table}.js"])}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    elements = Read(FILES["index.html"]).found
    for tag, attributes in elements:
        assert tag != "style" and "style" not in attributes, "the policy forbids styles in markup"
        assert not any(name.startswith("on") for name in attributes)
        if tag == "script":
            assert attributes["src"] == "app.js"
    assert not re.search(r"<script[^>]*>[^<]", FILES["index.html"])
    for address, text in FILES.items():
        assert not re.search(r"https?://|//cdn|@import|url\(", text.replace('xmlns="http://www.w3.org/2000/svg"', "")), address


def test_no_data_becomes_markup_or_code() -> None:
    dangerous = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", ".style =")
    for address, text in SCRIPTS.items():
        assert not [each for each in dangerous if each in text], address


def test_what_a_file_imports_is_there_and_what_is_there_is_used() -> None:
    imported = {name for text in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    named = set(re.findall(r'(?:src|href)="([\w.]+)"', FILES["index.html"]))
    assert imported | named == set(FILES) - {"index.html"}


def test_both_languages_say_the_same_things() -> None:
    english, chinese = words("english"), words("chinese")
    assert len(english) > 80 and list(english) == list(chinese)
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[key])), key
        if key != "otherLanguage":
            assert not re.search(r"[\u4e00-\u9fff]", text), key
            assert chinese[key] != text or text == "Top-p", key
    assert (english["otherLanguage"], chinese["otherLanguage"]) == ("中文", "English"), "each names the other in its own letters"


def test_every_word_that_is_asked_for_is_there_and_every_word_is_asked_for() -> None:
    known = set(words("english"))
    asked = set(re.findall(r'data-word(?:-\w+)?="(\w+)"', FILES["index.html"]))
    strings = {each for text in SCRIPTS.values() for each in re.findall(r'"(\w+)"', text)}
    tasks = re.findall(r"^  (\w+): [\"']diptych", FILES["view.js"], re.MULTILINE)
    views = re.findall(r'name: "(\w+)", group', FILES["app.js"])
    # Words whose keys are put together: what a task needs, what a view is for, what a text becomes.
    made = {f"{task}Needs" for task in tasks} | {f"{view}Hint" for view in views}
    made |= {f"{task}{end}" for task in ("translate", "summarize") for end in ("Example", "Do")}
    assert len(tasks) == 9 and len(views) == 10
    assert asked | made <= known
    assert known <= asked | made | strings


@pytest.mark.parametrize("address", sorted(SCRIPTS))
def test_a_file_says_what_it_is_for(address: str) -> None:
    assert SCRIPTS[address].startswith("/**") and len(SCRIPTS[address].splitlines()) <= 160
