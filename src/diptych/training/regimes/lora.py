"""LoRA: train thin matrices beside the frozen ones (Hu et al. 2022), for any task and any model.

Beside the adapters the task's heads learn in full, except a language head, which the base brings with it. At the end what was
learnt is added to the matrices, so that what comes out is a model like any other; `adapter: true` keeps it apart as well, as peft
reads it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from diptych.errors import TrainingError
from diptych.formats.adapter_folder import fingerprint, hang, read_adapter, take_adapter
from diptych.surgery.low_rank import adapters, attach, chosen, detach, parts_of
from diptych.tasks.task import Task
from diptych.training.regimes.frozen import freeze_body
from diptych.training.regimes.regime import RegimeSettings, Wrapper


class LoRASettings(RegimeSettings):
    """`train: {regime: [{name: lora, rank: 8, targets: [query, value]}]}`"""

    name: Literal["lora"] = "lora"  # type: ignore[assignment]
    usual_lr: ClassVar[float | None] = 5e-4
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """What is learnt is scaled by alpha / rank."""
    targets: list[str] = []
    """Modules by the names that the family's folders have (query, c_attn, q_proj …); none is every linear layer of the body."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    start: str | None = None
    """A peft folder whose adapter is trained further."""
    adapter: bool = False
    """Keep the adapter apart too, in the folder `adapter/` of the model."""


class LoRA(Wrapper):
    """Only adapters, and the heads that the task brings, learn."""

    Settings = LoRASettings

    def prepare(self, net: Any, task: Task) -> Any:
        """Freeze the network and hang adapters beside its matrices.

        Raises:
            TrainingError E534: a target that names nothing. E535, E536: the adapter to start from does not belong here.
            E537: an adapter is to be kept, and there is no base that it could be added to.
        """
        net = self.inner.prepare(net, task)
        settings = self.settings or LoRASettings()
        if settings.adapter and self.around.base is None:
            raise TrainingError("E537")
        self._keeps, self._heads = settings.adapter, _own_heads(net, task.heads)
        self._fingerprint = fingerprint(net) if settings.adapter else ""
        learns = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        freeze_body(net, self._heads)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in learns)
        if settings.start is not None:
            hang(net, read_adapter(settings.start), settings.start)
        else:
            # What is trained in full needs no adapter.
            whole = tuple(f"heads.{name}." for name in self._heads)
            parts = chosen([part for part in parts_of(net) if not part.module.startswith(whole)], settings.targets)
            attach(net, parts, settings.rank, settings.alpha, seed=self.around.seed, dropout=settings.dropout)
        for _name, layer in adapters(net):
            layer.linear.requires_grad_(False)
        return net

    def finish(self, net: Any) -> Any:
        if self._keeps:
            net.adapter = take_adapter(net, self._heads, self.around.base, self._fingerprint)
        detach(net, merge=True)
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        return self.inner.finish(net)


def _own_heads(net: Any, heads: Sequence[str]) -> tuple[str, ...]:
    """The heads that are trained in full, with the pooler where one of them looks through it."""
    own = [name for name in heads if name != "lm"]
    shares_pooler = "pooler" in net.heads and any(module is net.heads["pooler"] for name in own for module in net.heads[name].modules())
    return (*(["pooler"] if shares_pooler else []), *own)
