"""A step: examples at their places become a gradient, and the gradient an update of the weights.

The loop takes one after the other and looks after all that happens between them; a client of a federation takes the few of its
round (`federation/client.py`). Both take the same ones.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from diptych import runtime
from diptych.tasks.measure import by_tokens
from diptych.tasks.task import Batch, Examples, Place, Task
from diptych.training.optimizers import build_optimizer
from diptych.training.order import Order
from diptych.training.plan import Plan
from diptych.training.ramps import Batches, in_pieces, longest_piece
from diptych.training.ranks import here
from diptych.training.regimes.regime import Regime, StepResult
from diptych.training.schedules import Budget, lr_scale
from diptych.training.sharding import full


class NoNumber(ArithmeticError):
    """A loss or a gradient is no longer a number. The step was not applied, and its gradient is gone."""

    def __init__(self, lr: float) -> None:
        super().__init__(f"not a number at a learning rate of {lr:.2g}")
        self.lr = lr


class Stepper:
    """What takes steps with a network that its regime has prepared.

    Attributes:
        budget: how far a run has come after so many steps, tokens and seconds.
        order: which examples each step shows.
    """

    def __init__(self, net: Any, task: Task, examples: Examples, regime: Regime, plan: Plan) -> None:
        self.net, self.regime, self.plan = net, regime, plan
        self.task, self.examples = regime.show(task, examples)
        self.ranks = here()
        self.device = next(net.parameters()).device
        self.optimizer = build_optimizer(net, plan.train, plan.lr, plan.precision)
        batches = Batches.of(plan.train, self.examples, plan.batch_size)
        self.budget = Budget.of(plan.train, len(self.examples), batches)
        self._plain_order = Order(len(self.examples), batches, plan.train.seed, self.budget.examples)
        self.order = self.ask_order()
        self.has_dropout = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in net.modules())

    def ask_order(self) -> Any:
        """Which examples each step shows, as the regime has it now: what it draws by may have been kept with a run."""
        self.order = self.regime.order(self._plain_order, self.budget)
        return self.order

    def spent(self, step: int, tokens: int, seconds: float) -> float:
        """The share that is used up of whichever budget is nearer to its end: the run's, or one of the regime's own."""
        return max(self.order.spent(step), self.budget.spent(step, tokens, seconds))

    def take(self, step: int, places: Sequence[Place], spent: float) -> StepResult:
        """Take step `step`, counted from 0, with `spent` of the budget used up before it; what it cost, over all ranks.

        Raises:
            NoNumber: the weights are as they were before.
        """
        train = self.plan.train
        batches = self.batches(places, longest_piece(train, spent))
        # The middle of this step, so that neither the first nor the last one is taken with a learning rate of 0.
        half = 0.5 / self.budget.steps if self.budget.steps else 0.0
        scale = lr_scale(spent + half, train)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale
        with runtime.precision(self.plan.precision, self.device.type):
            result = self.regime.step(self.net, self.task, batches, (train.seed, step))
        result = result.summed(self.ranks)
        self.ranks.sum_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = full(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if not (torch.isfinite(norm) and math.isfinite(result.loss)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NoNumber(self.plan.lr * scale)
        if train.clip and norm > train.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, train.clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def num_tokens(self, places: Sequence[Place]) -> int:
        """How many tokens the examples at these places have."""
        return sum(self.examples.num_tokens(place.index) for place in places)

    def batches(self, places: Sequence[Place], longest: int | None) -> list[Batch]:
        """This rank's pieces of a step, their texts cut to at most `longest` tokens.

        Dropout is drawn by piece, so with it a step is cut as for one rank and ranks without a piece look on; without it the
        step is cut so that every rank has something to do.
        """
        limit = self.plan.train.micro_batch_tokens
        if not self.has_dropout:
            limit = min(limit, math.ceil(self.num_tokens(places) / self.ranks.count))
        batches = []
        for group in self.ranks.share(list(by_tokens(self.examples, places, limit))):
            batch = self.task.collate(self.examples, group or places[:1]).to(self.device)
            batch.is_company = group is None
            batch.texts = batch.texts if longest is None else in_pieces(batch.texts, longest)
            batches.append(batch)
        return batches
