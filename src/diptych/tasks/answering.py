"""Extractive question answering: the stretch of a text that answers a question, or none (Rajpurkar et al. 2016, 2018).

The question and the text are read together, and each token is given two numbers: how well an answer begins and how well it
ends there. The loss is a softmax over the tokens of the text for each of the two, as in BERT (Devlin et al. 2018).

A text longer than the context is read in windows that overlap by a third, each with the question before it. A window without
the answer has the first token, [CLS], as its right beginning and end. An answer's score is its two numbers less those of the
[CLS] of its window: how much more probable it is than that the window does not hold it (Alberti et al. 2019), which compares
answers of different windows. Where the training data has questions without an answer, the model says "none" by a fixed rule:
if in every window [CLS] is the more probable. A model that saw none of these always answers. Which of the two it is, is kept
in the names of its two numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.packed import Packed
from diptych.tasks.head_task import HeadTask, Logits
from diptych.tasks.questions import QuestionRow, read_questions
from diptych.tasks.spans import encode_places
from diptych.tasks.tables import chunks
from diptych.tasks.task import Batch, ExampleSettings, Loss, Outputs, Place, Targets, Term
from diptych.tasks.windows import Window, Windows, by_size, cut_windows, lay
from diptych.text.tokenizer import Tokenizer

ALWAYS, MAYBE = ("start", "end"), ("start or none", "end or none")
"""What the two numbers of a token mean."""
LOWEST = -1e4
"""The logit of a place where there is no token: next to impossible, and finite in every precision."""
BEST = 20
"""So many answers of each text are weighed against each other, as in BERT's own script."""


class AnsweringSettings(ExampleSettings):
    """`task: {name: answering, data: train.json}`"""

    name: Literal["answering"] = "answering"
    question: str | None = None
    context: str | None = None
    answer: str | None = None
    start: str | None = None
    """Columns of a table, where they have no usual name; `start` holds the answer's first character, counted from 0."""
    longest_answer: int = 128
    """Tokens of the longest answer that is given."""


@dataclass(frozen=True)
class Answer:
    """What a model answers: `context[start:end]`, or nothing, with the probability of that among its best answers."""

    text: str
    start: int | None
    end: int | None
    probability: float

    def to_json(self) -> dict[str, Any]:
        return {"answer": self.text, "start": self.start, "end": self.end, "probability": round(self.probability, 6)}

    def __str__(self) -> str:
        return f"{self.text or '–'}\t{self.probability:.4f}"


class Answering(HeadTask):
    """Find where an answer begins and ends; `labels` say whether there may be none, found in the examples where not given."""

    name = "answering"
    Settings = AnsweringSettings
    panel = "masked"
    settings: AnsweringSettings
    heads = ("span",)
    head_of: Mapping[str, str] = {"start": "span", "end": "span"}
    weights: Mapping[str, float] = {"start": 0.5, "end": 0.5}
    example = "modernbert-mini"

    def __init__(self, settings: AnsweringSettings, labels: Sequence[str] = ()) -> None:
        super().__init__(settings)
        self.labels = tuple(labels)

    @classmethod
    def of(cls, net: Any) -> "Answering":
        """The task that a network was trained for."""
        return cls(AnsweringSettings(), net.config.labels)

    def fits(self, config: Any) -> bool:
        """Whether every token sees the whole text: an answer's beginning depends on what comes after it."""
        return config.fills

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[QuestionRow], dict[str, str | None]]:
        told = {name: getattr(self.settings, name) for name in ("question", "context", "answer", "start", "group")}
        known = {name: column for name, column in (found or {}).items() if name in told}
        return read_questions(source, ledger, {**told, **known} if "question" in known else told)

    def inputs(self, rows: Sequence[QuestionRow]) -> list[tuple[str, str]]:
        return [row.texts for row in rows]

    def prepare(self, net: Any, seed: int) -> None:
        self.check(net.config)
        net.set_config(labels=self.labels or ALWAYS)
        net.ensure_head("span", seed=seed)

    def examples(self, source: Iterable[QuestionRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> Windows:
        """A window for each run of a text that holds the answer, and as many of the others at most: most of a long text is not
        the answer, and would teach little else.

        Raises:
            DataError E148: there is nothing to learn from at all.
        """
        numbered = [(number, row) for number, row in enumerate(source) if row.place is not None or row.is_unanswerable]
        rows = [row for _number, row in numbered]
        if not self.labels:
            if not any(row.place for row in rows):
                raise DataError("E148")
            self.labels = MAYBE if any(row.is_unanswerable for row in rows) else ALWAYS
        limit = min(context_length, self.settings.max_length or context_length)
        kept: list[Window] = []
        for some in chunks(numbered, 256):
            few = [row for _number, row in some]
            windows, encoded = _windows([row.texts for row in few], tokenizer, limit, ledger, [row.where for row in few])
            for (number, row), own, (_ids, places) in zip(some, windows, encoded, strict=True):
                for window in own:
                    window.gold, window.row = _gold(window, row.place, places), number
                holds = [window for window in own if window.gold.any()]
                others = [window for window in own if not window.gold.any()]
                num_kept = min(len(others), max(1, len(holds)))
                ledger.add("texts", "windows without the answer, left out so that they do not outweigh it", len(others) - num_kept)
                if row.place is not None and not holds:
                    ledger.add("texts", "answers that no window holds whole, not learnt from", where=row.where)
                    continue
                kept += holds + [others[number * len(others) // num_kept] for number in range(num_kept)]
        return Windows(kept)

    def collate(self, examples: Windows, places: Sequence[Place]) -> Batch:
        chosen = [examples.windows[place.index] for place in places]
        gold_B2 = torch.from_numpy(np.stack([window.gold for window in chosen]))
        texts_B = torch.arange(len(chosen))
        targets = {name: Targets(texts_B, gold_B2[:, side], texts_B) for side, name in enumerate(("start", "end"))}
        return Batch(lay(chosen), targets, tuple(place.index for place in places))

    def forward(self, net: Any, batch: Batch) -> Outputs:
        """For each text the logits of its tokens, as beginnings and as ends: answers out of as many as the longest has tokens."""
        logits_BT2 = _ask(net, batch.texts)
        return {"start": Logits(logits_BT2[..., 0]), "end": Logits(logits_BT2[..., 1])}

    @property
    def watched(self) -> str:
        return "errors"

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        wrong_2B = [outputs[name].logits().argmax(-1) != batch.targets[name].gold_M for name in ("start", "end")]
        wrong_B = (wrong_2B[0] | wrong_2B[1]).float()
        return {**self.loss(outputs, batch), "errors": Term(wrong_B, torch.ones_like(wrong_B, dtype=torch.int64))}

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[tuple[str, str]], ledger: Ledger | None = None) -> Iterator[Answer]:
        """The answer to each (question, context), in their order.

        Raises:
            DataError E150: an input is no such pair.
        """
        ledger = ledger if ledger is not None else Ledger()
        limit = min(net.config.context_length, self.settings.max_length or net.config.context_length)
        may_lack = net.config.labels != ALWAYS
        net.eval()
        for pairs in chunks(inputs, 64):
            pairs = [_pair(each) for each in pairs]
            windows, encoded = _windows(pairs, tokenizer, limit, ledger)
            found: list[dict[tuple[int, int], float]] = [{} for _pair in pairs]
            self._search(net, [window for own in windows for window in own if window.size], encoded, found)
            for (_question, context), scores in zip(pairs, found, strict=True):
                yield _best(context, scores, may_lack=may_lack)

    def _search(self, net: Any, windows: list[Window], encoded: Sequence[Any], found: list[dict[tuple[int, int], float]]) -> None:
        """The best answers of each window, by characters, into `found`, which keeps for each text the better score of the two."""
        device = next(net.parameters()).device
        for few in by_size([len(window.ids) for window in windows]):
            with torch.inference_mode():
                logits_BT2 = _ask(net, lay([windows[number] for number in few]).to(device)).float().cpu().numpy()
            for number, logits_T2 in zip(few, logits_BT2, strict=True):
                window = windows[number]
                places = encoded[window.row][1][window.first : window.first + window.size]
                run_T2 = logits_T2[window.before : window.before + window.size] - logits_T2[0]
                is_text = np.array([stop > start for start, stop in places])
                run_T2 = np.where(is_text[:, None], run_T2, -np.inf)
                scores = found[window.row]
                for first, last, score in best_spans(run_T2, self.settings.longest_answer):
                    place = places[first][0], places[last][1]
                    scores[place] = max(score, scores.get(place, -np.inf))


def best_spans(scores_T2: np.ndarray, longest: int, count: int = BEST) -> list[tuple[int, int, float]]:
    """(first, last, score) of the `count` spans of at most `longest` tokens whose begin and end add up to most, the best first."""
    T = len(scores_T2)
    width = min(longest, T)
    ends_T = np.concatenate([scores_T2[:, 1], np.full(width, -np.inf)])
    sums_TL = scores_T2[:, :1] + np.lib.stride_tricks.sliding_window_view(ends_T, width)[:T]
    flat = sums_TL.ravel()
    top = np.argpartition(-flat, min(count, len(flat)) - 1)[:count]
    # Of equal scores the one that comes first: what is chosen must not depend on how numpy parts them.
    top = sorted((number for number in top if np.isfinite(flat[number])), key=lambda number: (-flat[number], number))
    return [(int(number // width), int(number // width + number % width), float(flat[number])) for number in top]


def _best(context: str, scores: Mapping[tuple[int, int], float], *, may_lack: bool) -> Answer:
    """The answer with the best score; its probability is a softmax over the best ones, with that there is none where there may be."""
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:BEST]
    if not ordered:
        return Answer("", None, None, 1.0)
    logits = np.array([score for _place, score in ordered] + [0.0] * may_lack)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    (start, stop), score = ordered[0]
    if may_lack and score <= 0:
        return Answer("", None, None, float(chances[-1]))
    return Answer(context[start:stop], start, stop, float(chances[0]))


def _ask(net: Any, texts: Packed) -> torch.Tensor:
    """The two numbers of each token, texts as rows: [B, T, 2]."""
    logits_N2 = net.heads["span"](net.hidden(texts))
    is_real_BT = texts.pad(torch.ones_like(logits_N2[:, 0], dtype=torch.bool))
    return texts.pad(logits_N2).masked_fill(~is_real_BT[..., None], LOWEST)


def _windows(
    pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
) -> tuple[list[list[Window]], list[tuple[list[int], list[tuple[int, int]]]]]:
    """For each (question, context) its windows, and the context's tokens with their places.

    A question takes a third of a window at most.
    """
    questions = tokenizer.encode_batch([question for question, _context in pairs])
    encoded = encode_places([context for _question, context in pairs], tokenizer)
    num_special = tokenizer.num_special(pair=True)
    after = 1 if tokenizer.sep_id is not None and tokenizer.cls_id is not None else 0
    windows = []
    for number, (question, (ids, _places)) in enumerate(zip(questions, encoded, strict=True)):
        kept = question[: max(1, (limit - num_special) // 3)]
        if len(kept) < len(question):
            ledger.add("texts", CUT_QUESTION, where=where[number] if where else None)

        def frame(run: list[int], _first: int, kept: list[int] = kept) -> tuple[list[int], list[int]]:
            return tokenizer.frame(kept, run)

        room = max(1, limit - num_special - len(kept))
        before = num_special + len(kept) - after
        windows.append(cut_windows(ids, number, frame, before, room, room - room // 3))
    return windows, encoded


CUT_QUESTION = mark("questions longer than a third of the context, cut at the end")


def _gold(window: Window, place: tuple[int, int] | None, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """Where in the window the answer begins and ends; 0 and 0, the token before all text, where it is not whole in it."""
    if place is not None:
        inside = [number for number, (start, stop) in enumerate(places) if start < place[1] and stop > place[0] and stop > start]
        if inside and window.first <= inside[0] and inside[-1] < window.first + window.size:
            return np.array([inside[0], inside[-1]], dtype=np.int64) - window.first + window.before
    return np.zeros(2, dtype=np.int64)


def _pair(item: Any) -> tuple[str, str]:
    if isinstance(item, Mapping) and {"question", "context"} <= set(item):
        item = (item["question"], item["context"])
    if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2 or not all(isinstance(each, str) for each in item):
        raise DataError("E150", item=repr(item)[:60])
    return item[0], item[1]
