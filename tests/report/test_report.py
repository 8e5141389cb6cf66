"""The report: one file that opens without a network, in which every text is text."""

import errno
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diptych.evaluation.intervals import Score, Scores, language_scores
from diptych.ledger import Ledger
from diptych.messages import set_language
from diptych.report.plots import confusion_matrix, loss_curve
from diptych.report.report import ReportData, TableRow, render, write_report

SVG = "{http://www.w3.org/2000/svg}"
SCORES = Scores([Score("accuracy", 0.9, 0.85, 0.95, 200), Score("macro-F1", 0.88, 0.8, 0.93, 200)])
EVENTS = [
    {"kind": "stage", "text": "begin"},
    *({"kind": "step", "step": step, "loss": 3 / step, "terms": {"lm": 3 / step}} for step in range(1, 30)),
    {"kind": "evaluation", "step": 10, "terms": {"lm": 1.5}},
    {"kind": "evaluation", "step": 20, "terms": {"lm": 1.2}},
]


def full(text: str = "text") -> ReportData:
    """A report in which `text` stands wherever a text can come in."""
    ledger = Ledger()
    ledger.add(text, text, 3, total=9, where=text)
    return ReportData(
        title=text,
        verdict=text,
        caveats=[text, text],
        systems=[
            TableRow(text, Scores([*SCORES.values(), Score(text, 0.5, 0.4, 0.6, 3)]), 12.0, 1_000_000, 1.5),
            TableRow("TF-IDF", SCORES, 0.1, 1_000, 0.01),
        ],
        confusion=np.array([[5, 1], [2, 8]]),
        labels=[text, "好评"],
        mistakes=[(text, text, text, 0.99), ("一条差评", "差评", "好评", 0.75)],
        top_words={text: [(text, 1.5), ("干净", 0.7)]},
        events=EVENTS,
        samples=[(text, text), ("话说", "天下大势")],
        guesses=[(text, [(text, 0.5), (" ", 0.25), ("\n", 0.1)])],
        ledger=ledger,
        lineage=[(text, text)],
        facts=[(text, text)],
        command=text,
        recipe=text,
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_whole_and_loads_nothing(page: Callable, language: str) -> None:
    set_language(language)
    html = render(full())
    read = page(html)
    assert ("html", "lang", {"en": "en", "zh": "zh-CN"}[language]) in read.attributes
    assert ("meta", "charset", "utf-8") in read.attributes
    policy = next(value for tag, name, value in read.attributes if tag == "meta" and name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy and "script" not in policy
    assert read.elements.count("svg") == 2 and read.elements.count("title") == 1
    addresses = {address.rstrip("\"'>/") for address in re.findall(r"https?://[^\s\"'<>]*", html)}
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of XML, which nobody loads"


def test_hostile_text_stays_text_wherever_it_comes_in(page: Callable, hostile: str) -> None:
    read = page(render(full(hostile)))
    everyday = page(render(full("text")))
    assert read.elements == everyday.elements, "no text makes an element"
    folded = " ".join(read.text.split())
    # Once each at least: title twice, verdict, caveats, system, score, confusion (clipped), mistakes, words, samples, guesses,
    # ledger, lineage, facts, command, recipe.
    assert folded.count(" ".join(hostile.split())) >= 20


@pytest.mark.parametrize(
    "field",
    ["title", "verdict", "caveats", "systems", "mistakes", "top_words", "samples", "guesses", "ledger", "lineage", "facts", "command"],
)
def test_each_field_alone_shows_its_text(page: Callable, field: str) -> None:
    mark = '<b>"Ａ&好🙂'
    data = ReportData(title="plain")
    setattr(data, field, getattr(full(mark), field))
    assert mark in page(render(data)).text


def test_chinese_is_text_in_the_pictures_and_not_paths() -> None:
    root = ElementTree.fromstring(confusion_matrix(np.array([[3, 1], [0, 4]]), ["好评", "差评🙂"]))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count("好评") == 2 and texts.count("差评🙂") == 2
    assert {"3", "1", "0", "4", "predicted", "gold"} <= set(texts)
    assert not any("DejaVu" in (element.get("id") or "") for element in root.iter()), "no letters drawn as outlines"


@pytest.mark.parametrize("labels", [["$\\frac{x", "$a$b"], ["a\x00\x1b[0m", "b\nc"], ["\ud83d", "\u202e"], ["x" * 500, ""], ["_^", "{}%"]])
def test_any_label_can_be_drawn(labels: list[str]) -> None:
    root = ElementTree.fromstring(confusion_matrix(np.array([[3, 1], [0, 4]]), labels))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert all(len(text) <= 18 for text in texts)
    if labels[0].startswith("$"):
        assert texts.count("$\\frac{x") == texts.count("$a$b") == 2, "a dollar is a dollar and no mathematics"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_warning_of_matplotlib_reaches_the_user(
    language: str, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    set_language(language)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(full("汉字 🙂 ꙮ"))
    assert not recwarn.list and not caplog.records


def test_pictures_leave_the_settings_of_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    filters = list(warnings.filters)
    confusion_matrix(np.eye(2, dtype=int), ["a", "b"])
    loss_curve([(1, 2.0), (2, 1.0)], [])
    assert dict(matplotlib.rcParams) == before
    assert warnings.filters == filters


def test_the_loss_is_drawn_for_training_and_for_held_out_text() -> None:
    root = ElementTree.fromstring(loss_curve([(1, 3.0), (2, 2.0), (3, 1.5)], [(2, 2.5), (3, 2.2)]))
    texts = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
    assert {"training", "held out", "step", "loss (nats)"} <= texts
    only = {"".join(text.itertext()) for text in ElementTree.fromstring(loss_curve([], [(2, 2.5), (3, 2.2)])).iter(f"{SVG}text")}
    assert "training" not in only and "held out" in only


def test_a_run_without_evaluation_or_with_one_point_draws_what_there_is(page: Callable) -> None:
    assert page(render(ReportData(title="x", events=EVENTS[:10]))).elements.count("svg") == 1
    assert page(render(ReportData(title="x", events=EVENTS[:2]))).elements.count("svg") == 0
    without_targets = [*EVENTS[:10], {"kind": "evaluation", "step": 5, "terms": {}}]
    assert page(render(ReportData(title="x", events=without_targets))).elements.count("svg") == 1


def test_what_is_empty_is_left_out(page: Callable) -> None:
    read = page(render(ReportData(title="x")))
    assert "section" not in read.elements and "h2" not in read.elements
    empty = ReportData(title="", systems=[TableRow("m", Scores())], confusion=np.zeros((2, 2), int), labels=["a", "b"], ledger=Ledger())
    assert page(render(empty)).elements.count("svg") == 0


def test_one_example_has_no_interval_and_no_endless_numbers(page: Callable) -> None:
    scores = language_scores(np.array([50.0]), np.array([9.0]), np.array([20.0]))
    text = page(render(ReportData(title="x", systems=[TableRow("gpt", scores)]))).text
    assert "no interval" in text and "inf" not in text and "nan" not in text
    assert not re.search(r"\d{12}", text)


def test_every_score_stands_with_its_interval_and_a_missing_one_as_a_dash(page: Callable) -> None:
    rows = [TableRow("a", SCORES), TableRow("b", Scores([SCORES["accuracy"]]))]
    text = page(render(ReportData(title="x", systems=rows))).text
    assert text.count("[0.850, 0.950]") == 2 and text.count("[0.800, 0.930]") == 1 and "–" in text


def test_many_classes_are_drawn_without_numbers(page: Callable) -> None:
    labels = [f"label {number}" for number in range(150)]
    html = render(ReportData(title="x", confusion=np.eye(150, dtype=int), labels=labels))
    assert page(html).elements.count("svg") == 1
    assert len(html) < 300_000


def test_long_mistakes_are_clipped(page: Callable) -> None:
    text = page(render(ReportData(title="x", mistakes=[("长" * 5000, "a", "b", 0.5)]))).text
    assert "长" * 300 + "…" in text and "长" * 301 not in text


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    assert write_report(path, full("first 好\r\n")) == path
    before = path.read_bytes()
    write = Path.write_bytes

    def fill_the_disk(self: Path, data: bytes) -> int:
        write(self, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_report(path, ReportData(title="second"))
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_half_a_character_does_not_stop_a_report(tmp_path: Path, page: Callable) -> None:
    """JSON can hold one half of an emoji; nobody should lose a training over it."""
    path = write_report(tmp_path / "report.html", full("half \ud83d of one"))
    assert "half ? of one" in page(path.read_text(encoding="utf-8")).text
