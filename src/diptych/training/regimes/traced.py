"""Keep what each example costs whenever a step shows it: how its loss moves while training tells who is most at risk of being told.

A text that is remembered was a surprise first and is none at last, while others hardly move. The spread of a text's own losses over a
run, from their first quarter to their last, finds those whom attacks with many shadow models find, and takes no training of its own
(Pollock et al. 2024, arXiv 2411.05743).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from diptych.tasks.task import Batch, Loss, Outputs, Task
from diptych.training.regimes.regime import RegimeSettings, StepResult, Wrapper

LISTED = 20
"""So many of the examples that are most at risk are listed."""


class TracedSettings(RegimeSettings):
    """`train: {regime: [traced]}`"""

    name: Literal["traced"] = "traced"  # type: ignore[assignment]


class Traced(Wrapper):
    """The step of the inner regime, with the losses of its examples written down."""

    Settings = TracedSettings

    def __init__(self, inner: Any, settings: Any = None, around: Any = None) -> None:
        super().__init__(inner, settings, around)
        self.traces: dict[int, list[float]] = {}

    def step(self, net: Any, task: Task, batches: Sequence[Batch], seed: tuple[int, int]) -> StepResult:
        listening: Any = _Listening(task, self.traces)
        return self.inner.step(net, listening, batches, seed)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "traces": {str(key): losses for key, losses in self.traces.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.traces = {int(key): list(losses) for key, losses in state["traces"].items()}

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "at_risk": at_risk(self.traces)}


class _Listening:
    """A task that says what each example cost."""

    def __init__(self, task: Task, traces: dict[int, list[float]]) -> None:
        self.task, self.traces = task, traces

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def loss(self, outputs: Outputs, batch: Any) -> Loss:
        terms = self.task.loss(outputs, batch)
        if not batch.is_company:
            costs = sum(term.weight * term.total_B.detach().double().cpu() / term.count_B.cpu().clamp(min=1) for term in terms.values())
            for key, cost in zip(batch.keys, costs.tolist(), strict=True):  # type: ignore[union-attr]
                self.traces.setdefault(key, []).append(round(cost, 5))
        return terms


def at_risk(traces: dict[int, list[float]], count: int = LISTED) -> list[dict[str, Any]]:
    """The examples whose losses spread most between their first and their last quarter, the most first; those seen once have no spread."""
    spreads = {key: float(np.subtract(*np.percentile(losses, [75, 25]))) for key, losses in traces.items() if len(losses) > 1}
    order = sorted(spreads, key=lambda key: (-spreads[key], key))[:count]
    return [{"example": key, "spread": round(spreads[key], 4), "last": traces[key][-1]} for key in order]
