"""What the answer owes each token's vector, by the gradient: input x gradient, and integrated gradients (Sundararajan et al. 2017).

The vectors are those of the embedding, before positions are added, so that a token is moved and stays where it stands. Special tokens
and whatever is no unit's stay as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.errors import UsageError
from diptych.explain.method import Attribution
from diptych.explain.perturb import TOKENS_AT_ONCE, Subject
from diptych.explain.question import WritingQuestion

# Shapes: T tokens of the text, S steps, D hidden.

COMPLETE = 0.01
"""Steps are doubled until the values miss what they should add up to by less than this share of it."""
MOST_STEPS = 512


def input_x_gradient(subject: Subject, budget: int, seed: int) -> Attribution:
    """The vector of each token times the gradient of the answer there, summed (Shrikumar et al. 2016). One pass; it adds up to nothing."""
    x_TD = _embed(subject, subject.question.reading.ids)
    with torch.enable_grad():
        _scores, grad_STD = _gradients(subject, x_TD[None])
    return Attribution(subject.by_unit((grad_STD[0] * x_TD).sum(-1).double().cpu().numpy()))


def integrated_gradients(subject: Subject, budget: int, seed: int) -> Attribution:
    """The mean gradient on the straight way from blanks to the text, times the way.

    The values add up to f(text) - f(blanks); steps are doubled until they do, within `COMPLETE`, and `error` says how far they are.
    """
    steps = 16
    while True:
        values_T, base, full = integrate(subject, steps)
        error = abs(values_T.sum() - (full - base)) / max(abs(full - base), 1e-6)
        if error < COMPLETE or 2 * steps > min(MOST_STEPS, max(32, budget)):
            return Attribution(subject.by_unit(values_T), base, float(error))
        steps *= 2


def integrate(subject: Subject, steps: int) -> tuple[np.ndarray, float, float]:
    """(the value of each token [T], f(blanks), f(text)), by Gauss-Legendre quadrature with so many steps."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    alphas_S = torch.tensor((points + 1) / 2, dtype=torch.float32, device=subject.device)
    weights_S = torch.tensor(weights / 2, dtype=torch.float32, device=subject.device)
    start_TD, end_TD = _embed(subject, subject.gone_ids()), _embed(subject, subject.question.reading.ids)
    way_TD = end_TD - start_TD
    mean_TD = torch.zeros_like(way_TD)
    few = max(1, TOKENS_AT_ONCE // len(way_TD))
    for first in range(0, steps, few):
        alphas = alphas_S[first : first + few, None, None]
        _scores, grad_STD = _gradients(subject, start_TD + alphas * way_TD)
        mean_TD += (weights_S[first : first + few, None, None] * grad_STD).sum(0)
    ends, _grads = _gradients(subject, torch.stack([start_TD, end_TD]))
    return (mean_TD * way_TD).sum(-1).double().cpu().numpy(), float(ends[0]), float(ends[1])


def _embed(subject: Subject, ids: np.ndarray) -> Tensor:
    with torch.no_grad():
        return subject.net.body.embedding.tokens(torch.from_numpy(ids).to(subject.device))


def _gradients(subject: Subject, x_STD: Tensor) -> tuple[Tensor, Tensor]:
    """The answer to each of some texts that are given as vectors, and its gradient by them: [S], [S, T, D].

    Raises:
        UsageError E817: both halves of an encoder-decoder read the text.
    """
    if subject.net.config.is_encoder_decoder and not isinstance(subject.question, WritingQuestion):
        raise UsageError("E817", family=subject.net.config.family)
    subject.num_evaluations += len(x_STD)
    texts, at_SP = subject.lay_whole(len(x_STD))
    vectors_ND = x_STD.detach().flatten(0, 1).requires_grad_()
    with torch.enable_grad(), replaced(subject.net.body.embedding.tokens, vectors_ND):
        scores_S = subject.question.score(subject.net, texts, at_SP)
    (grad_ND,) = torch.autograd.grad(scores_S.sum(), vectors_ND)
    return scores_S.detach(), grad_ND.view(x_STD.shape)


@contextmanager
def replaced(embedding: nn.Embedding, vectors_ND: Tensor) -> Iterator[None]:
    """The next text that `embedding` is asked for is these vectors; what an encoder-decoder writes comes after and is left alone."""
    is_used = False

    def put(_module: Any, _given: Any, out: Tensor) -> Tensor:
        nonlocal is_used
        if is_used:
            return out
        is_used = True
        return vectors_ND

    handle = embedding.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()
