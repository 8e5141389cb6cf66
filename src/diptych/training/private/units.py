"""What is protected: all that one row, one document or one group gives to the training, shown and clipped as one.

Units are examples to the loop, so that none is ever cut over two pieces of a step. A flat row still holds many of them side by side:
packing is a matter of layout, and each token knows its text, each text its unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from diptych.errors import TrainingError
from diptych.packed import Packed
from diptych.tasks.task import Batch, Crowded, Examples, Mixed, Owned, Place, Task

Unit = Literal["example", "document", "group"]


class Units:
    """The units of some examples, each an example itself.

    Args:
        most: so many examples of a unit are shown at once at most, others each time.
        groups: of each row of the source the group it belongs to, where the unit is the group.

    Raises:
        TrainingError E554: groups are asked for where there is none. E555: a row has none.
    """

    def __init__(self, examples: Examples, unit: Unit, most: int, groups: Sequence[str | None] | None = None) -> None:
        self.rows: Any = examples.apart() if isinstance(examples, Crowded) else examples
        self.most = most
        owners = np.arange(len(self.rows))
        if unit != "example" and isinstance(self.rows, Owned):
            owners = np.array([self.rows.owner(index) for index in owners.tolist()], dtype=np.int64)
        if unit == "group":
            owners = _by_group(owners, groups)
        _names, self._unit_R = np.unique(owners, return_inverse=True)
        self._row_R = np.argsort(self._unit_R, kind="stable")
        self._ends = np.cumsum(np.bincount(self._unit_R)) if len(owners) else np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def of(self, unit: int) -> np.ndarray:
        """The examples of a unit."""
        return self._row_R[self._ends[unit - 1] if unit else 0 : self._ends[unit]]

    def num_tokens(self, index: int) -> int:
        """Tokens that a unit sends through the model; of one with more examples than are shown at once, the mean."""
        rows = self.of(index)
        tokens = sum(self.rows.num_tokens(int(row)) for row in rows)
        return tokens if len(rows) <= self.most else round(tokens * self.most / len(rows))

    def shown(self, place: Place) -> list[Place]:
        """The examples that a unit shows at its place in the run, of one kind where they have several."""
        rows = self.of(place.index)
        if len(rows) > self.most:
            rows = np.sort(rows[place.stream("examples of a unit").permutation(len(rows))[: self.most]])
        places = [Place(place.seed, place.epoch, int(row), place.spent) for row in rows]
        if isinstance(self.rows, Mixed):
            places = [each for each in places if self.rows.kind(each) == self.rows.kind(places[0])]
        return places

    def kind(self, place: Place) -> int:
        return self.rows.kind(self.shown(place)[0]) if isinstance(self.rows, Mixed) else 0


class UnitTask:
    """A task whose examples are units; in all else the task itself."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def collate(self, examples: Units, places: Sequence[Place]) -> "UnitBatch":
        shown = [examples.shown(place) for place in places]
        batch = self.task.collate(examples.rows, [each for few in shown for each in few])
        unit_B = np.repeat(np.arange(len(shown)), [len(few) for few in shown])
        assert len(batch.keys) == len(unit_B), "an example of a private task is one entry of its batch"
        return UnitBatch(batch, tuple(unit_B.tolist()), len(shown))


@dataclass
class UnitBatch:
    """A batch that knows whose its entries are."""

    inner: Batch
    unit_B: tuple[int, ...]
    num_units: int

    def to(self, device: torch.device) -> "UnitBatch":
        return UnitBatch(self.inner.to(device), self.unit_B, self.num_units)

    @property
    def unit_T(self) -> torch.Tensor:
        """The unit of each text."""
        unit_B = torch.tensor(self.unit_B, device=self.inner.texts.ids_N.device)
        if self.inner.texts_of is None:
            return unit_B
        return unit_B.repeat_interleave(torch.tensor(self.inner.texts_of, device=unit_B.device))

    @property
    def texts(self) -> Packed:
        return self.inner.texts

    @texts.setter
    def texts(self, texts: Packed) -> None:
        self.inner.texts = texts

    @property
    def is_company(self) -> bool:
        return self.inner.is_company

    @is_company.setter
    def is_company(self, is_company: bool) -> None:
        self.inner.is_company = is_company

    @property
    def num_tokens(self) -> int:
        return self.inner.num_tokens

    def counts(self) -> dict[str, int]:
        return self.inner.counts()


def _by_group(owners: np.ndarray, groups: Sequence[str | None] | None) -> np.ndarray:
    if groups is None:
        raise TrainingError("E554")
    named = [groups[owner] for owner in owners.tolist()]
    empty = sum(not str(name or "").strip() for name in named)
    if empty:
        raise TrainingError("E555", count=empty, total=len(named))
    return np.unique(np.array(named, dtype=object).astype(str), return_inverse=True)[1]
