"""Text classification: one label for a text, or for a pair of texts."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.models.packed import Packed
from diptych.tasks.tables import LabelledRow, chunks, read_labelled
from diptych.tasks.task import Batch, ExampleSettings, HeadTask, Loss, Outputs, Place, Prediction, Targets, Term, ask
from diptych.text.tokenizer import Tokenizer

MOST_NUMBERS = 20
"""More numbers than this, most of them in one row only, are something measured: a price, a date, an identity."""
UNSEEN_LABEL = mark("rows whose label was not seen in training: they cannot be predicted right")


class ClassificationSettings(ExampleSettings):
    """`task: {name: classification, data: reviews.csv, text: review, label: stars}`"""

    name: Literal["classification"] = "classification"
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    empty_labels: Literal["error", "drop"] = "error"


@dataclass
class LabelledTexts:
    """Framed token ids with the number of their class, -1 where the label is not one of the classes."""

    ids: list[np.ndarray]
    types: list[np.ndarray]
    gold: np.ndarray
    rows: Sequence[LabelledRow]

    def __len__(self) -> int:
        return len(self.ids)

    def num_tokens(self, index: int) -> int:
        return len(self.ids[index])


class Classification(HeadTask):
    """Choose one of `labels`; they are taken from the first examples where they are not given."""

    name = "classification"
    Settings = ClassificationSettings
    panel = "masked"
    settings: ClassificationSettings
    heads = ("classes",)

    def __init__(self, settings: ClassificationSettings, labels: Sequence[str] = ()) -> None:
        super().__init__(settings)
        self.labels = tuple(labels)

    @classmethod
    def of(cls, net: Any) -> "Classification":
        """The task that a network was trained for."""
        return cls(ClassificationSettings(), net.config.labels)

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[LabelledRow], dict[str, str | None]]:
        names = found or {name: getattr(self.settings, name) for name in ("text", "pair", "label", "group")}
        rows, columns = read_labelled(source, ledger, empty_labels=self.settings.empty_labels, **names)
        return rows, {"text": columns.text, "pair": columns.pair, "label": columns.label}

    def inputs(self, rows: Sequence[LabelledRow]) -> list[str | tuple[str, ...]]:
        return [row.texts[0] if len(row.texts) == 1 else row.texts for row in rows]

    def prepare(self, net: Any, seed: int) -> None:
        net.ensure_head("classes", labels=self.labels, seed=seed)

    def examples(self, source: Iterable[LabelledRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> LabelledTexts:
        rows = list(source)
        if not self.labels:
            self.labels = label_set(rows)
            counts = Counter(row.label for row in rows)
            singles = sum(count == 1 for count in counts.values())
            ledger.add("labels", "labels with one example only", singles, total=len(counts))
        numbers = {label: number for number, label in enumerate(self.labels)}
        gold = np.array([numbers.get(row.label or "", -1) for row in rows], dtype=np.int64)
        unseen = [row for row, number in zip(rows, gold, strict=True) if number < 0 and row.label is not None]
        for row in unseen:
            ledger.add("labels", UNSEEN_LABEL, total=len(rows), where=row.where)
        limit = min(context_length, self.settings.max_length or context_length)
        framed = frame_texts([row.texts for row in rows], tokenizer, limit, ledger, [row.where for row in rows])
        return LabelledTexts([ids for ids, _ in framed], [types for _, types in framed], gold, rows)

    def collate(self, examples: LabelledTexts, places: Sequence[Place]) -> Batch:
        numbers = [place.index for place in places]
        gold = torch.from_numpy(examples.gold[numbers])
        known = torch.nonzero(gold >= 0).flatten()
        return Batch(lay(examples, numbers), {"classes": Targets(known, gold[known], known)}, tuple(numbers))

    @property
    def watched(self) -> str:
        return "errors"

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        targets = batch.targets["classes"]
        loss = self.loss(outputs, batch)
        wrong_M = (outputs["classes"].logits().argmax(-1) != targets.gold_M).float()
        total_B = wrong_M.new_zeros(len(batch.keys)).index_add(0, targets.example_M, wrong_M)
        return {**loss, "errors": Term(total_B, loss["classes"].count_B)}

    def predict(
        self, net: Any, tokenizer: Tokenizer, inputs: Iterable[str | tuple[str, str]], ledger: Ledger | None = None
    ) -> Iterator[Prediction]:
        """The label of each input with its probability, in the order of the inputs; the ledger counts what was cut."""
        ledger = ledger if ledger is not None else Ledger()
        device = next(net.parameters()).device
        limit = min(net.config.context_length, self.settings.max_length or net.config.context_length)
        for chunk in chunks(inputs, 512):
            own = Ledger()
            framed = frame_texts([(x,) if isinstance(x, str) else tuple(x) for x in chunk], tokenizer, limit, own)
            for stage, what, entry in own:
                ledger.add(stage, what, entry.count)
            order = sorted(range(len(framed)), key=lambda number: len(framed[number][0]))
            examples = LabelledTexts([ids for ids, _ in framed], [types for _, types in framed], np.empty(0), ())
            probabilities_BC: dict[int, Tensor] = {}
            for few in chunks(order, 32):
                packed = lay(examples, few).to(device)
                with torch.inference_mode():
                    answers = ask(net, "classes", net.hidden(packed), packed, torch.arange(len(few), device=device))
                    chances_BC = torch.softmax(answers.logits().float(), dim=-1).cpu()
                probabilities_BC.update(zip(few, chances_BC, strict=True))
            for number in range(len(framed)):
                yield self._prediction(probabilities_BC[number].tolist())

    def _prediction(self, chances: list[float]) -> Prediction:
        best = max(range(len(chances)), key=chances.__getitem__)
        return Prediction(self.labels[best], chances[best], dict(zip(self.labels, chances, strict=True)))


def label_set(rows: Sequence[LabelledRow]) -> tuple[str, ...]:
    """The labels of `rows`, numbers in their order and words in alphabetical order.

    Raises:
        DataError E131: there is only one, so there is nothing to tell apart. E135: they are measurements, not classes.
    """
    labels = {row.label for row in rows if row.label is not None}
    if len(labels) < 2:
        raise DataError("E131", label=next(iter(labels), ""), count=len(rows))
    try:
        names = tuple(sorted(labels, key=lambda label: (_finite(label), label)))
    except ValueError:
        return tuple(sorted(labels))
    if len(names) > MOST_NUMBERS and 2 * len(names) > len(rows):
        raise DataError("E135", count=len(names), total=len(rows), first=names[0], last=names[-1])
    return names


def frame_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and token types of each text or pair, with the special tokens, at most `limit` long.

    What does not fit is cut at the end, of the longer of a pair first, and counted.
    """
    columns = [tokenizer.encode_batch([text[part] for text in texts]) for part in range(len(texts[0]) if texts else 0)]
    framed = []
    for number, parts in enumerate(zip(*columns, strict=True)):
        room = max(0, limit - tokenizer.num_special(pair=len(parts) > 1))
        kept = _shorten(list(parts), room)
        lost = sum(map(len, parts)) - sum(map(len, kept))
        if lost:
            place = where[number] if where else None
            ledger.add("texts", "texts longer than the context, cut at the end", total=len(texts), where=place)
            ledger.add("texts", "tokens cut off", lost)
        ids, types = tokenizer.frame(*kept)
        if not ids:  # nothing to judge would be judged by the text before it
            ids, types = [tokenizer.eos_id or 0], [0]
        framed.append((np.asarray(ids, dtype=np.int64), np.asarray(types, dtype=np.int64)))
    return framed


def lay(examples: LabelledTexts, numbers: Sequence[int]) -> Packed:
    """The texts `numbers` of `examples` in one flat row."""
    ids_N = torch.from_numpy(np.concatenate([examples.ids[number] for number in numbers]))
    types_N = torch.from_numpy(np.concatenate([examples.types[number] for number in numbers]))
    return Packed(ids_N, tuple(len(examples.ids[number]) for number in numbers), types_N)


def _finite(label: str) -> float:
    number = float(label)
    if not math.isfinite(number):
        raise ValueError(label)
    return number


def _shorten(parts: list[list[int]], room: int) -> list[list[int]]:
    while sum(map(len, parts)) > max(0, room):
        longest = max(range(len(parts)), key=lambda part: len(parts[part]))
        others = sum(map(len, parts)) - len(parts[longest])
        second = max((len(part) for number, part in enumerate(parts) if number != longest), default=0)
        parts[longest] = parts[longest][: max(room - others, min(second, len(parts[longest]) - 1), 0)]
    return parts
