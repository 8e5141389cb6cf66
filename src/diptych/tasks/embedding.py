"""Sentence embedding: a vector for a text, near those of texts that mean the same.

An example is a *group* of pairs, not one pair: a pair is told apart from the others of its group (in-batch negatives,
Henderson et al. 2017), so what it costs depends on them. Groups are drawn anew each epoch and never cut, so a step costs the
same and has the same gradient in however many pieces it is computed; only `group_size` says how hard the question is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.models.pooling import Pooling, SentenceHead
from diptych.streams import permute
from diptych.tasks.head_task import HeadTask
from diptych.tasks.pair_tables import PairRow, read_pairs
from diptych.tasks.task import Batch, ExampleSettings, Loss, Place, Term
from diptych.tasks.windows import Framed, by_size, frame_texts, lay
from diptych.text.tokenizer import Tokenizer

# Shapes: B groups, M texts of a batch, P pairs of a group, D features of a vector.

TOKENS_AT_ONCE = 8192
"""Tokens that are embedded in one pass."""
TEXTS_AT_ONCE = 4096
"""Texts that are held while they are put in order of length."""


class EmbeddingSettings(ExampleSettings):
    """`task: {name: embedding, data: pairs.csv, text: question, pair: answer}`"""

    name: Literal["embedding"] = "embedding"
    text: str | None = None
    pair: str | None = None
    negative: str | None = None
    """A column of texts that do not belong to `text`."""
    score: str | None = None
    """A column of grades, the larger the more alike."""
    objective: Literal["contrast", "order", "value"] | None = None
    """What is learnt: which text belongs to which; for graded pairs their order, or the grades themselves as cosines. None:
    the order where there are grades."""
    group_size: int = Field(default=32, ge=2)
    """So many pairs are told apart from each other; `train.batch_size` counts groups."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by this: the smaller, the more the nearest of the others count."""
    pooling: Literal["mean", "cls", "max", "lasttoken"] | None = None
    """How a text's tokens become one vector; None keeps the base's way, or takes the mean."""


@dataclass(frozen=True)
class Embedded:
    """The vector of a text."""

    vector: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return {"vector": [round(float(value), 7) for value in self.vector]}

    def __str__(self) -> str:
        return " ".join(f"{value:.4f}" for value in self.vector[:4]) + " …"


@dataclass(frozen=True)
class Compared:
    """How alike two texts are, and their vectors."""

    similarity: float
    """The cosine of their angle."""
    vectors: tuple[Any, Any]

    def to_json(self) -> dict[str, Any]:
        return {"similarity": round(self.similarity, 6)}

    def __str__(self) -> str:
        return f"{self.similarity:.4f}"


@dataclass
class GroupedPairs:
    """Framed pairs, shown in groups that every epoch draws anew."""

    parts: list[list[Framed]]
    grades: np.ndarray
    """One for each pair; NaN where there is none."""
    same: tuple[np.ndarray, np.ndarray]
    """Numbers of the first and of the second texts, equal for equal texts."""
    num_groups: int

    def __len__(self) -> int:
        return self.num_groups

    def num_tokens(self, index: int) -> int:
        """How many a group has on average: which pairs are in it changes with the epoch."""
        return round(sum(len(part.ids) for parts in self.parts for part in parts) / max(1, self.num_groups))

    def pairs(self, place: Place) -> list[int]:
        """The pairs of a group."""
        size = len(self.parts)
        first, last = (edge * size // self.num_groups for edge in (place.index, place.index + 1))
        return permute(np.arange(first, last), size, place.seed, "pairs", place.epoch).tolist()

    def apart(self) -> "SinglePairs":
        return SinglePairs(self.parts, self.grades, self.same, len(self.parts))


class SinglePairs(GroupedPairs):
    """Pairs that are each shown by themselves, for what does not tell them apart from others."""

    def num_tokens(self, index: int) -> int:
        return sum(len(part.ids) for part in self.parts[index])

    def pairs(self, place: Place) -> list[int]:
        return [place.index]


@dataclass
class PairBatch(Batch):
    """Groups of pairs, their texts in one flat row: first texts, second texts, and those that do not belong, group by group."""

    groups: Sequence["Group"] = ()

    def to(self, device: torch.device) -> "PairBatch":
        groups = [group.to(device) for group in self.groups]
        return PairBatch(self.texts.to(device), {}, self.keys, self.is_company, self.texts_of, groups)

    def counts(self) -> dict[str, int]:
        return {"sentence": sum(group.num_asked for group in self.groups)}


@dataclass(frozen=True)
class Group:
    """Pairs that are told apart, as rows of the batch's texts."""

    first: slice
    others: slice
    """The second texts, and behind them those that do not belong."""
    grades_P: Tensor
    is_same_PO: Tensor
    """Where another text is as right as the second one of the pair: it is not held against it."""
    num_asked: int

    def to(self, device: torch.device) -> "Group":
        return Group(self.first, self.others, self.grades_P.to(device), self.is_same_PO.to(device), self.num_asked)


class Embedding(HeadTask):
    """Learn which texts belong together; a model's answer is a vector, or how alike two texts are."""

    name = "embedding"
    Settings = EmbeddingSettings
    panel = "masked"
    heads = ("sentence",)
    usual_batch = 1

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(settings)
        self.span: tuple[float, float] | None = None
        """The least and the largest grade seen in training."""

    @classmethod
    def of(cls, net: Any) -> "Embedding":
        """The task that a network was trained for."""
        return cls(EmbeddingSettings())

    def read(
        self, source: Any, ledger: Ledger, found: Mapping[str, str | None] | None = None
    ) -> tuple[list[PairRow], dict[str, str | None]]:
        names = found or {part: getattr(self.settings, part) for part in ("text", "pair", "negative", "score", "group")}
        return read_pairs(source, ledger, names)

    def inputs(self, rows: Sequence[PairRow]) -> list[tuple[str, ...]]:
        return [row.texts[:2] for row in rows]

    def leans_on(self) -> str | None:
        is_alone = self.settings.objective == "value"
        return None if is_alone else mark("the other pairs of its group, from which it is told apart (task.objective: value is not)")

    def prepare(self, net: Any, seed: int) -> None:
        way = self.settings.pooling
        if "sentence" not in net.heads or (way is not None and net.heads["sentence"].pooling.modes != (way,)):
            net.heads["sentence"] = SentenceHead(Pooling((way or ("lasttoken" if net.config.is_causal else "mean"),), normalize=True))
        if self.settings.max_length is not None:
            head = net.heads["sentence"]
            head.pooling = replace(head.pooling, max_length=min(self.settings.max_length, net.config.context_length))

    def examples(self, source: Iterable[PairRow], tokenizer: Tokenizer, context_length: int, ledger: Ledger) -> GroupedPairs:
        """
        Raises:
            DataError E167: a single pair cannot be told apart from any other.
        """
        rows = list(source)
        if len(rows) < 2:
            raise DataError("E167", count=len(rows))
        limit = min(context_length, self.settings.max_length or context_length)
        texts = [text for row in rows for text in row.texts]
        framed = iter(frame_texts([(text,) for text in texts], tokenizer, limit, ledger, [row.where for row in rows for _ in row.texts]))
        parts = [[next(framed) for _text in row.texts] for row in rows]
        grades = np.array([np.nan if row.gold is None else row.gold for row in rows])
        if self.span is None and not np.isnan(grades).all():
            self.span = (float(np.nanmin(grades)), float(np.nanmax(grades)))
        same = tuple(np.unique([row.texts[part] for row in rows], return_inverse=True)[1] for part in (0, 1))
        num_groups = max(1, round(len(rows) / self.settings.group_size))
        return GroupedPairs(parts, grades, (same[0], same[1]), num_groups)

    def collate(self, examples: GroupedPairs, places: Sequence[Place]) -> PairBatch:
        chosen: list[tuple[int, int]] = []
        groups = []
        for place in places:
            pairs = examples.pairs(place)
            start = len(chosen)
            extra = [(pair, 2) for pair in pairs if len(examples.parts[pair]) > 2]
            chosen += [(pair, side) for side in (0, 1) for pair in pairs] + extra
            groups.append(self._group(examples, pairs, start, len(extra)))
        texts = lay([examples.parts[pair][side] for pair, side in chosen])
        texts_of = tuple(group.others.stop - group.first.start for group in groups)
        return PairBatch(texts, {}, tuple(place.index for place in places), texts_of=texts_of, groups=groups)

    def forward(self, net: Any, batch: PairBatch) -> Any:
        return F.normalize(net.heads["sentence"](net.hidden(batch.texts), batch.texts).float(), dim=-1)

    def loss(self, outputs: Any, batch: PairBatch) -> Loss:
        """What the pairs of each group cost, summed, and how many were asked."""
        totals = [self._cost(outputs[group.first], outputs[group.others], group) for group in batch.groups]
        counts_B = torch.tensor([group.num_asked for group in batch.groups], device=outputs.device)
        return {"sentence": Term(torch.stack(totals), counts_B)}

    def judge(self, outputs: Any, batch: PairBatch) -> Loss:
        return self.loss(outputs, batch)

    @property
    def watched(self) -> str:
        return "sentence"

    def predict(
        self, net: Any, tokenizer: Tokenizer, inputs: Iterable[str | tuple[str, ...]], ledger: Ledger | None = None
    ) -> Iterator[Embedded | Compared]:
        """The vector of each text, how alike each pair is, in the order of the inputs; the ledger counts what was cut."""
        ledger = ledger if ledger is not None else Ledger()
        rest = iter(inputs)
        while few := list(islice(rest, TEXTS_AT_ONCE // 2)):
            parts = [(each,) if isinstance(each, str) else tuple(each)[:2] for each in few]
            vectors = iter(embed_texts(net, tokenizer, [text for part in parts for text in part], ledger).cpu().numpy())
            for part in parts:
                own = [next(vectors) for _text in part]
                yield Embedded(own[0]) if len(own) == 1 else Compared(cosine(*own), (own[0], own[1]))

    def _group(self, examples: GroupedPairs, pairs: list[int], start: int, num_extra: int) -> Group:
        size = len(pairs)
        first, second = (numbers[pairs] for numbers in examples.same)
        is_same_PP = (first[:, None] == first[None]) | (second[:, None] == second[None])
        np.fill_diagonal(is_same_PP, val=False)
        is_same_PO = np.concatenate([is_same_PP, np.zeros((size, num_extra), dtype=bool)], axis=1)
        grades = examples.grades[pairs]
        slices = slice(start, start + size), slice(start + size, start + 2 * size + num_extra)
        return Group(*slices, torch.from_numpy(grades).float(), torch.from_numpy(is_same_PO), size)

    def _cost(self, first_PD: Tensor, others_OD: Tensor, group: Group) -> Tensor:
        size = len(first_PD)
        is_graded = not bool(torch.isnan(group.grades_P).any())
        objective = self.settings.objective or ("order" if is_graded else "contrast")
        if objective == "contrast":
            scores_PO = (first_PD @ others_OD.T / self.settings.temperature).masked_fill(group.is_same_PO, -torch.inf)
            return F.cross_entropy(scores_PO, torch.arange(size, device=scores_PO.device), reduction="sum")
        cosines_P = (first_PD * others_OD[:size]).sum(-1)
        if objective == "value":
            low, high = self.span or (0.0, 1.0)
            return (cosines_P - (group.grades_P - low) / max(high - low, 1e-9)).square().sum()
        # CoSENT (Su 2022) taken pair by pair: each pair against all that are graded lower, log(1 + Σ exp((c_j - c_i) / t)).
        gaps_PP = (cosines_P[None] - cosines_P[:, None]) / self.settings.temperature
        gaps_PP = gaps_PP.masked_fill(group.grades_P[None] >= group.grades_P[:, None], -torch.inf)
        return torch.logsumexp(torch.cat([gaps_PP.new_zeros(size, 1), gaps_PP], dim=1), dim=1).sum()


def embed_texts(net: Any, tokenizer: Tokenizer, texts: Sequence[str], ledger: Ledger, *, normalize: bool | None = None) -> Tensor:
    """A vector for each text, [M, D], texts of like length together; of a network that was not told how, the mean is taken."""
    pooling = net.heads["sentence"].pooling if "sentence" in net.heads else Pooling()
    head = SentenceHead(pooling if normalize is None else replace(pooling, normalize=normalize))
    device = next(net.parameters()).device
    limit = min(net.config.context_length, head.pooling.max_length or net.config.context_length)
    framed = frame_texts([(text,) for text in texts], tokenizer, limit, ledger)
    vectors_MD = torch.zeros(len(framed), len(head.pooling.modes) * net.config.hidden_size, device=device)
    with torch.inference_mode():
        for few in by_size([len(each.ids) for each in framed], TOKENS_AT_ONCE):
            packed = lay([framed[number] for number in few]).to(device)
            vectors_MD[few] = head(net.hidden(packed), packed).float()
    return vectors_MD


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    """The cosine of the angle between two vectors, 0 where one of them is zero."""
    return float(a_D @ b_D / max(float(np.linalg.norm(a_D) * np.linalg.norm(b_D)), 1e-12))
