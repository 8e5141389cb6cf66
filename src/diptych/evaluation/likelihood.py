"""How probable a model finds the tokens of many texts, in batches: the next tokens of one that writes, hidden ones of one that fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diptych.errors import UsageError
from diptych.packed import Packed
from diptych.tasks.head_task import ask
from diptych.tasks.measure import EVALUATION, by_tokens
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer
from diptych.text.word_pieces import WordFinder

TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Question:
    """A row of tokens, and at which places which tokens are asked for."""

    ids: list[int]
    at: list[int]
    gold: list[int]


@dataclass
class _Questions:
    rows: Sequence[Question]

    def __len__(self) -> int:
        return len(self.rows)

    def num_tokens(self, index: int) -> int:
        return len(self.rows[index].ids)


def answer(net: Any, rows: Sequence[Question], *, is_causal: bool, wants_best: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each row, of every token that it asks for: its nats, and whether no other is more probable (zeros unless wanted)."""
    device = next(net.parameters()).device
    questions = _Questions(rows)
    order = sorted((n for n in range(len(rows)) if rows[n].at), key=questions.num_tokens)
    found = [(np.zeros(0), np.zeros(0))] * len(rows)
    net.eval()
    with torch.inference_mode():
        for places in by_tokens(questions, [Place(0, EVALUATION, number) for number in order], TOKENS_AT_ONCE):
            few = [rows[place.index] for place in places]
            lengths = tuple(len(row.ids) for row in few)
            starts = np.cumsum([0, *lengths[:-1]])
            texts = Packed(torch.tensor([token for row in few for token in row.ids], device=device), lengths, is_causal=is_causal or None)
            at_M = torch.tensor([start + place for start, row in zip(starts, few, strict=True) for place in row.at], device=device)
            gold_M = torch.tensor([token for row in few for token in row.gold], device=device)
            answers = ask(net, "lm", net.hidden(texts), texts, at_M)
            nats = answers.nats(gold_M).double().cpu().numpy()
            best = (answers.logits().argmax(-1) == gold_M).cpu().numpy() if wants_best else np.zeros(len(nats))
            edges = np.cumsum([0, *(len(row.at) for row in few)])
            for place, first, last in zip(places, edges[:-1], edges[1:], strict=True):
                found[place.index] = (nats[first:last], best[first:last])
    return found


def continuation(tokenizer: Tokenizer, before: list[int], after: list[int]) -> Question:
    """Each token of `after` asked for from all that come before it."""
    begin = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.sep_id
    ids = [*([] if begin is None else [begin]), *before, *after]
    first = max(1, len(ids) - len(after))
    return Question(ids[:-1], list(range(first - 1, len(ids) - 1)), ids[first:])


def text_nats(net: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """What each text costs as a whole: next tokens of a model that writes; of one that fills, each token hidden in turn together
    with the pieces of its word that follow (Kauf and Ivanova 2023, PLL-word-l2r), so that these do not give it away.

    A text that the context has no room for is NaN.

    Raises:
        UsageError E606: this model does neither.
    """
    config = net.config
    room = config.context_length
    if "lm" not in net.heads or config.is_encoder_decoder or not (config.writes or config.fills):
        raise UsageError("E606", family=config.family)
    if config.writes:
        rows = [continuation(tokenizer, [], ids) for ids in tokenizer.encode_batch(list(texts))]
        return _sums(net, [[row] for row in rows], room, is_causal=True)
    hidden = [_hidden_rows(tokenizer, text) for text in texts]
    return _sums(net, hidden, room, is_causal=False)


def _sums(net: Any, groups: Sequence[Sequence[Question]], room: int, *, is_causal: bool) -> np.ndarray:
    """What the rows of each group cost together, NaN where one of them has no room."""
    fits = [all(len(row.ids) <= room for row in rows) for rows in groups]
    asked = [row for rows, ok in zip(groups, fits, strict=True) if ok for row in rows]
    costs = iter([each.sum() for each, _best in answer(net, asked, is_causal=is_causal)])
    return np.array([sum(next(costs) for _row in rows) if ok else np.nan for rows, ok in zip(groups, fits, strict=True)], dtype=float)


def _hidden_rows(tokenizer: Tokenizer, text: str) -> list[Question]:
    """One row for each token, in which it is hidden."""
    if (mask := tokenizer.mask_id) is None:
        raise UsageError("E606", family="?")
    ids, offsets = tokenizer.encode_offsets(text)
    goes_on = WordFinder().continues(text, offsets)
    empty, _types = tokenizer.frame([])
    before = 1 if len(empty) > 1 else 0
    rows = []
    for place, token in enumerate(ids):
        shown = list(ids)
        last = place + 1
        while last < len(ids) and goes_on[last]:
            last += 1
        shown[place:last] = [mask] * (last - place)
        rows.append(Question(tokenizer.frame(shown)[0], [before + place], [token]))
    return rows
