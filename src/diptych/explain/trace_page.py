"""A trace as a page: eight steps from text to answer, every number the forward pass's own, to five digits."""

import base64
import struct
import zlib
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from torch import Tensor

from diptych.explain.trace import Trace
from diptych.messages import _
from diptych.page import page

FIRST = 6
"""Of a vector the first numbers are shown, and its length."""
STYLE = """
main{max-width:76rem}.beside{display:flex;flex-wrap:wrap;gap:2rem}.beside>div{flex:1 1 30rem;min-width:0;overflow-x:auto}
.numbers{width:auto;font:12px/1.4 ui-monospace,Menlo,Consolas,monospace}
.numbers td,.numbers th{padding:.1rem .45rem;border:0;text-align:right}
.numbers th{white-space:nowrap}.numbers caption{text-align:left;font:600 13px/2 system-ui,sans-serif}
.formula{font:italic 1.05rem/1.6 Georgia,serif}.heads{display:grid;grid-template-columns:repeat(auto-fill,minmax(56px,1fr));gap:6px}
.heads figure{margin:0;font-size:.65rem;color:#8a9098;text-align:center}.heads img{width:100%;image-rendering:pixelated;background:#fff}
.heads .here img{outline:2px solid #c16234}
.pieces span{display:inline-block;border:1px solid #8886;border-radius:4px;padding:0 .35em;margin:.15em}
"""


def trace_page(traces: Sequence[Trace]) -> str:
    """The page of one trace, or of several side by side."""
    return page(_("The way of a text through a model"), trace_blocks(traces), STYLE)


def trace_blocks(traces: Sequence[Trace]) -> str:
    """The steps, without a page around them."""
    steps: list[tuple[str, str, Callable[[Trace], str]]] = [
        (_("1. The text and its pieces"), _("Each piece has a number; a word may be several pieces."), _pieces),
        (_("2. Embedding and positions"), _("Each piece has a vector, and where positions are added, each place has one."), _embedding),
        (_("3. Queries, keys and values"), _("The layer's input, times three matrices; each head has its own part of them."), _projections),
        (_("4. Scores and softmax"), "Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V", _scores),
        (_("5. Weighted values"), _("Each piece takes of the others' values what its weights say."), _views),
        (
            _("6. All heads, joined by W^O"),
            _("The heads' views lie side by side, times one matrix, and are added to what came in."),
            _joined,
        ),
        (_("7. Feed-forward"), _("Each piece for itself: up, an activation, down; added again, and the layer is done."), _fed),
        (_("8. The answer"), _("After the last layer the head says how probable each answer is."), _answers),
        (_("Every layer and head"), _("Dark is a large weight; a row looks at a column. The one above is framed."), _overview),
        (_("From pieces to words"), _("A word looks as its pieces do on average, and is seen as they are together."), _words),
    ]
    sections = []
    for title, note, block in steps:
        columns = "".join(f"<div>{_named(each) if len(traces) > 1 else ''}{block(each)}</div>" for each in traces)
        sections.append(
            f'<section><h2>{escape(title)}</h2><p class="formula">{escape(note)}</p><div class="beside">{columns}</div></section>'
        )
    return "".join(sections)


def _named(trace: Trace) -> str:
    sees = _("sees what came before") if trace.config.is_causal else _("sees both sides")
    return f"<p><b>{escape(trace.config.family)}</b>, {escape(sees)}</p>"


def _pieces(trace: Trace) -> str:
    shown = "".join(
        f"<span>{escape(piece)} <small>{token}</small></span>" for piece, token in zip(trace.pieces, trace.reading.ids.tolist())
    )
    return f'<p>{escape("".join(trace.reading.texts))}</p><p class="pieces">{shown}</p>'


def _embedding(trace: Trace) -> str:
    parts = [(_("tokens"), trace.token_TD), (_("positions"), trace.position_TD), (_("types"), trace.type_TD)]
    tables = [_vectors(trace, name, x) for name, x in parts if x is not None]
    ways = {
        "rotary": _("Positions turn queries and keys, in each layer (rotary)."),
        "alibi": _("Positions lower the scores by distance, in each layer (ALiBi)."),
        "relative": _("Positions change the scores by distance, in each layer."),
    }
    note = ways.get(trace.config.positions, "")
    return "".join(tables) + _vectors(trace, _("together, as the first layer reads it"), trace.embedded_TD) + f"<p>{escape(note)}</p>"


def _projections(trace: Trace) -> str:
    head, look = trace.head, trace.look
    where = _("layer {layer}, head {head} (counted from 0)").format(layer=trace.layer, head=head)
    tables = [_vectors(trace, _("what attention reads"), trace.attended_TD)]
    tables += [_vectors(trace, name, x[head]) for name, x in (("Q", look.q_HTK), ("K", look.k_HTK), ("V", look.v_HTK))]
    return f"<p>{escape(where)}</p>" + "".join(tables)


def _scores(trace: Trace) -> str:
    head, look = trace.head, trace.look
    scaled = _("Q Kᵀ × {scale:.5f}, with what is not seen at −∞").format(scale=look.scale)
    return (
        _matrix(trace.pieces, trace.pieces, "Q Kᵀ", look.products_HTT[head])
        + _matrix(trace.pieces, trace.pieces, scaled, look.scores_HTT[head])
        + _matrix(trace.pieces, trace.pieces, _("softmax, each row 1 together"), look.weights_HTT[head], is_shaded=True)
    )


def _views(trace: Trace) -> str:
    return _vectors(trace, _("weights × V"), trace.look.views_HTK[trace.head])


def _joined(trace: Trace) -> str:
    return _vectors(trace, _("all heads × W^O"), trace.look.output_TD) + _vectors(trace, _("added to what came in"), trace.summed_TD)


def _fed(trace: Trace) -> str:
    return (
        _vectors(trace, _("what the feed-forward net reads"), trace.fed_TD)
        + _vectors(trace, _("inside, after {activation}").format(activation=trace.config.activation), trace.inner_TF)
        + _vectors(trace, _("what it adds"), trace.fed_out_TD)
        + _vectors(trace, _("what leaves the layer"), trace.layer_out_TD)
    )


def _answers(trace: Trace) -> str:
    if not trace.guesses:
        return f"<p>{escape(_('This model has no head that answers here; a blank in the text would be filled.'))}</p>"
    blocks = []
    for guess in trace.guesses:
        title = _("the whole text") if guess.place is None else f"{guess.place}: {trace.pieces[guess.place]}"
        rows = "".join(
            f"<tr><th>{escape(name.strip() or repr(name))}</th><td>{_number(logit)}</td><td>{_number(chance)}</td></tr>"
            for name, logit, chance in guess.best
        )
        head = f"<tr><th></th><th>{escape(_('logit'))}</th><th>{escape(_('probability'))}</th></tr>"
        blocks.append(f'<table class="numbers"><caption>{escape(title)}</caption>{head}{rows}</table>')
    return "".join(blocks)


def _overview(trace: Trace) -> str:
    shown = []
    for layer, weights_HTT in enumerate(trace.attention.weights):
        for head, weights_TT in enumerate(weights_HTT):
            here = ' class="here"' if (layer, head) == (trace.layer, trace.head) else ""
            shown.append(f'<figure{here}><img alt="" src="{picture(weights_TT)}">{layer} · {head}</figure>')
    return f'<div class="heads">{"".join(shown)}</div>'


def _words(trace: Trace) -> str:
    names, merged = trace.attention.by_word()
    return _matrix(names, names, "", merged[trace.layer, trace.head], is_shaded=True)


def _vectors(trace: Trace, title: str, x_TD: Tensor) -> str:
    """The first numbers of each piece's vector, and its length."""
    columns = [*map(str, range(min(FIRST, x_TD.shape[1]))), "…", "|x|"]
    lengths = x_TD.double().norm(dim=-1).tolist()
    rows = []
    for piece, row, length in zip(trace.pieces, x_TD[:, :FIRST].tolist(), lengths, strict=True):
        cells = "".join(f"<td>{_number(value)}</td>" for value in row)
        rows.append(f"<tr><th>{escape(piece)}</th>{cells}<td></td><td>{_number(length)}</td></tr>")
    size = _("{title} ({size} numbers each)").format(title=title, size=x_TD.shape[1])
    return f'<table class="numbers"><caption>{escape(size)}</caption>{_head(columns)}{"".join(rows)}</table>'


def _matrix(rows: Sequence[str], columns: Sequence[str], title: str, x: Tensor | np.ndarray, *, is_shaded: bool = False) -> str:
    body = []
    for name, values in zip(rows, x.tolist(), strict=True):
        cells = "".join(
            f'<td style="background:rgba(47,111,143,{0.7 * value:.2f})">{_number(value)}</td>'
            if is_shaded
            else f"<td>{_number(value)}</td>"
            for value in values
        )
        body.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f'<table class="numbers">{caption}{_head(columns)}{"".join(body)}</table>'


def _head(columns: Sequence[str]) -> str:
    return "<tr><th></th>" + "".join(f"<th>{escape(column)}</th>" for column in columns) + "</tr>"


def _number(value: float) -> str:
    return "−∞" if value == -np.inf else f"{value:.5f}"


def picture(weights: np.ndarray) -> str:
    """Weights from 0, white, to 1, dark, as a PNG in the page itself, one point each: a page of every head has no room for text."""
    grey = np.round(255 * (1 - np.clip(weights, 0, 1))).astype(np.uint8)
    height, width = grey.shape
    lines = b"".join(b"\0" + row.tobytes() for row in grey)

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(lines, 9)) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()
