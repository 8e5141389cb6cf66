"""Prefer: learn from pairs of answers which is the better one, without a model of rewards (DPO, Rafailov et al. 2023).

A pair costs -log σ(β ((log π(chosen) - log π₀(chosen)) - (log π(rejected) - log π₀(rejected)))), equation 7: π is the model that
learns, π₀ the same before it learnt anything. What π₀ says of every pair is asked once, before the first step, and kept as two numbers
a pair; there is no second model. It is asked in evaluation mode and in float32.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.packed import Packed
from diptych.tasks.chat import Chat, supervised
from diptych.tasks.measure import EVALUATION, by_tokens
from diptych.tasks.preference_texts import PreferenceRow, read_preferences
from diptych.tasks.tables import chunks
from diptych.tasks.task import Batch, ExampleSettings, Loss, Outputs, Place, Targets, Term
from diptych.text.tokenizer import Tokenizer

TOKENS_AT_ONCE = 8192
"""Tokens of answers that are judged in one pass."""


class PreferenceSettings(ExampleSettings):
    """`task: {name: preference, data: pairs.jsonl}`"""

    name: Literal["preference"] = "preference"
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to depart from what the model said before: the larger, the nearer it stays."""
    duplicates: Literal["drop", "keep"] = "keep"
    """A question may well have several pairs; drop keeps the first of those that are the same."""


@dataclass
class PreferencePairs:
    """The two conversations of each pair as tokens, which of these are asked for, and what the model said of them before."""

    ids: list[tuple[np.ndarray, np.ndarray]]
    """The one that ends with the preferred answer, then the other."""
    is_asked: list[tuple[np.ndarray, np.ndarray]]
    rows: list[PreferenceRow]
    before: np.ndarray
    """[pairs, 2] log-probabilities of the two answers, NaN until they are asked for."""
    owners: list[int] = field(default_factory=list)
    """Which row each pair is."""

    def __len__(self) -> int:
        return len(self.ids)

    def num_tokens(self, index: int) -> int:
        return sum(len(side) for side in self.ids[index])

    def owner(self, index: int) -> int:
        return self.owners[index]


@dataclass
class PreferenceBatch(Batch):
    """Two texts for each example: that of the preferred answer and that of the other. `targets` are numbered by text."""

    before_B2: Tensor | None = None

    def to(self, device: torch.device) -> "PreferenceBatch":
        moved = super().to(device)
        before_B2 = None if self.before_B2 is None else self.before_B2.to(device)
        return PreferenceBatch(moved.texts, moved.targets, moved.keys, moved.is_company, self.texts_of, before_B2)

    def counts(self) -> dict[str, int]:
        return {"preference": len(self.keys)}


@dataclass(frozen=True)
class Preferred:
    """By how much a model prefers the first of two answers, negative where it prefers the second."""

    margin: float
    """In nats: how much more its log-probability grew than that of the other while the model learnt. Where it is not known what the
    model said before, log-probability by token."""
    by_token: float | None = None
    """How much likelier a token of the first is than one of the second."""
    is_growth: bool = False
    """Whether `margin` is what it grew by."""

    def to_json(self) -> dict[str, Any]:
        likelier = {} if self.by_token is None else {"by_token": round(self.by_token, 6)}
        return {"prefers": str(self), "margin": round(self.margin, 6), **likelier}

    def __str__(self) -> str:
        return "chosen" if self.margin > 0 else "rejected"


class Preference(Chat):
    """Answer as people prefer. What comes out is a model that converses, as `Chat` leaves one."""

    name = "preference"
    Settings = PreferenceSettings
    settings: Any
    titles: ClassVar[Mapping[str, str]] = {"preference": mark("loss of a pair"), "wrong": mark("pairs the wrong way round")}
    usual_batch = 16
    usual_lr = 5e-6
    """For all weights; adapters bear ten times as much."""
    usual_dropout = 0.0
    """It would be noise in every difference from what was said without it."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._made: list[PreferencePairs] = []
        self._before: dict[tuple[Any, ...], tuple[tuple[float, float], tuple[int, int]]] = {}
        """What was said of a pair before, and how many tokens its answers have."""

    @property
    def watched(self) -> str:
        return "preference"

    def read(self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None) -> tuple[list[Any], dict[str, str | None]]:
        rows = read_preferences(source, ledger, group=self.settings.group)
        return rows, {"pairs": f"{len(rows):,}"}

    def inputs(self, rows: Sequence[PreferenceRow]) -> list[Any]:
        return list(rows)

    def vocabulary(self, rows: Sequence[Any]) -> Iterable[str]:
        return (text for row in rows for text in (*(content for _role, content in row.messages), row.chosen, row.rejected))

    def examples(self, source: Iterable[Any], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> PreferencePairs:
        """
        Raises:
            DataError E182: no pair fits into the context.
        """
        rows = list(source)
        made = self._pairs(rows, tokenizer, min(context_length, self.settings.max_length or context_length), ledger)
        if not len(made):
            raise DataError("E182", count=len(rows))
        self._made.append(made)
        return made

    def prepare(self, net: Any, seed: int) -> None:
        """See that the network writes, and ask it once about every pair, while it is as it was."""
        super().prepare(net, seed)
        net.set_config(task=(("name", Chat.name),))
        for made in self._made:
            made.before = self._asked(net, made)
            said = [(float(first), float(second)) for first, second in made.before]
            self._before.update({_key(row): (both, lengths) for row, both, lengths in zip(made.rows, said, _lengths(made), strict=True)})
        self._made = []

    def collate(self, examples: Any, places: Sequence[Place]) -> PreferenceBatch:
        numbers = [place.index for place in places]
        sides = [(number, side) for number in numbers for side in (0, 1)]
        # The last token is only asked for, never read.
        texts = [examples.ids[number][side] for number, side in sides]
        lengths = tuple(len(ids) - 1 for ids in texts)
        gold_N = torch.from_numpy(np.concatenate([ids[1:] for ids in texts]))
        asked_N = torch.from_numpy(np.concatenate([examples.is_asked[number][side][1:] for number, side in sides]))
        at_M = asked_N.nonzero().flatten()
        text_N = torch.from_numpy(np.repeat(np.arange(len(texts)), lengths))
        packed = Packed(torch.from_numpy(np.concatenate([ids[:-1] for ids in texts])), lengths, is_causal=True)
        targets = {"lm": Targets(at_M, gold_N[at_M], text_N[at_M])}
        before_B2 = torch.from_numpy(examples.before[numbers]).float()
        return PreferenceBatch(packed, targets, tuple(numbers), texts_of=(2,) * len(numbers), before_B2=before_B2)

    def loss(self, outputs: Outputs, batch: Any) -> Loss:
        margin_B = self._margins(outputs, batch)
        return {"preference": Term(-F.logsigmoid(self.settings.beta * margin_B), torch.ones_like(margin_B, dtype=torch.int64))}

    def judge(self, outputs: Outputs, batch: Any) -> Loss:
        margin_B = self._margins(outputs, batch)
        ones_B = torch.ones_like(margin_B, dtype=torch.int64)
        wrong_B = (margin_B < 0).float() + 0.5 * (margin_B == 0).float()
        return {"preference": Term(-F.logsigmoid(self.settings.beta * margin_B), ones_B), "wrong": Term(wrong_B, ones_B)}

    def predict(self, net: Any, tokenizer: Tokenizer, inputs: Iterable[Any], ledger: Ledger | None = None) -> Iterator[Any]:
        """Which of two answers is preferred, in the order of the inputs: rows as `read` gives them, or as a table has them.

        Raises:
            DataError E182: a pair does not fit into the context.
        """
        ledger = ledger if ledger is not None else Ledger()
        tokenizer, limit = self.meet(net, tokenizer), net.config.context_length
        for few in chunks(inputs, 64):
            rows = [each if isinstance(each, PreferenceRow) else read_preferences([each], Ledger())[0] for each in few]
            made = self._pairs(rows, tokenizer, limit, ledger)
            asked = {
                _key(row): (said, lengths) for row, said, lengths in zip(made.rows, self._asked(net, made), _lengths(made), strict=True)
            }
            for row in rows:
                if _key(row) not in asked:
                    yield Preferred(0.0)
                    continue
                said, lengths = asked[_key(row)]
                before, _lengths_then = self._before.get(_key(row), (None, None))
                yield preferred(said, lengths, before)

    @property
    def has_before(self) -> bool:
        """Whether it is known what the model said before it learnt."""
        return bool(self._before)

    def likelier_before(self, rows: Sequence[PreferenceRow]) -> list[float | None]:
        """How much likelier a token of the preferred answer was than one of the other before the model learnt, where it was asked."""
        found = [self._before.get(_key(row)) for row in rows]
        return [None if each is None else preferred(each[0], each[1], None).by_token for each in found]

    def _margins(self, outputs: Outputs, batch: Any) -> Tensor:
        """How much more the preferred answer's log-probability grew than the other's."""
        said_B2 = self._said(outputs, batch)
        grown_B2 = said_B2 - batch.before_B2
        return grown_B2[:, 0] - grown_B2[:, 1]

    def _said(self, outputs: Outputs, batch: Any) -> Tensor:
        """The log-probabilities of the two answers of each pair: [B, 2]."""
        targets = batch.targets["lm"]
        nats_M = outputs["lm"].nats(targets.gold_M).float()
        return -nats_M.new_zeros(2 * len(batch.keys)).index_add(0, targets.example_M, nats_M).view(-1, 2)

    def _asked(self, net: Any, made: PreferencePairs) -> np.ndarray:
        """What a network says of every pair, as it is now: [pairs, 2] log-probabilities."""
        found = np.full((len(made), 2), np.nan)
        device, was_training = next(net.parameters()).device, net.training
        net.eval()
        with torch.inference_mode():
            for places in by_tokens(made, [Place(0, EVALUATION, number) for number in range(len(made))], TOKENS_AT_ONCE):
                batch = self.collate(made, places).to(device)
                found[[place.index for place in places]] = self._said(self.forward(net, batch), batch).double().cpu().numpy()
        net.train(was_training)
        return found

    def _pairs(self, rows: Sequence[PreferenceRow], tokenizer: Tokenizer, limit: int, ledger: Ledger) -> PreferencePairs:
        made = PreferencePairs([], [], [], np.empty((0, 2)))
        for number, row in enumerate(rows):
            both = [supervised([*row.messages, ("assistant", answer)], tokenizer, is_last=True) for answer in (row.chosen, row.rejected)]
            if max(len(ids) for ids, _is_asked in both) > limit + 1:
                ledger.add("pairs", "pairs longer than the context, left out", total=len(rows), where=row.where)
                continue
            made.ids.append((np.asarray(both[0][0], np.int64), np.asarray(both[1][0], np.int64)))
            made.is_asked.append((np.asarray(both[0][1]), np.asarray(both[1][1])))
            made.rows.append(row)
            made.owners.append(number)
        made.before = np.full((len(made), 2), np.nan)
        return made


def preferred(said: Sequence[float], lengths: tuple[int, int], before: tuple[float, float] | None) -> Preferred:
    """What two log-probabilities, of answers of so many tokens, say beside those of before."""
    by_token = float(said[0]) / lengths[0] - float(said[1]) / lengths[1]
    if before is None:
        return Preferred(by_token, by_token)
    return Preferred(float(said[0]) - before[0] - float(said[1]) + before[1], by_token, is_growth=True)


def _lengths(made: PreferencePairs) -> list[tuple[int, int]]:
    """How many tokens of the two answers are asked for."""
    return [(max(1, int(first.sum())), max(1, int(second.sum()))) for first, second in made.is_asked]


def _key(row: PreferenceRow) -> tuple[Any, ...]:
    return row.messages, row.chosen, row.rejected
