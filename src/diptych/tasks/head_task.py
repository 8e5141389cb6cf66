"""The common case of a task: heads that each choose one class or token at their places, and how they answer.

Logits over a vocabulary are large, so a language head answers with features (`Features`) and the loss is taken in chunks; the
other heads answer with logits (`Logits`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diptych.errors import DataError
from diptych.kernels.chunked_loss import cross_entropy, replacement
from diptych.packed import Packed
from diptych.tasks.task import Answers, Batch, Loss, Outputs, Term
from diptych.text.tokenizer import Panel, Tokenizer

TEXT_HEADS = ("nsp", "classes")
"""Heads that judge a whole text; the others answer at single positions."""


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
    bears_pieces: ClassVar[bool] = False
    """Whether a text may be shown in pieces that do not see each other: each place is asked by itself, from what is before it."""
    titles: Mapping[str, str] = {}
    whole_text: str | None = None
    panel: ClassVar[Panel]
    has_one_answer: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def fits(self, config: Any) -> bool:
        """Whether a network of this shape can be asked."""
        return True

    def leans_on(self) -> str | None:
        """What the loss of an example depends on besides the example, where it does: then nobody's part in a step is their own."""
        return None

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
        if (loss := replacement()) is not None:
            return loss(self.features_MD, self.weight_VD, self.bias_V, gold_M, smoothing)
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


@dataclass
class Unkept:
    """Answers of a language head in eight bits, whose logits are made some rows at a time."""

    head: Any
    hidden_MD: Tensor
    ROWS: ClassVar[int] = 256

    def nats(self, gold_M: Tensor) -> Tensor:
        parts = zip(self.hidden_MD.split(self.ROWS), gold_M.split(self.ROWS), strict=True)
        return torch.cat(
            [torch.nn.functional.cross_entropy(self.head(hidden_MD).float(), gold, reduction="none") for hidden_MD, gold in parts]
        )

    def logits(self) -> Tensor:
        return self.head(self.hidden_MD)

    def __len__(self) -> int:
        return len(self.hidden_MD)

    def __getitem__(self, part: slice) -> "Unkept":
        return Unkept(self.head, self.hidden_MD[part])


def ask(net: Any, head: str, hidden_ND: Tensor, texts: Packed, at_M: Tensor) -> Answers:
    """The answers of `head` at the places `at_M`: positions for the language head, numbers of texts for the others."""
    module = net.heads[head]
    if head == "lm" and module.is_int8:
        return Unkept(module, hidden_ND[at_M])
    if head == "lm":
        # A decoder is asked everywhere: no copy, and no gradient by one.
        is_everywhere = len(at_M) == len(hidden_ND) and bool((at_M == torch.arange(len(at_M), device=at_M.device)).all())
        return Features(module.features(hidden_ND if is_everywhere else hidden_ND[at_M]), module.weight_VD, module.bias_V)
    if head in TEXT_HEADS:
        return Logits(module(hidden_ND, texts)[at_M])
    return Logits(module(hidden_ND[at_M]))
