"""The protocol of a regime, and the plain one that the others wrap.

A regime owns the step: it turns the batches of one step into gradients. It never asks which task it trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from diptych.config import Settings
from diptych.streams import seed_for
from diptych.tasks.task import Batch, Examples, Task
from diptych.text.tokenizer import Tokenizer
from diptych.training.order import Order
from diptych.training.ranks import Ranks, here
from diptych.training.schedules import Budget


@dataclass(frozen=True)
class Surroundings:
    """What a regime may need besides network and task, given when regimes are composed; each asks for what it uses."""

    tokenizer: Tokenizer | None = None
    """The one that the examples were cut by."""
    base: str | None = None
    """The folder or name of the model that training starts from; None for fresh weights."""
    load: Callable[[str], Any] | None = None
    """A model by folder or name, with `.net` and `.tokenizer`."""
    seed: int = 0
    """The key of all chance in what a regime adds."""
    groups: Sequence[str | None] | None = None
    """Of each row that is trained on, the group it belongs to, where the task names a column of groups."""


@dataclass
class StepResult:
    """What one step cost, as sums; the gradient lies in the parameters, already divided by the counts."""

    totals: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The objective of the step: each term's sum over its count, weighted and added."""
        return sum(self.weights[name] * self.totals[name] / max(1, self.counts[name]) for name in self.totals)

    def summed(self, ranks: Ranks) -> "StepResult":
        """What the step cost on all ranks together; the counts are those of all ranks already."""
        if ranks.is_alone:
            return self
        weights = {name: weight for each in ranks.gather(self.weights) for name, weight in each.items()}
        return StepResult(ranks.sum(self.totals), self.counts, weights)


def counts_of(batches: Sequence[Batch]) -> dict[str, int]:
    """How many targets each term of the loss has in the whole step, over its batches and over all ranks."""
    counts: dict[str, int] = {}
    for batch in batches:
        if not batch.is_company:
            for name, count in batch.counts().items():
                counts[name] = counts.get(name, 0) + count
    return here().sum(counts)


class Regime(Protocol):
    """How a step is taken. Regimes compose by wrapping: `Private(LoRA(Plain()))`."""

    def prepare(self, net: Any, task: Task) -> Any:
        """Add adapters, hooks or a teacher, freeze what is not to learn; the model to train."""
        ...

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        """Leave the step's gradient in the parameters. `seed` is (seed, step): the key of all chance in it."""
        ...

    def show(self, task: Task, examples: Examples) -> tuple[Any, Any]:
        """The task and the examples that steps are made of; they are these, where a regime has no others."""
        ...

    def order(self, order: Order, budget: Budget) -> Any:
        """Which examples each step shows: `order` as it is, or another with the same methods."""
        ...

    def tells(self) -> dict[str, float]:
        """Numbers that stand beside the loss in the log."""
        ...

    def remarks(self) -> list[str]:
        """What a person must hear before the first step."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a model folder keeps of how it was learnt, as JSON."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep of this regime, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def finish(self, net: Any) -> Any:
        """Undo what `prepare` added; the model to keep."""
        ...


class Plain:
    """The gradient of: sum of the losses over the number of targets, both over the whole step.

    The counts are known before the first forward pass, so micro-batches of any size and raggedness, and those of other ranks,
    add up to the gradient of one large batch.
    """

    def prepare(self, net: Any, task: Task) -> Any:
        return net

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        result = StepResult(counts=counts_of(batches))
        for number, batch in enumerate(batches):
            torch.manual_seed(seed_for(seed[0], "dropout", seed[1], here().number(number)))
            objective: torch.Tensor | float = 0.0
            for name, term in task.loss(task.forward(net, batch), batch).items():
                total = term.total_B.sum()
                share = 0 if batch.is_company else term.weight / max(1, result.counts[name])
                objective = objective + total * share
                if not batch.is_company:
                    result.totals[name] = result.totals.get(name, 0.0) + float(total.detach())
                    result.weights[name] = term.weight
            if isinstance(objective, torch.Tensor) and objective.requires_grad:
                objective.backward()
        return result

    def show(self, task: Task, examples: Examples) -> tuple[Any, Any]:
        return task, examples

    def order(self, order: Order, budget: Budget) -> Any:
        return order

    def tells(self) -> dict[str, float]:
        return {}

    def remarks(self) -> list[str]:
        return []

    def facts(self) -> dict[str, Any]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        return

    def finish(self, net: Any) -> Any:
        return net


class RegimeSettings(Settings):
    """What every regime's settings begin with; `{name: frozen}`, and what the regime can be told beside it."""

    name: str
    usual_lr: ClassVar[float | None] = None
    """The peak learning rate that suits this regime, where it asks for another than plain training."""
    hides_examples: ClassVar[bool] = False
    """Whether it promises that nobody learns whose examples were trained on, so that a model must not keep a list of them."""


class Wrapper:
    """A regime around another that passes on what it does not change.

    `settings` is what the recipe says of it, an object of its `Settings`.
    """

    Settings: ClassVar[type[RegimeSettings]] = RegimeSettings
    is_outermost: ClassVar[bool] = False
    """Whether no other may lie around it."""

    def __init__(self, inner: Regime, settings: Any = None, around: Surroundings | None = None) -> None:
        self.inner = inner
        self.settings = settings
        self.around = around or Surroundings()

    def prepare(self, net: Any, task: Task) -> Any:
        return self.inner.prepare(net, task)

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        return self.inner.step(net, task, batches, seed)

    def show(self, task: Task, examples: Examples) -> tuple[Any, Any]:
        return self.inner.show(task, examples)

    def order(self, order: Order, budget: Budget) -> Any:
        return self.inner.order(order, budget)

    def tells(self) -> dict[str, float]:
        return self.inner.tells()

    def remarks(self) -> list[str]:
        return self.inner.remarks()

    def facts(self) -> dict[str, Any]:
        return self.inner.facts()

    def state(self) -> dict[str, Any]:
        return self.inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state)

    def finish(self, net: Any) -> Any:
        return self.inner.finish(net)
