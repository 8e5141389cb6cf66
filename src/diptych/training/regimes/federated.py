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
from diptych.streams import permute, uniforms
from diptych.tasks.task import Batch, Task
from diptych.training.checkpoint import optimizer_tensors
from diptych.training.federation.client import Client
from diptych.training.federation.private_mean import PrivateMean
from diptych.training.federation.rounds import Federation, Rounds
from diptych.training.federation.server import LOST, STAGE, Merging
from diptych.training.federation.update import Assignment, Values, learning, put, taken
from diptych.training.optimizers import build_optimizer
from diptych.training.plan import Plan
from diptych.training.private.accounting import Account
from diptych.training.private.noise import new_key
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

    clip: float | None = Field(default=None, gt=0)
    """Privacy for clients: what a client changes is shortened to this length, all weights together. With it clients are drawn each by
    itself, count alike, and share no moments."""
    noise: float = Field(default=0.0, ge=0)
    """The deviation of the noise that is added to the sum of what they change, as a multiple of `clip`; 0 promises nothing."""
    delta: float | None = Field(default=None, gt=0, lt=1)
    """The chance that the promise does not hold; None is a tenth of one in the number of clients."""

    @model_validator(mode="before")
    @classmethod
    def _what_privacy_asks(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("clip") is not None:
            return {"weights": "equal", "moments": "fresh", **data}
        return data

    @model_validator(mode="after")
    def _clipped_where_noised(self) -> "FederatedSettings":
        if self.noise and self.clip is None:
            raise ValueError(_("noise hides a client whose change has a greatest length: set clip"))
        if self.clip is not None and (self.weights != "equal" or self.moments != "fresh"):
            raise ValueError(_("with clip, clients count alike (weights: equal) and share no moments (moments: fresh)"))
        return self

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
        self.account, self.key = Account("rdp"), str(new_key())
        self.delta = self.settings.delta or 0.1 / len(self.federation.clients)
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
        merging = self._merging(start, number, [client.name for client in asked])
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
        self._give(net, merging.mean() if asked or self.settings.clip else start)
        if self.settings.noise:
            self.account.step(self.settings.noise, self.settings.share)
        return cost

    def state(self) -> dict[str, Any]:
        left_out = Ledger()
        left_out.merge(self.federation.ledger)
        private = {"history": self.account.state(), "key": self.key, "noise": self.settings.noise, "clip": self.settings.clip}
        return {**super().state(), "private clients": private, "left_out": [line for line in left_out.to_json() if line["stage"] == STAGE]}

    def restore(self, state: dict[str, Any]) -> None:
        """
        Raises:
            TrainingError E567: the run had another noise or clipping so far.
        """
        super().restore(state)
        private = state["private clients"]
        for what, now in (("noise", self.settings.noise), ("clip", self.settings.clip)):
            if private[what] != now:
                raise TrainingError("E567", what=what, before=private[what], now=now)
        self.key = private["key"]
        self.account.restore(private["history"])
        self.federation.ledger.merge(Ledger.from_json(state["left_out"]))

    def finish(self, net: Any) -> Any:
        if hasattr(net, "moments"):
            del net.moments
        return self.inner.finish(net)

    def tells(self) -> dict[str, float]:
        """ε for the clients, so far."""
        spent = {"epsilon": self.account.epsilon(self.delta), "delta": self.delta} if self.settings.noise else {}
        return {**super().tells(), **spent}

    def remarks(self) -> list[str]:
        said, count = super().remarks(), len(self.federation.clients)
        if self.settings.noise and self.delta >= 1 / count:
            text = _("δ = {delta:.2g} is no less than one in {count:,} units: giving one of them away whole would keep such a promise.")
            said.append(text.format(delta=self.delta, count=count))
        if self.settings.clip is not None and not self.settings.noise:
            said.append(_("The noise is 0: what clients change is clipped, and nothing is promised."))
        return said

    def facts(self) -> dict[str, Any]:
        if self.settings.clip is None:
            return super().facts()
        promise = {
            "epsilon": self.account.epsilon(self.delta) if self.settings.noise else None,
            "delta": self.delta,
            "unit": "client",
            "units": len(self.federation.clients),
            "accountant": "rdp",
            "noise": self.settings.noise,
            "clip": self.settings.clip,
            "rate": self.settings.share,
            "steps": sum(steps for _noise, _rate, steps in self.account.history),
            "cryptographic": False,
            "is_repeatable": False,
        }
        return {**super().facts(), "privacy": promise}

    def _merging(self, start: Values, round: int, asked: list[str]) -> Merging:
        settings, federation = self.settings, self.federation
        if settings.clip is None:
            return Merging(start, round, asked, settings.weights, federation.ledger)
        expected = settings.share * len(federation.clients)
        return PrivateMean(start, round, asked, expected, settings.clip, settings.noise, int(self.key), federation.ledger)

    def _asked(self, seed: tuple[int, int]) -> list[Client]:
        """The clients of a round, asked in the order in which they are listed: drawn by (seed, round), or by the secret key."""
        clients = self.federation.clients
        if self.settings.clip is not None:
            drawn_C = uniforms(np.arange(len(clients)), int(self.key), "clients", seed[1])
            return [client for client, number in zip(clients, drawn_C.tolist(), strict=True) if number < self.settings.share]
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
