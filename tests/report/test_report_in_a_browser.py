"""The report in a real browser with the network off: it asks for nothing, runs nothing, fits a phone, and draws Chinese as Chinese."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.evaluation.intervals import Score, Scores
from diptych.messages import set_language
from diptych.report.report import ReportData, TableRow, write_report

CHINESE = "这家酒店很干净早餐也不错好评差"
PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_report_opens_anywhere(
    opened: Callable[..., Any], tells_apart: Callable[..., bool], tmp_path: Path, hostile: str, language: str
) -> None:
    set_language(language)
    data = ReportData(
        title=f"报告 🙂 {hostile}",
        verdict=hostile,
        systems=[TableRow(hostile, Scores([Score("accuracy", 0.9, 0.85, 0.95, 200)]), 12.0, 1_000_000, 1.5)],
        confusion=np.array([[5, 1], [2, 8]]),
        labels=["好评", hostile],
        mistakes=[(CHINESE, "好评", hostile, 0.99)],
        samples=[("这家", hostile)],
        events=[{"kind": "step", "step": step, "loss": 3 / step, "terms": {"lm": 3 / step}} for step in range(1, 9)],
    )
    page = opened(write_report(tmp_path / "report.html", data))
    assert page.asked == [] and page.errors == []
    assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[language]
    assert hostile in page.title() and page.locator("script, iframe, img").count() == 0
    assert CHINESE in page.locator("main").inner_text() and tells_apart(page, "td", CHINESE)
    assert "好评" in page.locator("svg").first.text_content() and tells_apart(page, "svg text", "好评")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
