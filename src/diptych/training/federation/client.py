"""A client: one who has examples, trains on them alone for a round, and sends back what came of it.

It takes the steps that the loop takes (`Stepper`), with the same settings: a budget in epochs or steps is what a client trains in the whole
run, and the rounds cut it into equal parts. The learning rate goes by the share of it that is spent. So one client alone takes the
steps of a run without a federation, to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diptych.streams import seed_for
from diptych.tasks.task import Batch, Examples, Task
from diptych.training.checkpoint import restore_optimizer
from diptych.training.federation.update import Assignment, Update, Values, learning, put, taken
from diptych.training.plan import Plan
from diptych.training.ramps import Batches
from diptych.training.regimes.regime import Plain, Regime, StepResult
from diptych.training.schedules import Budget
from diptych.training.stepping import Stepper


@dataclass(frozen=True)
class Client:
    """One who trains.

    Args:
        number: the first draws what a run without a federation draws, the others draws of their own.
    """

    name: str
    examples: Examples
    number: int = 0

    def train(self, net: Any, task: Task, regime: Regime, plan: Plan, asked: Assignment) -> Update:
        """Train for a round, from the server's weights on.

        Args:
            net: prepared by `regime`; it has the client's weights afterwards.

        Raises:
            NoNumber: the loss is no longer a number.
        """
        put(net, asked.start)
        held = Proximal(regime, asked.start, asked.proximal) if asked.proximal else regime
        stepper = self.stepper(net, task, held, plan)
        moments = {name: value.clone() for name, value in asked.start.items() if "|" in name}
        restore_optimizer(stepper.optimizer, net, moments)
        cost = StepResult()
        for step in self.steps(plan, asked.round, asked.rounds):
            spent = stepper.budget.spent(step, 0, 0.0)
            result = stepper.take(step, stepper.order.places(step, spent), spent)
            for name in result.totals:
                cost.totals[name] = cost.totals.get(name, 0.0) + result.totals[name]
                cost.counts[name] = cost.counts.get(name, 0) + result.counts[name]
                cost.weights[name] = result.weights[name]
        values = taken(net, stepper.optimizer if moments else None)
        return Update(self.name, asked.round, len(self.examples), values, cost.totals, cost.counts, cost.weights)

    def stepper(self, net: Any, task: Task, regime: Regime, plan: Plan) -> Stepper:
        """What takes this client's steps."""
        if self.number:
            seed = seed_for(plan.train.seed, "client", self.number)
            plan = replace(plan, train=plan.train.model_copy(update={"seed": seed}))
        return Stepper(net, task, self.examples, regime, plan)

    def steps(self, plan: Plan, round: int, rounds: int) -> range:
        """Which of its steps this client takes in a round; none where it has fewer steps than there are rounds."""
        budget = Budget.of(plan.train, len(self.examples), Batches.of(plan.train, self.examples, plan.batch_size))
        assert budget.steps is not None, "a federation's budget is in steps or epochs"
        return range(budget.steps * round // rounds, budget.steps * (round + 1) // rounds)


class Proximal(Plain):
    """The step of a regime with a pull towards where the round started: the gradient of strength / 2 · |w - start|²."""

    def __init__(self, inner: Regime, start: Values, strength: float) -> None:
        self.inner, self.start, self.strength = inner, start, strength

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        result = self.inner.step(net, task, batches, seed)
        with torch.no_grad():
            for name, parameter in learning(net).items():
                away: Tensor = parameter - self.start[name]
                parameter.grad = away * self.strength if parameter.grad is None else parameter.grad.add_(away, alpha=self.strength)
        return result

    def show(self, task: Task, examples: Examples) -> tuple[Any, Any]:
        return self.inner.show(task, examples)

    def order(self, order: Any, budget: Budget) -> Any:
        return self.inner.order(order, budget)
