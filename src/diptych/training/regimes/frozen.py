"""Train the task's heads alone and leave the body as it is: fast, and hard to overfit with few examples."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from diptych.errors import TrainingError
from diptych.tasks.task import Task
from diptych.training.regimes.regime import RegimeSettings, Wrapper


class FrozenSettings(RegimeSettings):
    """`train: {regime: frozen}`"""

    name: Literal["frozen"] = "frozen"  # type: ignore[assignment]
    usual_lr: ClassVar[float | None] = 1e-3


class Frozen(Wrapper):
    """Only the heads that the task names learn; a weight that a head shares with the body stays frozen."""

    Settings = FrozenSettings

    def prepare(self, net: Any, task: Task) -> Any:
        """Freeze all but the heads.

        Raises:
            TrainingError E505: no head has a weight of its own.
        """
        net = self.inner.prepare(net, task)
        freeze_body(net, task.heads)
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise TrainingError("E505", regime="frozen", heads=", ".join(task.heads))
        return net

    def finish(self, net: Any) -> Any:
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        return self.inner.finish(net)


def freeze_body(net: Any, heads: Iterable[str]) -> None:
    """Leave only what is these heads' own to be trained; a weight that a head shares with the body is the body's."""
    body = {id(parameter) for parameter in net.body.parameters()}
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for name in heads:
        for parameter in net.heads[name].parameters():
            parameter.requires_grad_(id(parameter) not in body)
