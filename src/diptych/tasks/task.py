"""The seam between what is learnt and how: the protocol of a task, and the small types that cross it.

A task turns a source into indexable examples, asks something of a model at some places, and says what it cost: for each
example the sum of its loss in nats and the number of its targets, never a mean. The loop divides once, by the counts of
the whole step; accumulation, ragged lengths, masked places and evaluation are then right by construction.

Most tasks ask a head for one answer out of many at certain places of the text: they subclass `HeadTask` (`head_task.py`) and
write `examples` and `collate`. A task of another kind (spans, contrast) writes `forward` and `loss` too; the loop never knows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from diptych.config import CleaningSettings, Settings
from diptych.ledger import Ledger
from diptych.packed import Packed
from diptych.streams import stream
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


@runtime_checkable
class Owned(Protocol):
    """Examples of which several may come from one row or document."""

    def owner(self, index: int) -> int:
        """The number that this example's row or document has in the source."""
        ...


@runtime_checkable
class Crowded(Protocol):
    """Examples in which several documents, or several rows, lie side by side."""

    def apart(self) -> Examples:
        """The same source with an example for each piece of one of them."""
        ...


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
    texts_of: tuple[int, ...] | None = None
    """How many texts each example has, in their order; None for one each."""

    def to(self, device: torch.device) -> "Batch":
        moved = {name: targets.to(device) for name, targets in self.targets.items()}
        return Batch(self.texts.to(device), moved, self.keys, self.is_company, self.texts_of)

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


Outputs = Mapping[str, Answers]


@dataclass
class Term:
    """One term of a loss: sums in nats and numbers of targets, one entry per example of the batch."""

    total_B: Tensor
    count_B: Tensor
    weight: float = 1.0


Loss = Mapping[str, Term]


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
