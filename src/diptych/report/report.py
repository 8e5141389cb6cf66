"""The report: one HTML file, no network, no script; light and dark, on paper and on a phone, in English or Chinese.

Every text that came from a user is escaped; SVG text stays text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from diptych.evaluation.calibration import Bin
from diptych.evaluation.intervals import Score, Scores
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.page import page, write_page
from diptych.report.plots import confusion_matrix, loss_curve, reliability_curve
from diptych.training.progress import Event


@dataclass
class TableRow:
    """One system of the table."""

    name: str
    scores: Scores
    seconds: float | None = None
    size_bytes: int | None = None
    milliseconds: float | None = None


@dataclass
class ReportData:
    """Everything a report can show; what is empty is left out."""

    title: str
    verdict: str = ""
    caveats: Sequence[str] = ()
    systems: Sequence[TableRow] = ()
    confusion: np.ndarray | None = None
    labels: Sequence[str] = ()
    reliability: Sequence[Bin] = ()
    """How often each confidence was right."""
    mistakes: Sequence[tuple[str, str, str, float]] = ()
    """(text, gold, predicted, probability)"""
    top_words: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    events: Sequence[Event] = ()
    samples: Sequence[tuple[str, str]] = ()
    """(prompt, what the model wrote)"""
    guesses: Sequence[tuple[str, Sequence[tuple[str, float]]]] = ()
    """(text, the most probable next tokens or fillings)"""
    ledger: Ledger | None = None
    lineage: Sequence[tuple[str, str]] = ()
    """(step, what it was), from text to result"""
    facts: Sequence[tuple[str, str]] = ()
    """What it cost and where it ran."""
    command: str = ""
    recipe: str = ""


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page to `path`, whole or not at all."""
    return write_page(path, render(data))


def render(data: ReportData) -> str:
    """The page as text."""
    sections = [
        _section("", _verdict(data)),
        _section(_("Scores"), _table(data.systems)),
        _section(_("Confusion"), _confusion(data)),
        _section(_("How sure it says it is, and how sure it may be"), _reliability(data.reliability)),
        _section(_("Most confident mistakes"), _mistakes(data.mistakes)),
        _section(_("Words that weigh most in the word count"), _words(data.top_words)),
        _section(_("Loss over time"), _curve(data.events)),
        _section(_("Samples"), _samples(data.samples)),
        _section(_("What it expects"), _guesses(data.guesses)),
        _section(_("From text to result"), _lineage(data.lineage)),
        _section(_("Ledger: what was kept, cut and dropped"), _ledger(data.ledger)),
        _section(_("Cost"), _facts(data.facts)),
        _section(_("To run it again"), _code(data.command)),
        _section(_("Recipe"), f"<details><summary>{escape(_('show'))}</summary>{_code(data.recipe)}</details>" if data.recipe else ""),
    ]
    return page(data.title, "".join(sections))


def _section(title: str, body: str) -> str:
    if not body:
        return ""
    return f"<section>{f'<h2>{escape(title)}</h2>' if title else ''}{body}</section>\n"


def _verdict(data: ReportData) -> str:
    parts = [f'<p class="verdict">{escape(data.verdict)}</p>'] if data.verdict else []
    parts += [f'<p class="caveat">{escape(text)}</p>' for text in data.caveats]
    return "".join(parts)


def _table(systems: Sequence[TableRow]) -> str:
    if not systems:
        return ""
    names = [name for name in systems[0].scores if any(name in system.scores for system in systems)]
    has_cost = any(system.seconds is not None for system in systems)
    head = "".join(f"<th>{escape(_(name))}</th>" for name in names)
    head += "".join(f"<th>{escape(_(name))}</th>" for name in (mark("training"), mark("size"), mark("per text"))) if has_cost else ""
    rows = []
    for number, system in enumerate(systems):
        cells = "".join(_score_cell(system.scores.get(name)) for name in names)
        if has_cost:
            cells += f"<td>{_seconds(system.seconds)}</td><td>{_bytes(system.size_bytes)}</td><td>{_milliseconds(system.milliseconds)}</td>"
        rows.append(f'<tr{" class=main" if number == 0 else ""}><th scope="row">{escape(_(system.name))}</th>{cells}</tr>')
    note = _("in brackets: the interval that holds the value with 95 % confidence (bootstrap)")
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide">{table}</div><p class="note">{escape(note)}</p>'


def _score_cell(score: Score | None) -> str:
    if score is None:
        return "<td>–</td>"
    digits = 1 if score.value >= 100 else 3
    span = _("one example: no interval") if not score.has_interval else f"[{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return f"<td><b>{score.value:.{digits}f}</b> <span>{escape(span)}</span></td>"


def _confusion(data: ReportData) -> str:
    if data.confusion is None or not data.confusion.sum():
        return ""
    return f'<figure class="wide">{confusion_matrix(data.confusion, data.labels)}</figure>'


def _reliability(bins: Sequence[Bin]) -> str:
    return f'<figure class="wide">{reliability_curve({"": bins})}</figure>' if len(bins) > 1 else ""


def _mistakes(mistakes: Sequence[tuple[str, str, str, float]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(_clip(text))}</td><td>{escape(gold)}</td><td>{escape(predicted)}</td><td>{probability:.2f}</td></tr>"
        for text, gold, predicted, probability in mistakes
    )
    head = "".join(f"<th>{escape(_(name))}</th>" for name in (mark("text"), mark("gold"), mark("predicted"), mark("probability")))
    return f'<div class="wide"><table class="text"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>' if rows else ""


def _words(top_words: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    def spans(words: Sequence[tuple[str, float]]) -> str:
        return " ".join(f"<span class=word>{escape(word)} <i>{weight:+.2f}</i></span>" for word, weight in words)

    return "".join(f"<p><b>{escape(label)}</b> {spans(words)}</p>" for label, words in top_words.items() if words)


def _curve(events: Sequence[Event]) -> str:
    training = [(event["step"], event["loss"]) for event in events if event["kind"] == "step"]
    looks = [(event["step"], list(event["terms"].values())) for event in events if event["kind"] == "evaluation"]
    held_out = [(step, values[0]) for step, values in looks if values]
    if len(training) + len(held_out) < 2:
        return ""
    return f'<figure class="wide">{loss_curve(training, held_out)}</figure>'


def _samples(samples: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<blockquote><b>{escape(prompt)}</b>{escape(text)}</blockquote>" for prompt, text in samples)


def _guesses(guesses: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    blocks = []
    for text, tokens in guesses:
        bars = "".join(
            f"<tr><td>{escape(token.strip() or repr(token))}</td>"
            f'<td class="bar"><span style="width:{100 * chance:.1f}%"></span></td><td>{chance:.3f}</td></tr>'
            for token, chance in tokens
        )
        blocks.append(f'<p class="prompt">{escape(text)}</p><table class="bars">{bars}</table>')
    return "".join(blocks)


def _lineage(steps: Sequence[tuple[str, str]]) -> str:
    return (
        "<ol class=lineage>" + "".join(f"<li><b>{escape(step)}</b><span>{escape(what)}</span></li>" for step, what in steps) + "</ol>"
        if steps
        else ""
    )


def _ledger(ledger: Ledger | None) -> str:
    lines = ledger.lines() if ledger is not None else []
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts) + "</dl>" if facts else ""


def _code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>" if text else ""


def _clip(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value / 60:.1f} min" if value >= 100 else f"{value:.1f} s"


def _bytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.2f} ms"
