"""What goes on inside a network while it answers: the vectors after each layer, and the queries, keys and values.

A student that is to work like its teacher is compared there as well. The networks are watched from outside, by hooks, so that
no line of a model knows that it may be watched.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diptych.packed import Packed

# Shapes: N tokens, D hidden, W width of queries, keys or values; S texts of T tokens in a block, A relation heads, K size of one.

HIDDEN = -1e9
"""Added to the score of a place that is not seen; finite, so that a difference of two is 0 and not undefined."""


@dataclass
class Insides:
    """What was seen in one pass, by the number of the layer."""

    hidden_ND: dict[int, Tensor] = field(default_factory=dict)
    qkv_NW: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


@contextmanager
def watched(net: Any, hidden: Iterable[int] = (), qkv: Iterable[int] = ()) -> Iterator[Insides]:
    """Passes through `net` inside of this leave the outputs of the layers `hidden`, and the queries, keys and values of `qkv`."""
    seen = Insides()
    hooks = []

    def keep_hidden(number: int) -> Any:
        def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
            seen.hidden_ND[number] = output

        return keep

    def keep_qkv(number: int, attention: Any) -> Any:
        of_query, of_key = attention.num_heads * attention.head_size, attention.num_kv_heads * attention.head_size

        def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
            q_NW, k_NW, v_NW = output.split((of_query, of_key, of_key), dim=-1)
            seen.qkv_NW[number] = (q_NW, k_NW, v_NW)

        return keep

    try:
        for number in hidden:
            hooks.append(net.body.layers[number].register_forward_hook(keep_hidden(number)))
        for number in qkv:
            attention = net.body.layers[number].attention
            hooks.append(attention.qkv.register_forward_hook(keep_qkv(number, attention)))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def relation_heads(*widths: int, most: int) -> int:
    """Into how many heads vectors of all these widths can be cut for a comparison: the most that divide them, up to `most`."""
    common = math.gcd(*widths)
    return max(number for number in range(1, most + 1) if common % number == 0)


def relation_nats(student_NW: Tensor, teacher_NW: Tensor, texts: Packed, num_heads: int, *, is_causal: bool) -> Tensor:
    """How far the student's relations among the tokens of each text are from the teacher's (MiniLMv2, Wang et al. 2021, eq. 5).

    The relation of queries with queries, or of keys or values, is softmax(X Xᵀ / √K) by head; both sides are cut into the same
    number of heads, so that their widths and numbers of attention heads may differ. The divergence KL(teacher ‖ student) of each
    token is the mean over heads.

    Returns:
        float32 [N], in nats.
    """
    parts = []
    for block in texts.blocks:
        sees = None if block.is_real_ST is None else block.is_real_ST[:, None, None, :]
        if is_causal:
            before = torch.ones(block.width, block.width, dtype=torch.bool, device=student_NW.device).tril()
            sees = before if sees is None else before & sees
        logs = []
        for x_NW in (student_NW.float(), teacher_NW.float()):
            x_STW = x_NW if block.rows_ST is None else x_NW.index_select(0, block.rows_ST.flatten())
            x_SATK = x_STW.view(block.size, block.width, num_heads, -1).transpose(1, 2)
            scores_SATT = x_SATK @ x_SATK.mT / x_SATK.shape[-1] ** 0.5
            if sees is not None:
                scores_SATT = scores_SATT.masked_fill(~sees, HIDDEN)
            logs.append(torch.log_softmax(scores_SATT, dim=-1))
        student_SATT, teacher_SATT = logs
        nats_SAT = (teacher_SATT.exp() * (teacher_SATT - student_SATT)).sum(-1)
        parts.append(nats_SAT.mean(1).flatten())
    back_N = texts.back_N
    return parts[0] if back_N is None else torch.cat(parts).index_select(0, back_N)
