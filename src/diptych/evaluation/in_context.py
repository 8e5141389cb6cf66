"""Classification without training: a few labelled examples in a prompt, and which label a model finds most probable after it.

Labels are scored as they would be written (Brown et al. 2020). Calibrated, a label's probability after a text that says
nothing is taken off (Zhao et al. 2021): else a frequent word wins whatever the text.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diptych.errors import DataError, UsageError
from diptych.evaluation.evaluate import score_predictions
from diptych.evaluation.intervals import Scores
from diptych.evaluation.likelihood import Question, answer, continuation
from diptych.ledger import Ledger
from diptych.streams import seed_for
from diptych.tasks.labels import classes_of
from diptych.tasks.tables import LabelledRow, read_labelled
from diptych.text.tokenizer import Tokenizer

TEMPLATE = "{text}\n→"
"""How a text stands before its label."""
NOTHING = ("N/A", "[MASK]", "")
"""Texts that say nothing."""


def in_context(
    net: Any,
    tokenizer: Tokenizer,
    data: Any,
    ledger: Ledger,
    *,
    shots: int = 0,
    names: Mapping[str, str] | None = None,
    template: str = TEMPLATE,
    calibrate: bool = True,
    seed: int = 0,
    limit: int | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
) -> Scores:
    """Accuracy, macro-F1 and MCC of the label that is most probable after each text.

    Args:
        shots: so many examples stand in the prompt, of each label in turn; they are taken from the table and not asked.
        names: how labels are written where their own names say little, {"0": "bad", "1": "good"}.
        limit: only so many texts are asked.
        text, pair, label: the columns, where they are not guessed.

    Raises:
        UsageError E602: this model does not write. DataError E706: no row is left to ask.
    """
    config = net.config
    if not config.writes or config.is_encoder_decoder or "lm" not in net.heads:
        raise UsageError("E602", family=config.family)
    rows, _found = read_labelled(data, ledger, text=text, pair=pair, label=label, kind="single")
    labels = classes_of([row.label for row in rows], "single")
    shown, asked = _drawn(rows, labels, shots, seed)
    asked = asked[:limit]
    if not asked:
        raise DataError("E706", shots=shots, count=len(rows))
    written = {each: (names or {}).get(each, each) for each in labels}
    examples = [f"{template.format(text=' | '.join(row.texts))} {written[str(row.label)]}\n\n" for row in shown]

    def costs(texts: Sequence[str]) -> np.ndarray:
        """What each label costs after each text, in nats: [texts, labels]."""
        questions = [question for each in texts for question in questions_after(each)]
        found = [each.sum() for each, _best in answer(net, questions, is_causal=True)]
        return np.array(found).reshape(len(texts), len(labels))

    def questions_after(before_label: str) -> list[Question]:
        ends = [tokenizer.encode(f" {written[each]}") for each in labels]
        room = config.context_length - max(map(len, ends)) - 1
        kept = list(examples)
        while True:
            before = tokenizer.encode("".join(kept) + template.format(text=before_label))
            if len(before) <= room or not kept:
                break
            kept.pop(0)
        ledger.add("prompts", "prompts that lost examples, or the beginning of a text, to the context", len(kept) < len(examples))
        return [continuation(tokenizer, before[-max(1, room) :], end) for end in ends]

    nats = costs([" | ".join(row.texts) for row in asked])
    if calibrate:
        nats = nats - costs(NOTHING).mean(0)
    chosen = [labels[number] for number in nats.argmin(1)]
    return score_predictions([str(row.label) for row in asked], chosen, labels)


def _drawn(rows: Sequence[LabelledRow], labels: Sequence[str], shots: int, seed: int) -> tuple[list[LabelledRow], list[LabelledRow]]:
    """(the examples of the prompt, labels in turn; the others)."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        of_label[str(row.label)].append(number)
    for label, numbers in of_label.items():
        numbers.sort(key=lambda number: seed_for(seed, "shots", label, str(number)))
    chosen: list[int] = []
    turn = 0
    while len(chosen) < min(shots, len(rows)):
        chosen += [of_label[label][turn] for label in labels if turn < len(of_label[label])][: shots - len(chosen)]
        turn += 1
    taken = set(chosen)
    return [rows[number] for number in chosen], [row for number, row in enumerate(rows) if number not in taken]
