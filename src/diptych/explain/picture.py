"""Explanations as pictures: the text with a colour behind each unit, and attention as SVG; text stays text, and every text is escaped."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.messages import _
from diptych.page import page

if TYPE_CHECKING:
    from diptych.explain.attend import TextAttention
    from diptych.explain.explain import Explanation

FOR, AGAINST = (47, 111, 143), (193, 98, 52)
"""Blue speaks for the answer, orange against it: these two stay apart for those who do not see red and green."""
STYLE = """
.shades{font:18px/2 Georgia,"Noto Serif CJK SC","Songti SC",SimSun,serif;white-space:pre-wrap;overflow-wrap:anywhere}
.shades mark{color:inherit;padding:.15em .05em;border-radius:3px}
.shades hr{border:0;border-top:1px dashed #8888;margin:.4rem 0}
.key{font-size:.8rem;color:#8a9098}.key i{font-style:normal;padding:.1em .5em;border-radius:3px}
.trust{font-size:.9rem;color:#8a9098;padding-left:1.1rem;margin:.6rem 0}
.units td{padding:.1rem .8rem .1rem 0;border:0}.units svg{display:block}
"""


def explanation_page(explanations: Sequence["Explanation"]) -> str:
    """One page with an explanation after the other."""
    title = explanations[0].headline if len(explanations) == 1 else _("Why the model says so")
    return page(title, "".join(f"<section>{_blocks(each)}</section>" for each in explanations), STYLE)


def explanation_picture(explanation: "Explanation") -> str:
    """What a notebook shows: the same without a page around it."""
    return f"<div><style>{STYLE}</style><p><b>{escape(explanation.headline)}</b></p>{_blocks(explanation)}</div>"


def show(thing: Any) -> None:
    """Show what has a picture where a person works: as HTML in a notebook, in words elsewhere."""
    try:
        from IPython import get_ipython  # type: ignore[import-not-found]
        from IPython.display import display  # type: ignore[import-not-found]
    except ImportError:
        get_ipython = None
    if get_ipython is not None and type(get_ipython()).__name__ == "ZMQInteractiveShell":
        display(thing)
    else:
        print(thing)


def shaded(texts: Sequence[str], places: Sequence[tuple[int, int, int]], values: np.ndarray) -> str:
    """Texts with a colour behind each stretch, as strong as its value beside the largest.

    Args:
        places: (part, start, stop) of each stretch, in the order of the text.
    """
    largest = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    parts = []
    for part, text in enumerate(texts):
        html, at = [], 0
        for (owner, start, stop), value in zip(places, values, strict=True):
            if owner != part:
                continue
            start = max(start, at)
            html.append(escape(text[at:start]))
            html.append(f'<mark style="background:{_colour(value / largest)}" title="{value:+.4f}">{escape(text[start:stop])}</mark>')
            at = max(at, stop)
        parts.append("".join(html) + escape(text[at:]))
    return f'<div class="shades">{"<hr>".join(parts)}</div>'


def attention_picture(attention: "TextAttention", layer: int | None = None, head: int | None = None) -> str:
    """Who looks at whom: the pieces on both sides, a line as strong as the weight; of one layer and head, or of a mean of them."""
    weights_TT = attention.pick(layer, head)
    size, step, width = len(attention.pieces), 22, 420
    left, right = 150, 150 + width - 180
    lines, marks = [], []
    for row in range(size):
        y = 18 + step * row
        marks.append(_piece(attention.pieces[row], left - 8, y, "end") + _piece(attention.pieces[row], right + 8, y, "start"))
        for column in range(size):
            weight = float(weights_TT[row, column])
            if weight >= 0.02:
                lines.append(
                    f'<line x1="{left}" y1="{y - 4}" x2="{right}" y2="{14 + step * column}" stroke="rgb{FOR}" '
                    f'stroke-width="{0.5 + 2 * weight:.2f}" stroke-opacity="{min(1.0, weight):.2f}"/>'
                )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 150} {step * size + 20}" width="{right + 150}" role="img">'
        f"<title>{escape(_('who looks at whom'))}</title>{''.join(lines)}{''.join(marks)}</svg>"
    )


def attention_page(attention: "TextAttention", layer: int | None = None, head: int | None = None) -> str:
    """One page with the picture, and what it is not."""
    note = _("Attention says where a head looks. It is no reason for an answer: what it looks at need not matter.")
    return page(
        _("Attention"), f'<p class="caveat">{escape(note)}</p><figure class="wide">{attention_picture(attention, layer, head)}</figure>'
    )


def _piece(text: str, x: int, y: int, anchor: str) -> str:
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="13" fill="currentColor" font-family="{_FONT}">{escape(shown)}</text>'


_FONT = "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


def _blocks(explanation: "Explanation") -> str:
    places = [(unit.part, unit.start, unit.stop) for unit in explanation.units]
    texts = explanation.question.reading.texts
    answer = escape(explanation.answer)
    key = "".join(
        f'<i style="background:{_colour(value)}">{escape(words)}</i> '
        for value, words in ((0.8, _("speaks for {answer}").format(answer=explanation.answer)), (-0.8, _("speaks against it")))
    )
    parts = [f'<p class="key">{key}</p>', shaded(texts, places, explanation.values), _bars(explanation)]
    for each in explanation.beside:
        if each.answer is not None:
            said = _("The same words in the simple model ({name}), which would say {answer}:").format(name=_(each.name), answer=each.answer)
            parts += [f'<p class="note">{escape(said)}</p>', shaded(texts, places, each.values)]
    trust = "".join(f"<li>{escape(line)}</li>" for line in explanation.trust)
    return f'{"".join(parts)}<ul class="trust" aria-label="{answer}">{trust}</ul>'


def _bars(explanation: "Explanation") -> str:
    """The weightiest units as bars to either side."""
    top = explanation.top(10)
    largest = max((abs(value) for _word, value in top), default=0.0) or 1.0
    rows = []
    for word, value in top:
        length = 90 * abs(value) / largest
        x = 100 if value >= 0 else 100 - length
        colour = FOR if value >= 0 else AGAINST
        bar = '<svg width="200" height="12" viewBox="0 0 200 12">'
        bar += f'<rect x="{x:.1f}" y="2" width="{length:.1f}" height="8" fill="rgb{colour}"/></svg>'
        rows.append(f"<tr><td>{escape(word)}</td><td>{bar}</td><td>{value:+.3f}</td></tr>")
    return f'<table class="units">{"".join(rows)}</table>'


def _colour(share: float) -> str:
    """From -1, against, to 1, for."""
    red, green, blue = FOR if share >= 0 else AGAINST
    return f"rgba({red},{green},{blue},{0.75 * min(1.0, abs(share)):.3f})"
