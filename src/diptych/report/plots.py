"""Pictures as SVG that stays text: it scales, it can be searched, and Chinese is drawn by the reader's own fonts."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.messages import _

FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"]
INK, MAIN, OTHER = "#808690", "#2f6f8f", "#b5633c"


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "diptych",
    "text.parse_math": False,
    "font.family": FONTS,
    "font.size": 9,
}


def loss_curve(training: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]]) -> str:
    """The loss over the steps, of the training text and of the held-out text."""
    with _style():
        return _svg(_loss_curve(training, held_out))


def confusion_matrix(table: np.ndarray, labels: Sequence[str]) -> str:
    """Gold labels down, predictions across; the shade is the share of a gold label."""
    with _style():
        return _svg(_confusion_matrix(table, labels))


def reliability_curve(curves: Mapping[str, Sequence[Any]]) -> str:
    """The share that was right over the confidence, a curve a name, with intervals; the diagonal is what may be believed.

    Args:
        curves: bins (`evaluation.calibration.Bin`) by name.
    """
    with _style():
        return _svg(_reliability_curve(curves))


def coverage_curve(kept: Sequence[Any]) -> str:
    """The share that is right among the answers that are kept, over the share of texts that is answered, from the surest answers on.

    Args:
        kept: `evaluation.calibration.Kept` at each threshold.
    """
    with _style():
        return _svg(_coverage_curve(kept))


def _loss_curve(training: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]]) -> Any:
    figure, axes = _figure(6.4, 2.8)
    if training:
        axes.plot(*zip(*training, strict=True), color=MAIN, linewidth=1.2, label=_("training"))
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=OTHER, marker="o", markersize=3.5, linewidth=1.2, label=_("held out"))
    axes.set_xlabel(_("step"))
    axes.set_ylabel(_("loss (nats)"))
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def _confusion_matrix(table: np.ndarray, labels: Sequence[str]) -> Any:
    size = min(7.0, 1.6 + 0.55 * len(labels))
    figure, axes = _figure(size + 0.6, size)
    shares = table / np.maximum(1, table.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for row in range(len(labels)):
            for column in range(len(labels)):
                colour = "white" if shares[row, column] > 0.5 else "#303438"
                axes.text(column, row, f"{table[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(len(labels)), [_short(label) for label in labels], rotation=45 if len(labels) > 4 else 0)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_xlabel(_("predicted"))
    axes.set_ylabel(_("gold"))
    return figure


def _reliability_curve(curves: Mapping[str, Sequence[Any]]) -> Any:
    figure, axes = _figure(4.2, 3.6)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    for (name, bins), colour in zip(curves.items(), (OTHER, MAIN) if len(curves) > 1 else (MAIN,), strict=True):
        x, y = [each.confidence for each in bins], [each.right for each in bins]
        # An interval of one text may end just short of its own value by rounding.
        reach = [[max(0.0, each.right - each.low) for each in bins], [max(0.0, each.high - each.right) for each in bins]]
        axes.errorbar(x, y, yerr=reach, color=colour, marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.7, label=name)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(_("confidence"))
    axes.set_ylabel(_("share that was right"))
    if len(curves) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    return figure


def _coverage_curve(kept: Sequence[Any]) -> Any:
    figure, axes = _figure(4.2, 3.0)
    x = [each.coverage for each in kept]
    axes.plot(x, [each.accuracy for each in kept], color=MAIN, marker="o", markersize=2.5, linewidth=1.2, label=_("right"))
    axes.plot(x, [each.low for each in kept], color=INK, linewidth=0.8, linestyle=":", label=_("at least, with 95 % confidence"))
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(_("share of texts that is answered"))
    axes.set_ylabel(_("share that was right"))
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def _short(label: str) -> str:
    """A label that fits beside an axis; what XML cannot hold is shown as U+FFFD."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in label)
    return shown if len(shown) <= 18 else shown[:17] + "…"


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Our settings while a picture is made, and nobody's afterwards; a font that lacks Chinese is no matter for a warning,
    since the reader's own draws it.
    """
    import matplotlib

    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    return text[text.index("<svg") :]
