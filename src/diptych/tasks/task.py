"""The seam between what is learnt and how: the protocol of a task, and the small types that cross it.

A task turns a source into indexable examples, asks something of a model at some places, and says what it cost: for each
example the sum of its loss in nats and the number of its targets, never a mean. The loop divides once, by the counts of
the whole step; accumulation, ragged lengths, masked places and evaluation are then right by construction.

Most tasks ask a head for one answer out of many at certain places of the text: they subclass `HeadTask` and write
`examples` and `collate`. A task of another kind (spans, contrast) writes `forward` and `loss` too; the loop never knows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diptych.config import CleaningSettings, Settings
from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.models.packed import Packed
from diptych.streams import stream
from diptych.tasks.chunked_loss import cross_entropy
from diptych.text.tokenizer import Panel, Tokenizer


@dataclass(frozen=True, slots=True)
class Place:
    """Where an example stands in a run: all chance in it is a function of this."""

    seed: int
    epoch: int
    """-1 while evaluating, so that every evaluation asks the same questions."""
    index: int
    spent: float = 1.0
    """The share of the budget that was spent before this step; 1 while evaluating, which asks what a run ends with."""

    def stream(self, purpose: str) -> np.random.Generator:
        return stream(self.seed, purpose, self.epoch, self.index)


class Examples(Protocol):
    """Indexable examples; example i depends on the source and on i alone."""

    def __len__(self) -> int: ...

    def num_tokens(self, index: int) -> int:
        """How many tokens this example sends through the model."""
        ...


@runtime_checkable
class Mixed(Protocol):
    """Examples of several kinds, of which a batch holds one: a batch is read in one way."""

    def kind(self, place: Place) -> int: ...


@dataclass
class Targets:
    """What one head is asked: where, and the right answer."""

    at_M: Tensor
    """int64: positions in the flat row, or numbers of texts for a head that judges whole texts."""
    gold_M: Tensor
    """int64: the right class or token."""
    example_M: Tensor
    """int64: which of the batch's examples each target belongs to."""

    def to(self, device: torch.device) -> "Targets":
        return Targets(self.at_M.to(device), self.gold_M.to(device), self.example_M.to(device))


@dataclass
class Batch:
    """Some examples, ready for a model."""

    texts: Packed
    targets: Mapping[str, Targets]
    """By the name of the head that answers, or of the term of the loss where one head is asked two things."""
    keys: tuple[int, ...]
    """What each of the batch's examples is: the number of its document or row. Losses come in this order."""
    is_company: bool = False
    """Whether it is shown only because other ranks have a piece more than this one: it counts for nothing, and no more does its
    gradient, but sharded weights are gathered by all ranks together."""

    def to(self, device: torch.device) -> "Batch":
        moved = {name: targets.to(device) for name, targets in self.targets.items()}
        return Batch(self.texts.to(device), moved, self.keys, self.is_company)

    @property
    def num_tokens(self) -> int:
        return self.texts.num_tokens + (0 if self.texts.source is None else self.texts.source.num_tokens)

    def counts(self) -> dict[str, int]:
        """How many targets each term of the loss has; known before the forward pass, so that a step can divide once."""
        return {name: targets.gold_M.numel() for name, targets in self.targets.items()}


class Answers(Protocol):
    """What a head answers at the targets. Logits are made when asked for, since a vocabulary of them is large."""

    def nats(self, gold_M: Tensor) -> Tensor:
        """-log p(gold), one per target."""
        ...

    def logits(self) -> Tensor: ...

    def __len__(self) -> int:
        """How many targets."""
        ...

    def __getitem__(self, part: slice) -> "Answers":
        """The answers at some of the targets."""
        ...


@dataclass
class Logits:
    """Answers whose logits were cheap to make."""

    logits_MC: Tensor

    def nats(self, gold_M: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self.logits_MC.float(), gold_M, reduction="none")

    def logits(self) -> Tensor:
        return self.logits_MC

    def __len__(self) -> int:
        return len(self.logits_MC)

    def __getitem__(self, part: slice) -> "Logits":
        return Logits(self.logits_MC[part])


@dataclass
class Features:
    """Answers over a vocabulary, kept as features: their loss is taken in chunks, without keeping the logits."""

    features_MD: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None

    def nats(self, gold_M: Tensor) -> Tensor:
        return cross_entropy(self.features_MD, self.weight_VD, self.bias_V, gold_M)

    def smoothed_nats(self, gold_M: Tensor, smoothing: float) -> Tensor:
        """-log p(gold) with `smoothing` of the probability asked for all tokens alike (Szegedy et al. 2016, section 7).

        The mean of -log p over the vocabulary is log Z less the mean logit, which is linear in the features, so no logits are made.
        """
        mean_D, features_MD = self.weight_VD.float().mean(0), self.features_MD.float()
        lead_M = (features_MD * (self.weight_VD[gold_M].float() - mean_D)).sum(-1)
        if self.bias_V is not None:
            lead_M = lead_M + self.bias_V[gold_M].float() - self.bias_V.float().mean()
        return self.nats(gold_M) + smoothing * lead_M

    def logits(self) -> Tensor:
        return torch.nn.functional.linear(self.features_MD, self.weight_VD, self.bias_V)

    def __len__(self) -> int:
        return len(self.features_MD)

    def __getitem__(self, part: slice) -> "Features":
        return Features(self.features_MD[part], self.weight_VD, self.bias_V)


Outputs = Mapping[str, Answers]


@dataclass
class Term:
    """One term of a loss: sums in nats and numbers of targets, one entry per example of the batch."""

    total_B: Tensor
    count_B: Tensor
    weight: float = 1.0


Loss = Mapping[str, Term]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input."""

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "probability": round(self.probability, 6)}

    def __str__(self) -> str:
        return f"{self.label}\t{self.probability:.4f}"


class Task(Protocol):
    """What is learnt. See `HeadTask` for the common case."""

    name: ClassVar[str]
    heads: tuple[str, ...]
    """The names of the heads that this task trains."""
    settings: Any

    def examples(self, source: Iterable, tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> Examples:
        """Read and tokenize `source`; the ledger counts what was cut or dropped."""
        ...

    def collate(self, examples: Any, places: Sequence[Place]) -> Batch:
        """The examples at `places`, laid side by side; all chance comes from the places."""
        ...

    def prepare(self, net: Any, seed: int) -> None:
        """Give `net` the heads that this task asks, where it lacks them."""
        ...

    def forward(self, net: Any, batch: Any) -> Outputs:
        """Ask the model, at the targets only."""
        ...

    def loss(self, outputs: Outputs, batch: Any) -> Loss:
        """What the answers cost, term by term."""
        ...

    def judge(self, outputs: Outputs, batch: Any) -> Loss:
        """The terms of an evaluation: the loss, and what else is counted, smaller being better."""
        ...

    @property
    def watched(self) -> str:
        """The term of `judge` that early stopping goes by."""
        ...


class Row(Protocol):
    """One example of a downstream task, as it was read."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What is given: rows with the same texts are the same question, which must not lie on both sides of a split."""
        ...

    @property
    def gold(self) -> Any:
        """What is asked for; None where it is not known."""
        ...

    @property
    def stratum(self) -> str | None:
        """What a split keeps in proportion: the label of a text, None where there is no such thing."""
        ...

    @property
    def where(self) -> str: ...

    @property
    def group(self) -> str | None: ...


class Downstream(Task, Protocol):
    """A task whose answers people use: it reads examples, and predicts for new inputs as well."""

    panel: ClassVar[str]
    has_one_answer: ClassVar[bool]
    """Whether a question that occurs with two answers teaches neither; a sentence may well have two translations."""

    def meet(self, net: Any, tokenizer: Tokenizer) -> Tokenizer:
        """Look at the model before any example is read; the tokenizer to go on with, which may know more tokens."""
        ...

    def panel_of(self, config: Any) -> Panel:
        """What the tokenizer of a fresh network of this shape must have."""
        ...

    def vocabulary(self, rows: Sequence[Any]) -> Iterable[str]:
        """The texts that such a tokenizer learns from."""
        ...

    def read(self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None) -> tuple[list[Any], dict[str, str | None]]:
        """The rows of `source`, and what was found in it: the columns, the format.

        Args:
            found: what was found in the table that is trained on, so that another is read alike.
        """
        ...

    def inputs(self, rows: Sequence[Any]) -> list[Any]:
        """What `predict` is given for these rows: their questions without the answers."""
        ...

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable, ledger: Ledger | None = None) -> Iterator[Any]:
        """Answers for new inputs, in their order; the ledger counts what was cut."""
        ...


class Pretraining(Task, Protocol):
    """A task that learns from running text."""

    panel: ClassVar[Panel]
    """What its tokenizer must have."""
    head_of: Mapping[str, str]
    """The head that answers a term, where the two are not called alike."""
    needs_words: bool
    """Whether the shards must say where words begin."""
    titles: Mapping[str, str]
    """What the mean of each term is called in a report."""
    whole_text: str | None
    """The term that asks for every token of a text, each from those before: perplexity and bits per byte follow from it."""

    def separator(self, tokenizer: Tokenizer) -> int | None:
        """The token that stands between documents in the shards, or None."""
        ...

    def check(self, config: Any) -> None:
        """See that a network of this shape can be asked, before the text is read."""
        ...


class ExampleSettings(Settings):
    """What every task that learns from examples shares."""

    data: str | list[str] | None = None
    """The examples to learn from; None when they are handed over in Python."""
    dev: str | None = None
    """Examples to stop by; None holds out a tenth of `data`."""
    test: str | None = None
    """Examples to judge by; None holds out a fifth of `data`."""
    group: str | None = None
    """Examples of one group (a customer, a patient) stay on one side of every split."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Texts that occur again are dropped, and texts with several answers are dropped altogether."""
    max_length: int | None = Field(default=None, ge=8)
    """Tokens per text; None is the model's context length."""


class LanguageSettings(Settings):
    """What every task on running text shares: where the text lies and what becomes of it."""

    text: str | list[str] | None = None
    """Files, folders or patterns; None when the text is handed over in Python."""
    column: str | None = None
    """The column of a table or JSON that holds the text; None guesses it and says so."""
    encoding: str | None = None
    held_out: float = Field(default=0.05, ge=0, lt=1)
    """The share of the documents that is kept for evaluation, by fingerprint."""
    group: str | None = None
    """A column whose groups (a customer, a patient) stay on one side of the split."""
    time: str | None = None
    """A column by which the latest documents are held out."""
    clean: CleaningSettings = CleaningSettings()
    replay: str | list[str] | None = None
    """Files or folders of general text, mixed in while a model is trained further, so that it does not forget."""
    replay_share: float = Field(default=0.2, gt=0, lt=1)
    """The share of the tokens that is replayed."""


class HeadTask:
    """A task whose heads each choose one class or token at each of their places."""

    name: ClassVar[str]
    heads: tuple[str, ...]
    weights: Mapping[str, float] = {}
    """How much each term's mean loss weighs; 1 where it is not named."""
    head_of: Mapping[str, str] = {}
    """The head that answers a term, where the two are not called alike."""
    judged_as: ClassVar[tuple[str, ...]] = ()
    """Settings without which a model would be judged by another question than it was trained on."""
    example: ClassVar[str] = ""
    """A preset that fits, where not every one does."""
    needs_words: bool = False
    titles: Mapping[str, str] = {}
    whole_text: str | None = None
    panel: ClassVar[Panel]
    has_one_answer: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def fits(self, config: Any) -> bool:
        """Whether a network of this shape can be asked."""
        return True

    def check(self, config: Any) -> None:
        """
        Raises:
            DataError E208: a network of this shape cannot be asked.
        """
        if not self.fits(config):
            raise DataError("E208", task=self.name, family=config.family, example=self.example)

    def meet(self, net: Any, tokenizer: Tokenizer) -> Tokenizer:
        return tokenizer

    def panel_of(self, config: Any) -> Panel:
        return self.panel

    def vocabulary(self, rows: Sequence[Any]) -> Iterable[str]:
        return (text for row in rows for text in row.texts)

    def prepare(self, net: Any, seed: int) -> None:
        self.check(net.config)
        for head in self.heads:
            net.ensure_head(head, seed=seed)

    def forward(self, net: Any, batch: Batch) -> Outputs:
        hidden_ND = net.hidden(batch.texts)
        heads = {name: self.head_of.get(name, name) for name in batch.targets}
        return {name: ask(net, heads[name], hidden_ND, batch.texts, targets.at_M) for name, targets in batch.targets.items()}

    def loss(self, outputs: Outputs, batch: Batch) -> Loss:
        terms = {}
        for name, answers in outputs.items():
            targets = batch.targets[name]
            nats_M = answers.nats(targets.gold_M)
            total_B = nats_M.new_zeros(len(batch.keys)).index_add(0, targets.example_M, nats_M)
            count_B = torch.bincount(targets.example_M, minlength=len(batch.keys))
            terms[name] = Term(total_B, count_B, self.weights.get(name, 1.0))
        return terms

    @property
    def watched(self) -> str:
        return self.heads[0]

    def judge(self, outputs: Outputs, batch: Batch) -> Loss:
        return self.loss(outputs, batch)


def ask(net: Any, head: str, hidden_ND: Tensor, texts: Packed, at_M: Tensor) -> Answers:
    """The answers of `head` at the places `at_M`: positions for the language head, numbers of texts for the others."""
    module = net.heads[head]
    if head == "lm":
        return Features(module.features(hidden_ND[at_M]), module.weight_VD, module.bias_V)
    if head in TEXT_HEADS:
        return Logits(module(hidden_ND, texts)[at_M])
    return Logits(module(hidden_ND[at_M]))


TEXT_HEADS = ("nsp", "classes")
"""Heads that judge a whole text; the others answer at single positions."""
