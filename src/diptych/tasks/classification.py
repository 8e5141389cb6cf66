"""Text classification: a text, or a pair of texts, has one label, several at once, or a grade.

A text longer than the context is read in windows, and their votes are averaged: the mean of their logits is the answer, while it is learnt
as when it is asked.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diptych.config import parse
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.packed import Packed
from diptych.tasks.answers import Choice, choice_of
from diptych.tasks.head_task import HeadTask, ask
from diptych.tasks.labels import Kind, classes_of, kind_of
from diptych.tasks.tables import LabelledRow, chunks, read_labelled
from diptych.tasks.task import Batch, ExampleSettings, Loss, Outputs, Place, Targets, Term
from diptych.tasks.windows import Framed, by_size, frame_texts, frame_windows, lay
from diptych.text.tokenizer import Tokenizer

UNSEEN_LABEL = mark("rows whose label was not seen in training: they cannot be predicted right")
KEPT = ("threshold", "positive", "long", "max_length")
"""Settings by which a trained model answers, so they stay with it where they are not the usual ones."""
WINDOWS_AT_ONCE = 8
"""So many windows of a text are learnt from in one step, others in each epoch: a book must not be a step of its own."""
TOKENS_AT_ONCE, TEXTS_AT_ONCE = 16384, 32
"""What is predicted in one pass at most."""


class ClassificationSettings(ExampleSettings):
    """`task: {name: classification, data: reviews.csv, text: review, label: stars}`"""

    name: Literal["classification"] = "classification"
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    kind: Kind | None = None
    """One label a text ("single"), "several" at once, or a number ("graded"); None finds out by looking and says so."""
    long: Literal["windows", "cut"] = "windows"
    """Whether texts longer than the context are read in windows or cut at the end."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """How probable a label must be to apply, where a text can have several; of two classes, how probable the positive one."""
    positive: str | None = None
    """Of two classes, the one that `threshold`, sensitivity and specificity are about; None is the last."""
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """How much an example of each class weighs in the loss: "balanced" gives rare ones more, as scikit-learn does."""
    empty_labels: Literal["error", "drop"] = "error"


@dataclass
class LabelledTexts:
    """The windows of each text, and its right answer as the kind of label has it; a negative number or NaN where there is none."""

    windows: list[list[Framed]]
    gold: np.ndarray
    known: np.ndarray
    weights: np.ndarray
    """How much each text weighs in the loss; 1 on average."""
    rows: Sequence[LabelledRow]

    def __len__(self) -> int:
        return len(self.windows)

    def num_tokens(self, index: int) -> int:
        return sum(len(each.ids) for each in self.windows[index][:WINDOWS_AT_ONCE])


@dataclass
class WindowTargets(Targets):
    """Which of a batch's texts are windows of one: `counts_M` of them, from `at_M` on."""

    counts_M: Tensor
    weights_M: Tensor

    def to(self, device: torch.device) -> "WindowTargets":
        parts = (self.at_M, self.gold_M, self.example_M, self.counts_M, self.weights_M)
        return WindowTargets(*(part.to(device) for part in parts))


class Classification(HeadTask):
    """Choose among `labels`; they are taken from the first examples where they are not given, and so is their kind."""

    name = "classification"
    Settings = ClassificationSettings
    panel = "masked"
    settings: ClassificationSettings
    heads = ("classes",)

    def __init__(self, settings: ClassificationSettings, labels: Sequence[str] = ()) -> None:
        super().__init__(settings)
        self.labels = tuple(labels)
        self.kind: Kind = settings.kind or "single"

    @classmethod
    def of(cls, net: Any) -> "Classification":
        """The task that a network was trained for."""
        task = dict(net.config.task)
        kept = {name: task[name] for name in KEPT if name in task and task.get("name") == cls.name}
        return cls(parse(ClassificationSettings, {"kind": net.config.label_kind, **kept}, where="config.json"), net.config.labels)

    @property
    def choice(self) -> Choice:
        return choice_of(self.kind, self.labels, self.settings.threshold, self.settings.positive)

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[LabelledRow], dict[str, str | None]]:
        names = found or {name: getattr(self.settings, name) for name in ("text", "pair", "label", "group", "kind")}
        rows, columns = read_labelled(source, ledger, empty_labels=self.settings.empty_labels, **names)
        return rows, {"text": columns.text, "pair": columns.pair, "label": columns.label, "kind": columns.kind}

    def inputs(self, rows: Sequence[LabelledRow]) -> list[str | tuple[str, ...]]:
        return [row.texts[0] if len(row.texts) == 1 else row.texts for row in rows]

    def leans_on(self) -> str | None:
        return None if self.settings.class_weights == "none" else mark("how many examples each class has (task.class_weights)")

    def prepare(self, net: Any, seed: int) -> None:
        net.ensure_head("classes", labels=self.labels, seed=seed)
        usual = ClassificationSettings()
        kept = {name: value for name in KEPT if (value := getattr(self.settings, name)) != getattr(usual, name)}
        net.set_config(label_kind=self.kind, task=(("name", self.name), *kept.items()) if kept else ())

    def examples(self, source: Iterable[LabelledRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> LabelledTexts:
        rows = list(source)
        if not self.labels:
            self.kind = kind_of([row.label for row in rows])
            self.labels = classes_of([row.label for row in rows], self.kind)
            counts = Counter(row.label for row in rows)
            singles = sum(count == 1 for count in counts.values()) if self.kind == "single" else 0
            ledger.add("labels", "labels with one example only", singles, total=len(counts))
        choice = self.choice
        gold = choice.gold([row.label for row in rows])
        known = choice.is_known(gold)
        for row in _unseen(rows, self.labels, self.kind):
            ledger.add("labels", UNSEEN_LABEL, total=len(rows), where=row.where)
        limit = min(context_length, self.settings.max_length or context_length)
        windows = self._framed([row.texts for row in rows], tokenizer, limit, ledger, [row.where for row in rows])
        return LabelledTexts(windows, gold, known, _weights(self.settings.class_weights, gold, known, self.labels, self.kind), rows)

    def collate(self, examples: LabelledTexts, places: Sequence[Place]) -> Batch:
        numbers = np.array([place.index for place in places], dtype=np.int64)
        shown = [_some(examples.windows[place.index], place) for place in places]
        counts = np.array([len(windows) for windows in shown])
        known = np.flatnonzero(examples.known[numbers])
        at = np.cumsum([0, *counts[:-1]])[known]
        weights = examples.weights[numbers][known]
        parts = (at, examples.gold[numbers][known], known, counts[known], weights.astype(np.float32))
        targets = WindowTargets(*(torch.from_numpy(part) for part in parts))
        texts = lay([window for windows in shown for window in windows])
        return Batch(texts, {"classes": targets}, tuple(numbers.tolist()), texts_of=tuple(counts.tolist()))

    def forward(self, net: Any, batch: Batch) -> Outputs:
        targets = batch.targets["classes"]
        logits_TC = _ask(net, batch.texts)
        assert isinstance(targets, WindowTargets)
        return {"classes": self.choice.answers(_averaged(logits_TC, targets.at_M, targets.counts_M))}

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        targets = batch.targets["classes"]
        assert isinstance(targets, WindowTargets)
        return {"classes": self._term(outputs["classes"].nats(targets.gold_M) * targets.weights_M, batch)}

    @property
    def watched(self) -> str:
        return "errors"

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        gold_M = batch.targets["classes"].gold_M
        answers = outputs["classes"]
        wrong_M = self.choice.wrong(answers.logits(), gold_M)
        return {"classes": self._term(answers.nats(gold_M), batch), "errors": self._term(wrong_M, batch)}

    def predict(
        self, net: Any, tokenizer: Tokenizer, inputs: Iterable[str | tuple[str, str]], ledger: Ledger | None = None
    ) -> Iterator[Any]:
        """What is said of each input, in the order of the inputs; the ledger counts what was cut."""
        ledger = ledger if ledger is not None else Ledger()
        limit = min(net.config.context_length, self.settings.max_length or net.config.context_length)
        choice = self.choice
        for chunk in chunks(inputs, 512):
            own = Ledger()
            windows = self._framed([(x,) if isinstance(x, str) else tuple(x) for x in chunk], tokenizer, limit, own)
            for stage, what, entry in own:
                ledger.add(stage, what, entry.count)
            logits_TC = _ask_all(net, [window for of_text in windows for window in of_text])
            counts = torch.tensor([len(of_text) for of_text in windows])
            for logits_C in _averaged(logits_TC, counts.cumsum(0) - counts, counts):
                yield choice.prediction(logits_C)

    def _framed(
        self, texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, limit: int, ledger: Ledger, where: Sequence[str] | None = None
    ) -> list[list[Framed]]:
        if self.settings.long == "windows":
            return frame_windows(texts, tokenizer, limit, ledger, where)
        return [[each] for each in frame_texts(texts, tokenizer, limit, ledger, where)]

    def _term(self, nats_M: Tensor, batch: Batch) -> Term:
        example_M = batch.targets["classes"].example_M
        total_B = nats_M.new_zeros(len(batch.keys)).index_add(0, example_M, nats_M)
        return Term(total_B, torch.bincount(example_M, minlength=len(batch.keys)) * self.choice.width)


def _ask(net: Any, texts: Packed) -> Tensor:
    """The head's logits for each text of a row: [T, C]."""
    return ask(net, "classes", net.hidden(texts), texts, torch.arange(texts.num_texts, device=texts.ids_N.device)).logits()


def _ask_all(net: Any, framed: Sequence[Framed]) -> Tensor:
    """The same for any number of them, in passes of similar lengths."""
    device = next(net.parameters()).device
    found: list[Tensor] = [torch.empty(0)] * len(framed)
    for few in by_size([len(each.ids) for each in framed], TOKENS_AT_ONCE, TEXTS_AT_ONCE):
        with torch.inference_mode():
            logits_TC = _ask(net, lay([framed[number] for number in few]).to(device)).float().cpu()
        for number, logits_C in zip(few, logits_TC, strict=True):
            found[number] = logits_C
    return torch.stack(found)


def _averaged(logits_TC: Tensor, at_M: Tensor, counts_M: Tensor) -> Tensor:
    """The mean over the windows of each text: [M, C]."""
    if bool((counts_M == 1).all()):
        return logits_TC[at_M]
    owner_W = torch.arange(len(at_M), device=at_M.device).repeat_interleave(counts_M)
    first_W = (counts_M.cumsum(0) - counts_M)[owner_W]
    windows_W = at_M[owner_W] + torch.arange(len(owner_W), device=at_M.device) - first_W
    sums_MC = logits_TC.new_zeros(len(at_M), logits_TC.shape[-1]).index_add(0, owner_W, logits_TC[windows_W])
    return sums_MC / counts_M[:, None]


def _some(windows: list[Framed], place: Place) -> list[Framed]:
    """All windows of a text, or as many as a step holds: drawn anew in each epoch, evenly spread while evaluating."""
    if len(windows) <= WINDOWS_AT_ONCE:
        return windows
    if place.epoch < 0:
        chosen = np.linspace(0, len(windows) - 1, WINDOWS_AT_ONCE).round().astype(int)
    else:
        chosen = np.sort(place.stream("windows").permutation(len(windows))[:WINDOWS_AT_ONCE])
    return [windows[number] for number in chosen]


def _unseen(rows: Sequence[LabelledRow], labels: Sequence[str], kind: Kind) -> list[LabelledRow]:
    if kind == "graded":
        return []
    names = set(labels)
    return [
        row
        for row in rows
        if row.label is not None and not names.issuperset(row.label if isinstance(row.label, tuple) else [str(row.label)])
    ]


def _weights(wanted: Any, gold: np.ndarray, known: np.ndarray, labels: Sequence[str], kind: Kind) -> np.ndarray:
    """How much each text weighs, 1 on average over these texts, so that a step can be divided by its number of texts."""
    weights = np.ones(len(gold))
    if wanted == "none" or kind != "single" or not known.any():
        return weights
    if wanted == "balanced":
        frequency = np.bincount(gold[known], minlength=len(labels)) / known.sum()
        of_class = np.divide(1.0, frequency, out=np.zeros(len(labels)), where=frequency > 0)
    else:
        of_class = np.array([float(wanted.get(name, 1.0)) for name in labels])
    weights[known] = of_class[gold[known]]
    weights[known] /= weights[known].mean()
    return weights
