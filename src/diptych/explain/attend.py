"""The attention to one text in a person's hands: by piece or by word, of any layer and head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.explain.attention import rollout, weights_of
from diptych.explain.question import read_prompt
from diptych.explain.reading import Reading, UnitKind, find_stretch, read_framed, units_of
from diptych.packed import Packed
from diptych.text.tokenizer import Tokenizer

# Shapes: L layers, H heads, T tokens, U words.


@dataclass(frozen=True)
class TextAttention:
    """Who looks at whom in one text.

    Attributes:
        weights: float64 [L, H, T, T], for each layer and head how much each token (a row) looks at each other; a row is 1 together.
        pieces: the tokens as a person reads them.
        place: the tokens of the word that was asked about; none where none was.
    """

    reading: Reading
    pieces: tuple[str, ...]
    weights: np.ndarray
    place: tuple[int, ...] = ()

    def pick(self, layer: int | None = None, head: int | None = None) -> np.ndarray:
        """The weights of a layer and a head, each counted from 0; None for the last layer, and for the mean of all heads: [T, T].

        Raises:
            UsageError E813: there is no such layer or head.
        """
        num_layers, num_heads = self.weights.shape[:2]
        for name, value, count in (("layer", layer, num_layers), ("head", head, num_heads)):
            if value is not None and not 0 <= value < count:
                raise UsageError("E813", name=name, value=value, last=count - 1)
        of_layer = self.weights[num_layers - 1 if layer is None else layer]
        return of_layer.mean(0) if head is None else of_layer[head]

    def seen(self, layer: int | None = None, head: int | None = None) -> list[tuple[str, float]]:
        """(piece, weight): where the word that was asked about looks, its pieces' mean; the mean of all tokens where none was."""
        rows = list(self.place) or list(range(len(self.pieces)))
        return [(piece, float(weight)) for piece, weight in zip(self.pieces, self.pick(layer, head)[rows].mean(0), strict=True)]

    def by_word(self, kind: UnitKind = "words") -> tuple[list[str], np.ndarray]:
        """The words, and the weights between them: [L, H, U, U]. What a word looks at is the mean of its pieces, and what is seen of
        it their sum; so with the special tokens, each a word of its own, every row is 1 together again."""
        units = {unit.tokens[0]: unit for unit in units_of(self.reading, kind)}
        names, groups, at = [], [], 0
        while at < len(self.pieces):
            unit = units.get(at)
            groups.append(list(unit.tokens) if unit else [at])
            names.append(self.reading.texts[unit.part][unit.start : unit.stop] if unit else self.pieces[at])
            at = groups[-1][-1] + 1
        return names, merge(self.weights, groups)

    def rollout(self) -> np.ndarray:
        """What has reached each token through all layers: [T, T]."""
        return rollout(self.weights)

    def __str__(self) -> str:
        ranked = sorted(self.seen(), key=lambda pair: -pair[1])[:10]
        return "\n".join(f"{weight:8.4f}  {piece}" for piece, weight in ranked)

    def _repr_html_(self) -> str:
        from diptych.explain.picture import attention_picture

        return attention_picture(self)

    def save(self, path: str | Path, layer: int | None = None, head: int | None = None) -> Path:
        """Write the picture as one page that needs no network."""
        from diptych.explain.picture import attention_page
        from diptych.page import write_page

        return write_page(Path(path), attention_page(self, layer, head))


def merge(weights: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Weights between tokens as weights between groups of them: rows are averaged, columns added: [..., T, T] to [..., U, U]."""
    rows = np.stack([weights[..., list(group), :].mean(-2) for group in groups], axis=-2)
    return np.stack([rows[..., list(group)].sum(-1) for group in groups], axis=-1)


def read_alone(net: Any, tokenizer: Tokenizer, text: str) -> Reading:
    """A text as the network reads it when nothing is asked: framed, or after the token that begins a document."""
    if net.config.writes and tokenizer.cls_id is None:
        return read_prompt(net, tokenizer, text)
    return read_framed([text], tokenizer, net.config.context_length)


def attention_to(net: Any, tokenizer: Tokenizer, text: str, of: str | None = None) -> TextAttention:
    """The attention of every layer and head to a text.

    Args:
        of: a word of the text, whose view is wanted.

    Raises:
        UsageError E801: there is no text. E803: it is too long. E804: the word is not in it. E810, E811: there is no such attention.
    """
    if not text.strip():
        raise UsageError("E801")
    reading = read_alone(net, tokenizer, text)
    net.eval()
    device = next(net.parameters()).device
    packed = Packed(torch.from_numpy(reading.ids), (len(reading.ids),), torch.from_numpy(reading.types)).to(device)
    place = reading.tokens_of(*find_stretch(reading, of)) if of is not None else ()
    return TextAttention(reading, pieces_of(reading, tokenizer), weights_of(net, packed), place)


def pieces_of(reading: Reading, tokenizer: Tokenizer) -> tuple[str, ...]:
    """The tokens as a person reads them: what each stands for in the text; the name of a special one."""
    shown = []
    for token, span in zip(reading.ids.tolist(), reading.spans, strict=True):
        piece = tokenizer.token(token)
        shown.append(piece if span is None or piece.startswith("##") else reading.texts[span[0]][span[1] : span[2]] or piece)
    return tuple(shown)
