"""The page clicked through in a real browser, before the real application with tiny models: what it shows is what the models say.

In both languages; no request leaves the machine; text that looks like markup stays text.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from diptych.errors import UsageError
from diptych.serve.app import Options, create_app
from diptych.serve.desk import Desk
from diptych.serve.gate import Rules
from diptych.serving import open_desk

VIEWS = ("write", "chat", "translate", "summarize", "compare", "fill", "classify", "tag", "answer", "search")
TEXTS = {"en": "The for statement iterates", "zh": "今天天气很好🙂，我们去公园"}
HOSTILE = '<img src=x onerror="alert(1)">'
PATIENCE = 600_000
"""Milliseconds: a busy machine is no reason to fail."""


@contextmanager
def served(desk: Desk, **rules: Any) -> Iterator[str]:
    """The application on a free port, in a thread of its own; the desk goes on afterwards."""
    import uvicorn

    config = uvicorn.Config(create_app(desk, Options(Rules(**rules))), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(desk: Desk) -> Iterator[str]:
    with served(desk) as found:
        yield found


@dataclass
class Visit:
    """A page as somebody has it before them, and what it did."""

    page: Any
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def show(self, name: str, model: str | None = None) -> Any:
        """Go to a view, and choose a model in it."""
        self.page.locator(f"#tab-{name}").click()
        view = self.page.locator(f"#view-{name}")
        if model is not None:
            for select in view.locator("select").all():
                select.select_option(model)
        return view

    def do(self, view: Any) -> None:
        """Press the main button, and wait until nothing is busy."""
        view.locator("button.main").click()
        self.wait(view)

    def wait(self, view: Any) -> None:
        while view.locator("[aria-busy]").count():
            time.sleep(0.01)


def text_of(view: Any) -> str:
    """What was given and written, without the menu beside it."""
    return "".join(view.locator(".written .given, .written .pieces").all_text_contents())


def write_with(view: Any, **settings: Any) -> None:
    """Set how a text is written, by the order of the fields."""
    for details in view.locator("details.settings").all():
        details.evaluate("(element) => (element.open = true)")
        for place, name in enumerate(("max_tokens", "temperature", "top_p", "seed")):
            if name in settings:
                details.locator("input").nth(place).fill(str(settings[name]))


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """visit("zh", color_scheme="dark", width=360) opens the page; nothing else was asked for, and nothing went wrong."""
    opened: list[tuple[Visit, Any]] = []

    def open_page(language: str = "en", at: str = address, width: int = 1280, **options: Any) -> Visit:
        locale = {"en": "en-GB", "zh": "zh-CN"}[language]
        context = chromium.new_context(locale=locale, viewport={"width": width, "height": 800}, **options)
        found = Visit(context.new_page())
        opened.append((found, context))
        found.page.goto(at)
        found.page.locator('[role="tab"][aria-selected="true"]').wait_for()
        return found

    yield open_page
    for found, context in opened:
        origin = re.match(r"http://127\.0\.0\.1:\d+/", found.page.url)
        assert origin and all(url.startswith(origin[0]) for url in found.asked), found.asked
        assert found.errors == []
        context.close()


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.slow)])
def test_a_text_is_written_and_goes_on_otherwise(visit: Callable[..., Visit], desk: Desk, language: str) -> None:
    visit, model, begun = visit(language), desk.shelf.get("gpt").model, TEXTS[language] + HOSTILE
    view = visit.show("write", "gpt")
    write_with(view, max_tokens=12, temperature=0)
    view.locator("textarea").fill(begun)
    visit.do(view)
    answer = model.answers(begun, 12, temperature=0, log_probabilities=5)[0]
    assert text_of(view) == begun + answer.text and view.locator(".written img").count() == 0
    # A piece offers what the model found probable there; one that is half of a character, or several tokens, offers nothing.
    pieces, menu = view.locator(".piece"), view.locator('.written [role="menu"]')
    place = next(place for place in range(pieces.count()) if pieces.nth(place).focus() is None and menu.is_visible())
    before = begun + "".join(pieces.all_text_contents()[:place])
    shares = [float(share.rstrip("%")) for share in menu.locator(".share").all_text_contents()]
    logs = [[chance.log_probability, *(log for _token, log in chance.alternatives)] for chance in answer.chances]
    known = 100 * np.exp(np.array(logs))
    assert shares == sorted(shares, reverse=True) and len(shares) > 1
    assert any(all(np.abs(here - share).min() <= 0.51 for share in shares) for here in known)
    # The last of them is taken with the keyboard, and the model goes on from there.
    taken = menu.locator(".what").last.text_content().translate({ord("␣"): " ", ord("⏎"): "\n", ord("⇥"): "\t"})
    for key in ("Enter", "End", "Enter"):
        visit.page.keyboard.press(key)
    visit.wait(view)
    assert text_of(view) == before + taken + model.generate(before + taken, 12, temperature=0)
    assert view.locator(".piece.taken").text_content() == taken
    # Undo brings the first text back, and it can go on.
    buttons = view.locator(".leaf").nth(1).locator(".buttons button")
    buttons.nth(1).click()
    assert text_of(view) == begun + answer.text
    buttons.nth(0).click()
    visit.wait(view)
    assert text_of(view) == begun + answer.text + model.generate(begun + answer.text, 12, temperature=0)


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_a_conversation(visit: Callable[..., Visit], desk: Desk, language: str) -> None:
    visit, model = visit(language), desk.shelf.get("gpt").model
    view = visit.show("chat", "gpt")
    write_with(view, max_tokens=8, temperature=0)
    said, log = view.locator(".leaf").nth(1).locator("textarea"), view.locator(".said")
    turns: list[dict[str, str]] = []
    for text in (TEXTS[language], HOSTILE):
        said.fill(text)
        said.press("Enter")
        visit.wait(view)
        turns.append({"role": "user", "content": text})
        turns.append({"role": "assistant", "content": model.chat(turns, 8, temperature=0)})
        assert log.all_text_contents() == [turn["content"] for turn in turns if turn["content"]]
    # Another answer to the same question: here the likeliest, so the same.
    view.locator(".leaf").nth(1).locator(".buttons button").last.click()
    visit.wait(view)
    assert log.all_text_contents() == [turn["content"] for turn in turns if turn["content"]]
    said.fill("one\ntwo")
    said.press("Shift+Enter")
    assert said.input_value() == "one\ntwo\n", "a new line, and nothing is sent"


def test_writing_stops_when_told_and_the_engine_with_it(visit: Callable[..., Visit], desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    visit, model = visit(), desk.shelf.get("gpt").model
    slow = model.net.body.register_forward_pre_hook(lambda *_given: time.sleep(0.05))
    try:
        view = visit.show("chat", "gpt")
        write_with(view, max_tokens=200, temperature=1, seed=1)
        view.locator(".leaf").nth(1).locator("textarea").fill("Go on.")
        view.locator("button.main").click()
        view.locator(".stop").wait_for()
        while not view.locator(".assistant .said").text_content():
            time.sleep(0.01)
        view.locator(".stop").click()
        visit.wait(view)
        while desk.engine.num_open:
            time.sleep(0.01)
        assert len(view.locator(".assistant .said").text_content()) < 100
    finally:
        slow.remove()


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_what_is_understood(visit: Callable[..., Visit], desk: Desk, language: str) -> None:
    visit, text = visit(language), TEXTS[language]
    models = {name: desk.shelf.get(name).model for name in ("bert", "judge", "tagger", "reader", "bart")}
    view = visit.show("fill", "bert")
    view.locator("textarea").fill(f"___ {text} [MASK]")
    visit.do(view)
    for place, wanted in enumerate(models["bert"].fill(f"[MASK] {text} [MASK]", 8)):
        shown = view.locator(".bars").nth(place).locator(".what").all_text_contents()
        assert shown == [each.token.removeprefix("##") for each in wanted]
    view.locator(".bars").nth(1).locator("button").nth(3).click()
    chosen = view.locator(".filled").nth(1).text_content()
    assert view.locator(".reading").text_content().endswith(f"{text} {chosen}")

    view = visit.show("classify", "judge")
    texts = [text, HOSTILE]
    view.locator("textarea").fill("\r\n\n".join(texts))
    visit.do(view)
    for place, wanted in enumerate(models["judge"].predict(texts)):
        answer = view.locator(".answer").nth(place)
        assert answer.locator(".reading").text_content() == texts[place] and answer.locator(".what").first.text_content() == wanted.label
        assert float(answer.locator(".share").first.text_content().rstrip("%")) == pytest.approx(100 * wanted.probability, abs=0.51)
    view.locator(".answer button").first.click()
    explained = view.locator(".explanation .reading")
    explained.wait_for()
    assert explained.text_content() == text and explained.locator(".speaks").count() > 1

    view = visit.show("tag", "tagger")
    view.locator("textarea").fill("\n".join(texts))
    visit.do(view)
    for place, wanted in enumerate(models["tagger"].predict(texts)):
        marks = view.locator(".result .reading").nth(place).locator("mark")
        shown = [(mark.evaluate("(mark) => mark.firstChild.textContent"), mark.locator(".name").text_content()) for mark in marks.all()]
        assert shown == [(texts[place][span.start : span.stop], span.label) for span in wanted.spans]

    view = visit.show("answer", "reader")
    view.locator("textarea").fill(text)
    view.locator('input[type="text"]').fill("where? 哪里？")
    view.locator('input[type="text"]').press("Enter")
    visit.wait(view)
    (wanted,) = models["reader"].predict([("where? 哪里？", text)])
    assert view.locator(".result .reading").text_content() == text
    if wanted.text:
        assert view.locator(".verdict").text_content() == view.locator(".filled").text_content() == wanted.text

    for name in ("translate", "summarize"):
        view = visit.show(name, "bart")
        view.locator("textarea").fill(text)
        visit.do(view)
        assert view.locator(".result").text_content() == models["bart"].generate(text, 128, temperature=0)
    assert visit.page.locator("img").count() == 0, "no text became an element"


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_two_manners_side_by_side_and_lines_by_meaning(visit: Callable[..., Visit], desk: Desk, language: str) -> None:
    visit, begun, gpt = visit(language), TEXTS[language], desk.shelf.get("gpt").model
    view = visit.show("compare", "gpt")
    write_with(view, max_tokens=8, top_p=1, seed=3)
    view.locator("textarea").fill(begun)
    visit.do(view)
    expected = [gpt.generate(begun, 8, temperature=0), gpt.generate(begun, 8, temperature=0.8, seed=3)]
    assert view.locator(".written").all_text_contents() == [begun + each for each in expected]

    view = visit.show("search", "bert")
    lines = ["The for statement", "今天天气很好", "公园 🙂", HOSTILE]
    view.locator("textarea").fill("\n".join(lines))
    view.locator('input[type="search"]').fill(begun)
    visit.do(view)
    vectors = desk.shelf.get("bert").model.embed([begun, *lines], normalize=True).numpy()
    order = np.argsort(-(vectors[1:] @ vectors[0]))
    assert view.locator(".bars .what").all_text_contents() == [lines[each] for each in order]


def test_the_language_of_the_browser_and_the_switch(visit: Callable[..., Visit]) -> None:
    visit = visit("zh")
    page = visit.page
    assert page.locator("html").get_attribute("lang") == "zh-CN" and page.locator("#tab-write").inner_text().startswith("续写")
    page.locator("#language").click()
    assert page.locator("html").get_attribute("lang") == "en" and page.locator("#tab-write").inner_text().startswith("Write")
    assert not re.search(r"[\u4e00-\u9fff]", page.locator("main").inner_text())
    page.reload()
    assert page.locator("html").get_attribute("lang") == "en", "remembered"
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"


def test_everything_can_be_reached_with_the_keyboard(visit: Callable[..., Visit], desk: Desk) -> None:
    visit = visit()
    page = visit.page
    focused = "document.activeElement.id || document.activeElement.className"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "skip"
    page.locator("#tab-write").focus()
    for name in (*VIEWS[1:], VIEWS[0]):
        page.keyboard.press("ArrowRight")
        assert page.evaluate(focused) == f"tab-{name}" and page.locator(f"#view-{name}").is_visible()
    page.keyboard.press("End")
    assert page.locator('[role="tab"][tabindex="0"]').count() == 1 and page.url.endswith("#search")
    page.keyboard.press("Home")
    view = visit.show("write", "gpt")
    write_with(view, max_tokens=6, temperature=0)
    view.locator("textarea").fill("The for")
    view.locator("textarea").press("Control+Enter")
    visit.wait(view)
    pieces = view.locator(".piece")
    assert view.locator('.piece[tabindex="0"]').count() == 1
    pieces.first.focus()
    page.keyboard.press("ArrowRight")
    assert pieces.nth(1).evaluate("(piece) => piece === document.activeElement")
    menu = view.locator('[role="menu"]')
    if menu.is_visible():
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.getAttribute('role')") == "menuitemradio"
        page.keyboard.press("Escape")
        assert menu.is_hidden() and pieces.nth(1).evaluate("(piece) => piece === document.activeElement")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(visit: Callable[..., Visit], desk: Desk) -> None:
    key = "a key of many letters"
    with served(desk, keys=(key,)) as locked:
        visit = visit(at=locked)
        page = visit.page
        page.locator("#key-field").wait_for()
        assert page.locator("#trouble").inner_text() == f"{UsageError('E666').what} {UsageError('E666').fix}"
        page.locator("#key-field").fill(key)
        page.keyboard.press("Enter")
        page.locator("#view-write .work").wait_for()
        assert page.locator("#trouble").inner_text() == ""
        assert key in page.evaluate("JSON.stringify(sessionStorage)") and key not in page.evaluate("JSON.stringify(localStorage)")
        assert key not in page.url and all(key not in url for url in visit.asked)
        visit.errors.clear()  # the browser's own line about status 401


def test_the_servers_words_are_shown_when_it_cannot(visit: Callable[..., Visit], desk: Desk) -> None:
    visit = visit()
    view = visit.show("fill", "bert")
    view.locator("textarea").fill("no blank here")
    visit.do(view)
    assert (
        view.locator('[role="alert"]').inner_text() == "The text has no [MASK]." or "[MASK]" in view.locator('[role="alert"]').inner_text()
    )
    visit.page.route("**/fill", lambda route: route.fulfill(status=502, body="<b>bad gateway</b>"))
    visit.do(view)
    assert "502" in view.locator('[role="alert"]').inner_text()
    visit.page.route("**/fill", lambda route: route.abort())
    visit.do(view)
    assert view.locator('[role="alert"]').inner_text() == "The server cannot be reached. Is it still running?"
    visit.errors.clear()  # the browser's own lines about the requests that failed


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.slow)])
def test_what_no_model_can_do_says_what_to_load(visit: Callable[..., Visit], desk: Desk, language: str) -> None:
    alone = open_desk({"bart": desk.shelf.get("bart").model})
    try:
        with served(alone) as address:
            visit = visit(language, at=address)
            # It begins with the first that can be done.
            visit.page.locator("#view-translate .work").wait_for()
            for name in VIEWS:
                view = visit.show(name)
                is_able = name in ("translate", "summarize")
                assert view.locator(".work").is_visible() == is_able and view.locator(".needs").is_visible() != is_able
                if not is_able:
                    assert re.search(r"^diptych serve [\w-]+$", view.locator("pre").inner_text(), re.MULTILINE)
    finally:
        alone.engine.stop()
        alone.close()


LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "width": 360},
}
MODELS = {
    "write": "gpt",
    "chat": "gpt",
    "compare": "gpt",
    "fill": "bert",
    "classify": "judge",
    "tag": "tagger",
    "answer": "reader",
    "search": "bert",
}


def use_everything(visit: Visit) -> None:
    """Ask in each view what its example asks, so that there is something to look at."""
    for name in VIEWS:
        view = visit.show(name, MODELS.get(name))
        write_with(view, max_tokens=16, seed=1)
        for given in view.locator("textarea, input[type='text'], input[type='search']").all():
            given.fill(given.get_attribute("placeholder"))
        visit.do(view)
        assert view.locator(".trouble p").count() == 0
    visit.show("classify").locator(".answer button").first.click()
    visit.page.locator(".explanation").wait_for(state="attached")


def faults(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds to be a serious or critical fault, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], node["html"]) for each in found if each["impact"] in ("serious", "critical") for node in each["nodes"]]


@pytest.mark.parametrize("look", ["light", *(pytest.param(look, marks=pytest.mark.slow) for look in ("dark", "phone"))])
def test_axe_finds_no_serious_fault(visit: Callable[..., Visit], look: str) -> None:
    visit = visit("zh" if look == "dark" else "en", **LOOKS[look])
    use_everything(visit)
    # All views at once are looked at in the time of one; each alone is a slow test.
    visit.page.evaluate("() => document.querySelectorAll('[role=tabpanel]').forEach((panel) => (panel.hidden = false))")
    assert faults(visit.page) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the page"


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_serious_fault_in_any_view(visit: Callable[..., Visit], look: str, language: str) -> None:
    visit = visit(language, **LOOKS[look])
    for name in VIEWS:
        visit.show(name)
        assert faults(visit.page) == [], f"{name}, before anything was asked"
    use_everything(visit)
    for name in VIEWS:
        view = visit.show(name)
        for piece in view.locator(".piece").all()[:9]:
            piece.focus()
        assert faults(visit.page) == [], name
    visit.page.locator("#key-button").click()
    assert faults(visit.page) == []
