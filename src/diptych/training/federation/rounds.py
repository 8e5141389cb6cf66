"""A federation as the loop sees it: a run whose steps are rounds.

The loop asks neither task nor regime what it is, and here it need not either: it is given a task whose training examples are rounds,
all alike, and a regime that carries one out where others make a gradient (`regimes/federated.py`). Budget, looks at what is held
out, early stopping, checkpoints and resuming are the loop's own, round by round.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.tasks.task import Place, Task
from diptych.training.federation.client import Client
from diptych.training.plan import Plan
from diptych.training.ranks import here


@dataclass(frozen=True)
class Federation:
    """Who takes part, and what each of them is told; as examples it is one round, over and over.

    Args:
        plan: what a client's steps are taken by.
    """

    clients: Sequence[Client]
    plan: Plan
    rounds: int
    share: float
    ledger: Ledger

    def __len__(self) -> int:
        return 1

    def num_tokens(self, index: int) -> int:
        """What a round shows on average, of all clients together."""
        return self._tokens

    @cached_property
    def _tokens(self) -> int:
        shown = 0.0
        for client in self.clients:
            whole = sum(client.examples.num_tokens(index) for index in range(len(client.examples)))
            train = self.plan.train
            epochs = train.epochs if train.steps is None else train.steps * self.plan.batch_size / len(client.examples)
            shown += whole * (epochs or 3.0)
        return max(1, round(self.share * shown / self.rounds))


@dataclass
class Round:
    """In the place of a batch: nothing is known of it but that it is to be carried out."""

    texts: Any = None
    is_company: bool = False

    def to(self, device: torch.device) -> "Round":
        return self


class Rounds:
    """A task whose training examples are rounds; what is held out is asked as the task inside asks it."""

    def __init__(self, task: Task, federation: Federation) -> None:
        self.task, self.federation = task, federation

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def collate(self, examples: Any, places: Sequence[Place]) -> Any:
        return Round() if examples is self.federation else self.task.collate(examples, places)


def federate(task: Task, clients: Sequence[Client], plan: Plan, rounds: int, share: float, ledger: Ledger) -> tuple[Any, Federation, Plan]:
    """What the loop is given in the place of task (`Rounds`), examples and plan.

    Args:
        plan: as for a run without a federation; its budget is what each client trains over all rounds.
        share: of the clients, how many are asked in a round.

    Raises:
        TrainingError E576: the budget is in tokens or minutes. E577: several ranks. E578: a client has no example.
    """
    train = plan.train
    if train.tokens is not None or train.minutes is not None:
        raise TrainingError("E576", budget="tokens" if train.tokens is not None else "minutes")
    if not here().is_alone:
        raise TrainingError("E577")
    for client in clients:
        if not len(client.examples):
            raise TrainingError("E578", client=client.name)
    federation = Federation(clients, replace(plan, checkpoints=None), rounds, share, ledger)
    outer = train.model_copy(update={"steps": rounds, "epochs": None, "batch_ramp": None, "length_ramp": None, "optimizer": "adamw"})
    # Autocast keeps what it has cast of the weights until the outermost is left, and a round changes them within.
    around = replace(plan, train=outer, batch_size=1, precision="float32", compile="never", log_steps=1)
    return Rounds(task, federation), federation, around
