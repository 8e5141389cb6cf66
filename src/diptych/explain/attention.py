"""Who looks at whom: the attention of every layer and head, as the forward pass has it, and what follows from all layers (rollout).

Attention says where a head looks. It is no reason for an answer (Jain and Wallace 2019): heads look at separators when they have
nothing to do, and what they look at need not matter. So it is labelled as attention, and its faithfulness stands beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.errors import UsageError
from diptych.explain.method import Attribution
from diptych.explain.perturb import Subject
from diptych.models.attention import Attention
from diptych.models.sight import Sight
from diptych.packed import Packed

# Shapes: L layers, H heads, G key-value heads, T tokens of the one text, K head size, D hidden.


@dataclass(frozen=True)
class Look:
    """One layer's attention to one text, step by step: what goes into softmax, and what comes out of it.

    Attributes:
        k_HTK, v_HTK: where several heads share one of keys and values, it stands here for each of them.
        products_HTT: q · k of each pair of tokens, queries down, keys across.
        scores_HTT: the products times `scale`, with what the family adds by distance; -inf where a token is not seen.
        weights_HTT: softmax of the scores.
        views_HTK: the values, weighted.
        output_TD: the heads joined by W^O.
    """

    q_HTK: Tensor
    k_HTK: Tensor
    v_HTK: Tensor
    scale: float
    products_HTT: Tensor
    scores_HTT: Tensor
    weights_HTT: Tensor
    views_HTK: Tensor
    output_TD: Tensor


def look(attention: Attention, x_TD: Tensor, sight: Sight, rotation: tuple[Tensor, Tensor] | None) -> Look:
    """One layer's attention to its input, worked out by the formula (Vaswani et al. 2017, eq. 1) with the layer's own weights."""
    group = attention.num_heads // attention.num_kv_heads
    q, k, v = (x.transpose(0, 1) for x in attention.project(x_TD, rotation))
    k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)
    products = q @ k.mT
    scores = products * attention.scale
    mask, is_causal = sight.mask(0, attention.window)
    if mask is not None:
        mask = mask[0]
        scores = scores + mask if mask.is_floating_point() else scores.masked_fill(~mask, -torch.inf)
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    weights = scores.softmax(-1)
    views = weights @ v
    joined = views.transpose(0, 1).flatten(1)
    return Look(q, k, v, attention.scale, products, scores, weights, views, attention.output(joined))


def looks(net: Any, text: Packed) -> list[Look]:
    """The attention of every layer to one text, in their order.

    Raises:
        UsageError E810: the network has no attention. E811: it is two stacks.
    """
    with watched(net) as seen, torch.inference_mode():
        net.hidden(text)
        return [look(attention, x_TD, sight, rotation) for attention, x_TD, sight, rotation in seen]


@contextmanager
def watched(net: Any) -> Iterator[list[tuple[Attention, Tensor, Sight, Any]]]:
    """What each layer's attention is given while the network reads."""
    if net.config.cell:
        raise UsageError("E810", family=net.config.family)
    if net.config.is_encoder_decoder:
        raise UsageError("E811", family=net.config.family)
    seen: list[tuple[Attention, Tensor, Sight, Any]] = []

    def note(module: Any, given: tuple) -> None:
        x_TD, sight, rotation, _cache = given
        seen.append((module, x_TD, sight, rotation))

    handles = [layer.attention.register_forward_pre_hook(note) for layer in net.body.layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def weights_of(net: Any, text: Packed) -> np.ndarray:
    """The weights of every layer and head: float64 [L, H, T, T], each row 1 together."""
    return torch.stack([each.weights_HTT for each in looks(net, text)]).double().cpu().numpy()


def rollout(weights_LHTT: np.ndarray) -> np.ndarray:
    """How much of each token has reached each other one through all layers: [T, T] (Abnar and Zuidema 2020, section 3).

    In each layer half of a token is what it was, through the residual, and half what its heads saw, on average.
    """
    reached_TT = np.eye(weights_LHTT.shape[-1])
    for weights_HTT in weights_LHTT:
        reached_TT = (0.5 * weights_HTT.mean(0) + 0.5 * np.eye(len(reached_TT))) @ reached_TT
    return reached_TT


def last_layer(subject: Subject, budget: int, seed: int) -> Attribution:
    """Where the last layer looks, all heads together, from the place that answers."""
    text, rows = _asked(subject)
    return Attribution(subject.by_unit(weights_of(subject.net, text)[-1].mean(0)[rows].mean(0)))


def rolled_out(subject: Subject, budget: int, seed: int) -> Attribution:
    """How much of each token has reached the place that answers."""
    text, rows = _asked(subject)
    return Attribution(subject.by_unit(rollout(weights_of(subject.net, text))[rows].mean(0)))


def _asked(subject: Subject) -> tuple[Packed, np.ndarray]:
    """The whole text, and the places whose vectors the answer is made of."""
    text, at_BP = subject.lay_whole()
    subject.num_evaluations += 1
    config, size = subject.net.config, text.num_tokens
    if at_BP.shape[1]:
        return text, at_BP[0].cpu().numpy()
    if config.pooling == "mean" and not config.is_causal:
        return text, np.arange(size)
    return text, np.array([size - 1 if config.is_causal else 0])
