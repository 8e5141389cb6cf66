"""What a model finds of a text, as numbers by which somebody could tell that it was trained on it.

A trained text costs less than it should. How much it should is unknown to the mere loss; a second model that has not seen it says
(the ratio), or the hardest of its own tokens do (Shi et al. 2024, "Min-K%").
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from diptych.evaluation.likelihood import answer, continuation, text_nats
from diptych.ledger import Ledger
from diptych.tasks.measure import EVALUATION, by_tokens
from diptych.tasks.task import Place
from diptych.text.tokenizer import Tokenizer
from diptych.training.private.clipping import objectives
from diptych.training.private.units import Units, UnitTask

HARDEST = 0.2
"""Of a text's tokens the share that costs most."""
TOKENS_AT_ONCE = 4096


def example_costs(net: Any, task: Any, tokenizer: Tokenizer, rows: Iterable[Any]) -> np.ndarray:
    """What each row costs in the task that a network was trained for, in nats by target; rows that give no example are left out."""
    rows = list(rows)
    examples = task.examples(rows, tokenizer, net.config.context_length, Ledger())
    shown, units = UnitTask(task), Units(examples, "document", 64)
    device, found = next(net.parameters()).device, np.zeros(len(units))
    net.eval()
    with torch.inference_mode():
        for places in by_tokens(units, [Place(0, EVALUATION, number) for number in range(len(units))], TOKENS_AT_ONCE):
            batch = shown.collate(units, places).to(device)
            terms = dict(task.loss(task.forward(net, batch.inner), batch.inner))
            cost_U = objectives(terms, torch.tensor(batch.unit_B, device=device), batch.num_units)
            found[[place.index for place in places]] = cost_U.double().cpu().numpy()
    return found


def token_costs(net: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Of each text the nats of its tokens, as many as the context holds; of a model that writes."""
    room = net.config.context_length
    rows = [continuation(tokenizer, [], ids[:room]) for ids in tokenizer.encode_batch(list(texts))]
    return [nats for nats, _best in answer(net, rows, is_causal=True)]


def text_costs(net: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """What each text costs by token; NaN where it has none, or where the model has no room for it."""
    if net.config.writes:
        return np.array([nats.mean() if len(nats) else np.nan for nats in token_costs(net, tokenizer, texts)])
    lengths = np.array([max(1, len(ids)) for ids in tokenizer.encode_batch(list(texts))])
    return text_nats(net, tokenizer, texts) / lengths


def hardest(nats_T: np.ndarray, part: float = HARDEST) -> float:
    """The mean over the tokens that cost most: of a text that was not seen some are surprises."""
    if not len(nats_T):
        return float("nan")
    return float(np.sort(nats_T)[::-1][: max(1, round(part * len(nats_T)))].mean())
