"""The classic claims as a page: two pictures, the numbers under them, and what they do not show."""

from collections.abc import Sequence
from html import escape

from diptych.explain.claims import NUM_LETTERS, Measured
from diptych.messages import _
from diptych.page import page

COLOURS = ("#b5633c", "#808690", "#2f6f8f", "#4b8a5b")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 260, 56, 34, 14
STYLE = """
.lines text{font:12px system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;fill:currentColor}
"""


def claims_page(measured: Sequence[Measured], machine: str, seconds: float) -> str:
    """The page of what was measured.

    Args:
        machine: what it was measured on, in words. seconds: how long each net learnt.
    """
    recall = [(each.name, [(one.distance, one.right, one.low, one.high) for one in each.recall]) for each in measured]
    times = [(each.name, [(length, value, value, value) for length, value in each.microseconds]) for each in measured]
    largest = max((value for each in measured for _length, value in each.microseconds), default=1.0)
    guess = _("A letter, noise, a question: the share of letters that are recalled. Guessing gives {share:.1%}.").format(
        share=1 / NUM_LETTERS
    )
    learnt = _("Each net learnt for {seconds:.0f} seconds on {machine}; steps: {steps}.").format(
        seconds=seconds, machine=machine, steps=", ".join(f"{each.name} {each.steps:,} ({each.parameters:,})" for each in measured)
    )
    caveat = _("Small nets, one seed, one task: it shows how they differ, not how good they can become.")
    parts = [
        f'<section><h2>{escape(_("Recall over distance"))}</h2><p class="note">{escape(guess)}</p>',
        f'<figure class="wide">{_lines(recall, 1.0, _("tokens between the letter and the question"))}</figure>',
        f"{_table(recall, '{:.3f}')}</section>",
        f"<section><h2>{escape(_('Time per token by length'))}</h2>",
        f'<p class="note">{escape(_("Microseconds per token of one forward pass over one text, the median of several."))}</p>',
        f'<figure class="wide">{_lines(times, largest, _("tokens of the text"))}</figure>{_table(times, "{:.1f}")}</section>',
        f'<p class="caveat">{escape(learnt)}</p><p class="caveat">{escape(caveat)}</p>',
    ]
    return page(_("RNN, LSTM and Transformer, measured here"), "".join(parts), STYLE)


def _lines(series: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]], largest: float, label: str) -> str:
    """Lines over steps of equal width, one for each doubling, with an upright for each interval."""
    places = [x for x, *_rest in series[0][1]] if series else []
    step = (WIDTH - LEFT - 90) / max(1, len(places) - 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / largest)

    parts = [f'<line x1="{LEFT}" x2="{WIDTH - 80}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="#808690"/>']
    parts += [
        f'<text x="{LEFT - 8}" y="{y(share * largest) + 4:.1f}" text-anchor="end">{share * largest:.3g}</text>' for share in (0.0, 0.5, 1.0)
    ]
    parts += [f'<text x="{LEFT + number * step:.1f}" y="{HEIGHT - 16}" text-anchor="middle">{x}</text>' for number, x in enumerate(places)]
    parts.append(f'<text x="{(LEFT + WIDTH - 80) / 2:.0f}" y="{HEIGHT - 1}" text-anchor="middle">{escape(label)}</text>')
    for (name, points), colour in zip(series, COLOURS, strict=False):
        at = [(LEFT + number * step, y(value)) for number, (_x, value, _low, _high) in enumerate(points)]
        path = " ".join(f"{x:.1f},{height:.1f}" for x, height in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, _height), (_x, _value, low, high) in zip(at, points, strict=True):
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" stroke="{colour}"/>')
        if at:
            parts.append(f'<text x="{at[-1][0] + 8:.1f}" y="{at[-1][1] + 4:.1f}" style="fill:{colour}">{escape(name)}</text>')
    return f'<svg class="lines" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'


def _table(series: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]], form: str) -> str:
    head = "".join(f"<th>{x}</th>" for x, *_rest in series[0][1]) if series else ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{form.format(value)}</td>" for _x, value, _low, _high in points)}</tr>'
        for name, points in series
    )
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
