"""An audit of bias as a page: every number as a dot with its interval beside the fair value, so that one sees what is not one of them."""

from html import escape

import numpy as np

from diptych.audit.bias.finding import Finding
from diptych.audit.bias.result import BiasAudit, flip_line, line_of, remedy_lines, words_by_group, worst_first
from diptych.messages import _
from diptych.page import page

STYLE = """
.forest td{padding:.15rem .8rem .15rem 0;vertical-align:middle}.forest svg{display:block}
.forest tr.claimed td{font-weight:600}
"""
WIDTH, HEIGHT = 220, 14
CLAIMED, OTHER = "#b5633c", "#2f6f8f"


def audit_page(audit: BiasAudit) -> str:
    """The whole audit as one page."""
    parts = [f'<p class="verdict">{escape(audit.verdict)}</p>', *(f'<p class="caveat">{escape(each)}</p>' for each in audit.warnings)]
    for measure, few in audit.by_measure().items():
        parts.append(f'<section><h2>{escape(_(measure))}</h2><div class="wide">{_forest(few)}</div>')
        parts += [f'<p class="note">{escape(flip_line(axis, share, n))}</p>' for kind, axis, share, n in audit.flips if kind == measure]
        parts.append("</section>")
    if audit.words:
        title = _("Words that stand beside a group more than beside the others (log-odds, 95 % interval, counts)")
        rows = "".join(f"<p><b>{escape(name)}</b> {escape(', '.join(map(str, few)))}</p>" for name, few in words_by_group(audit.words))
        parts.append(f"<section><h2>{escape(title)}</h2>{rows}</section>")
    if audit.remedy is not None:
        rows = "".join(f"<li>{escape(line)}</li>" for line in remedy_lines(audit))
        parts.append(f"<section><h2>{escape(_('Remedy'))}</h2><ul>{rows}</ul></section>")
    ledger = "".join(f"<li>{escape(line)}</li>" for line in audit.ledger.lines())
    if ledger:
        parts.append(f"<section><h2>{escape(_('Ledger: what was kept, cut and dropped'))}</h2><ul>{ledger}</ul></section>")
    return page(_("Bias audit of {name}").format(name=audit.name), "".join(parts), STYLE)


def _forest(findings: list[Finding]) -> str:
    spans = [(each.score.low, each.score.high) for each in findings if each.score.has_interval]
    ends = [end for span in spans for end in span] + [each.score.value for each in findings] + [each.fair for each in findings]
    known = [end for end in ends if np.isfinite(end)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    pad = 0.05 * (high - low or 1.0)
    rows = []
    for each in worst_first(findings):
        kind = ' class="claimed"' if each.is_claimed else ""
        rows.append(f"<tr{kind}><td>{_dot(each, low - pad, high + pad)}</td><td>{escape(line_of(each))}</td></tr>")
    return f'<table class="forest">{"".join(rows)}</table>'


def _dot(finding: Finding, low: float, high: float) -> str:
    def x(value: float) -> float:
        return float(np.clip((value - low) / (high - low), 0.0, 1.0)) * WIDTH

    colour, middle = CLAIMED if finding.is_claimed else OTHER, HEIGHT / 2
    parts = []
    if finding.margin:
        first, last = x(finding.fair - finding.margin), x(finding.fair + finding.margin)
        parts.append(f'<rect x="{first:.1f}" y="0" width="{max(1.0, last - first):.1f}" height="{HEIGHT}" fill="#80869033"/>')
    parts.append(f'<line x1="{x(finding.fair):.1f}" x2="{x(finding.fair):.1f}" y1="0" y2="{HEIGHT}" stroke="#808690"/>')
    if finding.score.has_interval:
        ends = f'x1="{x(finding.score.low):.1f}" x2="{x(finding.score.high):.1f}"'
        parts.append(f'<line {ends} y1="{middle}" y2="{middle}" stroke="{colour}" stroke-width="2"/>')
    if np.isfinite(finding.score.value):
        parts.append(f'<circle cx="{x(finding.score.value):.1f}" cy="{middle}" r="3.5" fill="{colour}"/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'
