"""A step that is a round: clients train on examples of their own, and the server takes the mean of what they send back.

FedAvg (McMahan et al. 2017) and FedProx (Li et al. 2020) around any regime and any task: with LoRA inside, adapters and heads
alone are exchanged. It is the outermost regime, since a client's steps are those of the regimes within.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.messages import _, mark
from diptych.streams import permute
from diptych.tasks.task import Batch, Task
from diptych.training.checkpoint import optimizer_tensors
from diptych.training.federation.client import Client
from diptych.training.federation.rounds import Federation, Rounds
from diptych.training.federation.server import LOST, STAGE, Merging
from diptych.training.federation.update import Assignment, Values, learning, put, taken
from diptych.training.optimizers import build_optimizer
from diptych.training.plan import Plan
from diptych.training.regimes.regime import RegimeSettings, StepResult, Wrapper
from diptych.training.stepping import NoNumber


class FederatedSettings(RegimeSettings):
    """`train: {epochs: 3, regime: [lora, {name: federated, clients: 10, by: labels, rounds: 12}]}`"""

    name: Literal["federated"] = "federated"  # type: ignore[assignment]
    hides_examples: ClassVar[bool] = True
    by: Literal["chance", "labels", "group", "file"] = "chance"
    """Whose examples are whose: dealt by chance, by chance with labels unevenly spread, by the column `task.group` (a hospital, a person)
    or by the file that they stand in."""
    clients: int | None = Field(default=None, ge=1)
    """How many share the examples by chance or by labels, 10 if nothing is said; groups and files are as many as there are."""
    concentration: float = Field(default=0.5, gt=0)
    """by: labels alone. The share that each client has of a label is drawn from a Dirichlet distribution with this parameter (Hsu et al.
    2019): at 0.1 most clients have hardly more than one label, at 100 all have the same mixture."""
    rounds: int = Field(default=10, ge=1)
    """Into how many rounds the budget is cut, which is what each client trains altogether."""
    share: float = Field(default=1.0, gt=0, le=1)
    """How many of the clients are asked in a round; one at the least."""
    weights: Literal["examples", "equal"] = "examples"
    """Whether a client counts as much as it has examples, or all count alike."""
    proximal: float = Field(default=0.0, ge=0)
    """FedProx: how strongly a client is held near the weights that its round started from."""
    moments: Literal["shared", "fresh"] = "shared"
    """Whether the optimizer's moments are averaged and handed on like the weights, which sends three times as much and loses
    nothing between rounds, or begin anew with each round."""

    @model_validator(mode="after")
    def _counted_where_they_are_dealt(self) -> "FederatedSettings":
        if self.clients is not None and self.by in ("group", "file"):
            raise ValueError(_("there are as many clients as groups or files: leave clients out"))
        return self


class Federated(Wrapper):
    """A round in the place of a step."""

    Settings = FederatedSettings
    settings: FederatedSettings

    def prepare(self, net: Any, task: Task) -> Any:
        """Prepare the regimes within, and hang the moments beside the weights where they are shared.

        Raises:
            TrainingError E575: the examples are not divided among clients.
        """
        if not isinstance(task, Rounds):
            raise TrainingError("E575")
        self.federation: Federation = task.federation
        net = self.inner.prepare(net, task.task)
        if self.settings.moments == "shared":
            net.moments = _Moments(no_moments(net, self.federation.plan))
        return net

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        """Carry out a round; it leaves new weights and no gradient.

        Raises:
            TrainingError E579: no client sent anything that could be used; the weights are those of before.
        """
        assert isinstance(task, Rounds)
        federation, number = self.federation, seed[1]
        start = taken(net) | (net.moments.values() if self.settings.moments == "shared" else {})
        asked = [client for client in self._asked(seed) if client.steps(federation.plan, number, federation.rounds)]
        call = Assignment(start, number, federation.rounds, self.settings.proximal)
        merging = Merging(start, number, [client.name for client in asked], self.settings.weights, federation.ledger)
        cost = StepResult()
        for client in asked:
            try:
                update = client.train(net, task.task, self.inner, federation.plan, call)
            except NoNumber:
                merging.leave_out(client.name, mark("clients whose loss was no longer a number, left out"))
                continue
            except (OSError, TimeoutError):
                merging.leave_out(client.name, LOST)
                continue
            if merging.take(update):
                for name in update.totals:
                    cost.totals[name] = cost.totals.get(name, 0.0) + update.totals[name]
                    cost.counts[name] = cost.counts.get(name, 0) + update.counts[name]
                    cost.weights[name] = update.weights[name]
        if asked and not merging.taken:
            put(net, start)
            raise TrainingError("E579", round=number + 1, count=len(asked))
        self._give(net, merging.mean() if asked else start)
        return cost

    def state(self) -> dict[str, Any]:
        left_out = Ledger()
        left_out.merge(self.federation.ledger)
        return {**super().state(), "left_out": [line for line in left_out.to_json() if line["stage"] == STAGE]}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.federation.ledger.merge(Ledger.from_json(state["left_out"]))

    def finish(self, net: Any) -> Any:
        if hasattr(net, "moments"):
            del net.moments
        return self.inner.finish(net)

    def _asked(self, seed: tuple[int, int]) -> list[Client]:
        """The clients of a round, drawn by (seed, round) and asked in the order in which they are listed."""
        clients = self.federation.clients
        count = max(1, round(self.settings.share * len(clients)))
        drawn = permute(np.arange(count), len(clients), seed[0], "clients", seed[1])
        return [clients[index] for index in sorted(drawn.tolist())]

    def _give(self, net: Any, values: Values) -> None:
        put(net, values)
        if self.settings.moments == "shared":
            net.moments.put(values)


class _Moments(nn.Module):
    """The moments as buffers of the network, so that a checkpoint keeps them as it keeps the weights."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self._names = {name.replace(".", "/"): name for name in values}
        for written, name in self._names.items():
            self.register_buffer(written, values[name])

    def values(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(written) for written, name in self._names.items()}

    def put(self, values: Values) -> None:
        for written, name in self._names.items():
            self.get_buffer(written).copy_(values[name])


def no_moments(net: Any, plan: Plan) -> dict[str, Tensor]:
    """The moments of an optimizer that has taken no step, by name: zeros of the shapes that it keeps after one."""
    before = taken(net)
    optimizer = build_optimizer(net, plan.train, plan.lr, plan.precision)
    for parameter in learning(net).values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    put(net, before)
    return {name: torch.zeros_like(value) for name, value in optimizer_tensors(optimizer, net).items()}
