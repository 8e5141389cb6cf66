"""What a run is told besides model, task and data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.config import TrainSettings


@dataclass(frozen=True)
class Plan:
    """What a run needs besides model, task and data: settings with every blank filled in, and where to keep its state."""

    train: TrainSettings
    batch_size: int
    lr: float
    precision: str = "float32"
    compile: str = "never"
    """Whether torch.compile may be used: "always", or "auto" where it pays."""
    sharding: str = "none"
    """Of several ranks: "full" leaves each of them a share of the weights alone."""
    checkpoints: Path | None = None
    """None keeps no checkpoints."""
    checkpoint_steps: int | None = None
    eval_tokens: int = 100_000
    log_steps: int = 10
    data: str = ""
    """A digest of what is trained on; a run is not resumed with other data."""
    snapshots: tuple[int, ...] = ()
    """After how many tokens the network is kept as it is."""
    keep_snapshot: Callable[[Any, int], None] | None = None
    """Takes the whole network, and after how many tokens it is so."""
