"""Tagging: names, parts of speech, words — every stretch of a text that has a label, with its place in the original text.

Each token is asked for its tag. Texts longer than the context are read in windows that overlap by half; a token's tag is
taken from the window in whose middle it stands.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.tasks.head_task import HeadTask
from diptych.tasks.spans import Span, best_path, encode_places, spans_of_path, tag_set, tags_of_spans
from diptych.tasks.tables import chunks
from diptych.tasks.tagged_texts import TaggedRow, label_set, read_tagged
from diptych.tasks.task import Batch, ExampleSettings, Loss, Outputs, Place, Targets, Term
from diptych.tasks.windows import Window, Windows, by_size, cut_windows, lay
from diptych.text.tokenizer import Tokenizer


class TaggingSettings(ExampleSettings):
    """`task: {name: tagging, data: train.conll}`"""

    name: Literal["tagging"] = "tagging"
    form: Literal["columns", "words", "spans"] | None = None
    """What the files hold; None finds out by looking."""
    ends: Literal["exclusive", "inclusive"] | None = None
    """Whether the end of a span in JSON is the character after it or its last one; None finds out by looking."""


@dataclass(frozen=True)
class Tagged:
    """A text with the stretches that a model found in it."""

    text: str
    spans: tuple[Span, ...]

    def to_json(self) -> dict[str, Any]:
        return {"spans": [{"text": self.text[each.start : each.stop], **each.to_json()} for each in self.spans]}

    def __str__(self) -> str:
        return " ".join(f"[{self.text[each.start : each.stop]}]{each.label}" for each in self.spans) or "–"


class Tagging(HeadTask):
    """Choose a tag for each token; `labels` are the kinds of stretches, taken from the first examples where not given."""

    name = "tagging"
    Settings = TaggingSettings
    panel = "masked"
    settings: Any
    heads = ("tags",)

    def __init__(self, settings: ExampleSettings, tags: Sequence[str] = ()) -> None:
        super().__init__(settings)
        self.tags = tuple(tags)

    @classmethod
    def of(cls, net: Any) -> "Tagging":
        """The task that a network was trained for."""
        return cls(TaggingSettings(), net.config.labels)

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[TaggedRow], dict[str, str | None]]:
        ends = (found or {}).get("ends") or self.settings.ends
        return read_tagged(source, ledger, ends=ends, form=self.settings.form, group=self.settings.group)

    def inputs(self, rows: Sequence[TaggedRow]) -> list[str]:
        return [row.texts[0] for row in rows]

    def prepare(self, net: Any, seed: int) -> None:
        net.ensure_head("tags", labels=self.tags, seed=seed)

    def examples(self, source: Iterable[TaggedRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> Windows:
        rows = list(source)
        if not self.tags:
            self.tags = tag_set(label_set(rows))
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        limit = min(context_length, self.settings.max_length or context_length)
        windows = []
        for number, (row, (ids, offsets)) in enumerate(zip(rows, encode_places([row.texts[0] for row in rows], tokenizer), strict=True)):
            unseen = sum(f"B-{span.label}" not in numbers for span in row.spans)
            gold, torn = tags_of_spans(row.spans, offsets, numbers)
            ledger.add("labels", "spans whose label was not seen in training: they cannot be found", unseen, where=row.where)
            ledger.add("labels", "spans whose border lies within a token: they are marked a little wide", torn - unseen, where=row.where)
            windows += _windows(ids, gold, number, tokenizer, limit, step=None)
        return Windows([window for window in windows if window.size])

    def collate(self, examples: Windows, places: Sequence[Place]) -> Batch:
        chosen = [examples.windows[place.index] for place in places]
        packed, at_M = lay_runs(chosen)
        gold_M = torch.from_numpy(np.concatenate([window.gold for window in chosen]))
        example_M = torch.from_numpy(np.repeat(np.arange(len(chosen)), [window.size for window in chosen]))
        return Batch(packed, {"tags": Targets(at_M, gold_M, example_M)}, tuple(place.index for place in places))

    @property
    def watched(self) -> str:
        return "errors"

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        targets = batch.targets["tags"]
        loss = self.loss(outputs, batch)
        wrong_M = (outputs["tags"].logits().argmax(-1) != targets.gold_M).float()
        total_B = wrong_M.new_zeros(len(batch.keys)).index_add(0, targets.example_M, wrong_M)
        return {**loss, "errors": Term(total_B, loss["tags"].count_B)}

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[str], ledger: Ledger | None = None) -> Iterator[Tagged]:
        """Each text with its stretches, in the order of the inputs; long ones are read in windows, so nothing is cut."""
        limit = min(net.config.context_length, self.settings.max_length or net.config.context_length)
        net.eval()
        for texts in chunks(inputs, 256):
            encoded = encode_places(texts, tokenizer)
            windows = []
            for number, (ids, _offsets) in enumerate(encoded):
                gold = np.zeros(len(ids), dtype=np.int64)
                windows += _windows(ids, gold, number, tokenizer, limit, step=limit // 2)
            log_chances = self._ask(net, windows, [len(ids) for ids, _offsets in encoded])
            for text, (_ids, offsets), scores_TC in zip(texts, encoded, log_chances, strict=True):
                path_T = best_path(scores_TC, self.tags)
                yield Tagged(text, tuple(spans_of_path(path_T, np.exp(scores_TC), offsets, self.tags)))

    def _ask(self, net: Any, windows: list[Window], lengths: list[int]) -> list[np.ndarray]:
        """Log-probabilities of the tags of every text's tokens, from the window in which each stands most in the middle."""
        device = next(net.parameters()).device
        found = [np.zeros((length, len(self.tags)), dtype=np.float32) for length in lengths]
        margins = [np.full(length, -1) for length in lengths]
        windows = [window for window in windows if window.size]
        for few in by_size([len(window.ids) for window in windows]):
            packed, at_M = lay_runs([windows[number] for number in few])
            packed = packed.to(device)
            with torch.inference_mode():
                logits_MC = net.heads["tags"](net.hidden(packed)[at_M.to(device)]).float()
                log_MC = torch.log_softmax(logits_MC, dim=-1).cpu().numpy()
            start = 0
            for number in few:
                window = windows[number]
                size = window.size
                at = np.arange(size)
                places, margin = at + window.first, np.minimum(at, size - 1 - at)
                # The edges of a text have no other side to see.
                margin = np.where((window.first == 0) & (at < size // 2), size, margin)
                better = margin > margins[window.row][places]
                found[window.row][places[better]] = log_MC[start : start + size][better]
                margins[window.row][places[better]] = margin[better]
                start += size
        return found


def _windows(ids: Sequence[int], gold: np.ndarray, row: int, tokenizer: Tokenizer, limit: int, *, step: int | None) -> list[Window]:
    """Runs of at most `limit` tokens, framed; without `step` they lie end to end, so that each token is learnt once."""
    num_special = tokenizer.num_special(pair=False)
    room = max(1, limit - num_special)
    windows = cut_windows(ids, row, lambda run, _first: tokenizer.frame(run), 1 if num_special > 1 else 0, room, step or room)
    for window in windows:
        window.gold = gold[window.first : window.first + window.size]
    return windows


def lay_runs(windows: Sequence[Window]) -> tuple[Packed, torch.Tensor]:
    """Windows in one flat row, and where the tokens of their runs lie in it."""
    starts = np.cumsum([0, *(len(window.ids) for window in windows[:-1])])
    at = [start + window.before + np.arange(window.size) for start, window in zip(starts, windows, strict=True)]
    return lay(windows), torch.from_numpy(np.concatenate(at))
