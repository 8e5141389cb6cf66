"""One text's way through one's own model, with its real numbers: pieces, embedding, one layer and head step by step, and the answer.

Nothing is computed otherwise than in use: what the modules are given and give is noted while the network reads, and attention's inner
steps are worked out from that with the layer's own weights (`attention.look`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.explain.attend import TextAttention, pieces_of, read_alone
from diptych.explain.attention import Look, look, watched
from diptych.explain.question import read_blank
from diptych.explain.reading import Reading
from diptych.models.config import ModelConfig
from diptych.packed import Packed
from diptych.tasks.head_task import ask
from diptych.text.tokenizer import Tokenizer

# Shapes: T tokens, D hidden, F feed-forward, L layers, H heads.

LONGEST = 64
"""A page of more pieces than this is no lesson."""
TOP = 5


@dataclass(frozen=True)
class Guess:
    """What the model answers at a place: (name, logit, probability), the most probable first; `place` is None for a whole text."""

    place: int | None
    best: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Trace:
    """The numbers of one way.

    Attributes:
        layer, head: the ones that are shown step by step, counted from 0.
        token_TD, position_TD, type_TD: what the embedding adds up, where the family has it; embedded_TD: its result, normed.
        layer_in_TD: what the layer is given; attended_TD: that, normed where the family norms first, which is what attention reads.
        look: attention's steps, for all heads of the layer.
        summed_TD: what came in and what attention adds; fed_TD: what the feed-forward net reads.
        inner_TF: its inner values, after the activation; fed_out_TD: what it adds; layer_out_TD: what leaves the layer.
        attention: the weights of every layer and head.
        guesses: the answer of the model's head.
    """

    config: ModelConfig
    reading: Reading
    pieces: tuple[str, ...]
    layer: int
    head: int
    token_TD: Tensor
    position_TD: Tensor | None
    type_TD: Tensor | None
    embedded_TD: Tensor
    layer_in_TD: Tensor
    attended_TD: Tensor
    look: Look
    summed_TD: Tensor
    fed_TD: Tensor
    inner_TF: Tensor
    fed_out_TD: Tensor
    layer_out_TD: Tensor
    attention: TextAttention
    guesses: tuple[Guess, ...]

    def save(self, path: str | Path, *others: "Trace") -> Path:
        """Write it as one page that needs no network, beside `others` where there are some."""
        from diptych.explain.trace_page import trace_page
        from diptych.page import write_page

        return write_page(Path(path), trace_page([self, *others]))

    def _repr_html_(self) -> str:
        from diptych.explain.trace_page import trace_blocks

        return trace_blocks([self])


def trace(net: Any, tokenizer: Tokenizer, text: str, *, layer: int | None = None, head: int = 0) -> Trace:
    """Follow a text through a stack.

    Args:
        layer: counted from 0; None for the last.

    Raises:
        UsageError E801, E803: there is no text, or it is too long. E810, E811: the model is no stack of attention. E813: there is no
            such layer or head. E815: more pieces than a page can show.
    """
    if not text.strip():
        raise UsageError("E801")
    config: ModelConfig = net.config
    layer = config.num_layers - 1 if layer is None else layer
    for name, value, count in (("layer", layer, config.num_layers), ("head", head, config.num_heads)):
        if not config.cell and not 0 <= value < count:
            raise UsageError("E813", name=name, value=value, last=count - 1)
    mask = tokenizer.mask_id
    has_blank = config.fills and "lm" in net.heads and mask is not None and tokenizer.token(mask) in text
    reading = read_blank(net, tokenizer, text) if has_blank else read_alone(net, tokenizer, text)
    if len(reading.ids) > LONGEST:
        raise UsageError("E815", length=len(reading.ids), limit=LONGEST)
    net.eval()
    device = next(net.parameters()).device
    texts = Packed(torch.from_numpy(reading.ids), (len(reading.ids),), torch.from_numpy(reading.types)).to(device)
    with torch.inference_mode(), watched(net) as seen, _noted(net, layer) as notes:
        hidden_TD = net.hidden(texts)
        found = [look(*given) for given in seen]
        pieces = pieces_of(reading, tokenizer)
        weights = torch.stack([each.weights_HTT for each in found]).double().cpu().numpy()
        return Trace(
            config,
            reading,
            pieces,
            layer,
            head,
            *_embedding(net, texts),
            notes["embedded"],
            notes["layer in"],
            seen[layer][1],
            found[layer],
            notes["layer in"] + notes["attention out"],
            notes["fed"],
            notes["inner"],
            notes["fed out"],
            notes["layer out"],
            TextAttention(reading, pieces, weights),
            tuple(_guesses(net, tokenizer, texts, hidden_TD, has_blank=has_blank)),
        )


@contextmanager
def _noted(net: Any, layer: int) -> Iterator[dict[str, Tensor]]:
    """What the parts of one layer are given and give."""
    notes: dict[str, Tensor] = {}
    parts = net.body.layers[layer]

    def gives(name: str) -> Any:
        return lambda _module, _given, out: notes.__setitem__(name, out)

    def takes(name: str) -> Any:
        return lambda _module, given: notes.__setitem__(name, given[0])

    handles = [
        net.body.embedding.register_forward_hook(gives("embedded")),
        parts.register_forward_pre_hook(takes("layer in")),
        parts.attention.register_forward_hook(gives("attention out")),
        parts.feed_forward.register_forward_pre_hook(takes("fed")),
        parts.feed_forward.down.register_forward_pre_hook(takes("inner")),
        parts.feed_forward.register_forward_hook(gives("fed out")),
        parts.register_forward_hook(gives("layer out")),
    ]
    try:
        yield notes
    finally:
        for handle in handles:
            handle.remove()


def _embedding(net: Any, texts: Packed) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What the embedding adds up: of the tokens, of their positions, of their types."""
    embedding = net.body.embedding
    token_TD = embedding.tokens(texts.ids_N) * embedding.scale
    position_TD = None if embedding.positions is None else embedding.positions(texts.positions_N + embedding.offset)
    if embedding.types is None:
        return token_TD, position_TD, None
    types_N = torch.zeros_like(texts.ids_N) if texts.types_N is None or embedding.types.num_embeddings == 1 else texts.types_N
    return token_TD, position_TD, embedding.types(types_N)


def _guesses(net: Any, tokenizer: Tokenizer, texts: Packed, hidden_TD: Tensor, *, has_blank: bool) -> Iterator[Guess]:
    """The class of the text; or the token behind each blank, the next one; or the tag of each piece."""
    config = net.config
    if "classes" in net.heads:
        logits_C = ask(net, "classes", hidden_TD, texts, torch.arange(1, device=hidden_TD.device)).logits()[0].float()
        chances_C = {"single": logits_C.softmax(-1), "several": logits_C.sigmoid()}.get(config.label_kind, logits_C)
        yield _guess(None, logits_C, chances_C, lambda number: config.labels[number] if config.labels else str(number))
        return
    size = texts.num_tokens
    blanks = np.flatnonzero(texts.ids_N.cpu().numpy() == tokenizer.mask_id).tolist() if has_blank else []
    # A hybrid says each token one place ahead.
    places = [place - config.is_hybrid for place in blanks] if has_blank else [size - 1] if config.writes else []
    if "lm" in net.heads and places:
        logits_MV = ask(net, "lm", hidden_TD, texts, torch.tensor(places, device=hidden_TD.device)).logits().float()
        for place, logits_V in zip(blanks or places, logits_MV, strict=True):
            yield _guess(place, logits_V, logits_V.softmax(-1), tokenizer.token)
    elif "tags" in net.heads:
        logits_TC = ask(net, "tags", hidden_TD, texts, torch.arange(size, device=hidden_TD.device)).logits().float()
        for place, logits_C in enumerate(logits_TC):
            yield _guess(place, logits_C, logits_C.softmax(-1), lambda number: config.labels[number])


def _guess(place: int | None, logits_C: Tensor, chances_C: Tensor, name: Any) -> Guess:
    best = chances_C.topk(min(TOP, len(chances_C))).indices.tolist()
    return Guess(place, tuple((name(number), float(logits_C[number]), float(chances_C[number])) for number in best))
