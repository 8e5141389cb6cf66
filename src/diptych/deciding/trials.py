"""What is learnt from and what is asked, so that nothing is asked of a system that has seen it.

One split of a large table; folds of a small one, so that every row is asked once; or each group in turn left out, which is how
far what was learnt carries to a domain that was never seen.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diptych.errors import DataError
from diptych.ledger import Ledger
from diptych.streams import seed_for
from diptych.tasks.labels import shown
from diptych.tasks.tables import LabelledRow, split_rows

FEW = 200
"""Of fewer rows a fifth is too small a test: they are asked in folds."""
FOLDS = 5
MOST_TRAINED, MOST_ASKED = 20_000, 2_000
"""Of more rows than these so many are drawn; 2,000 answers tell accuracies apart that lie two points from each other."""
MOST_OF_GROUP, FEWEST_TRAINED = 300, 2_000
"""Where groups are left out: so many of each are asked about, enough for an interval worth reading, and so many are learnt from each time,
since it is done as often as there are groups."""
DEV_SHARE, TEST_SHARE = 0.1, 0.2


@dataclass(frozen=True)
class Trial:
    """Rows to learn from, to stop by, and to be asked about."""

    name: str
    """The group that was left out; empty where there are none."""
    train: list[LabelledRow]
    dev: list[LabelledRow]
    test: list[LabelledRow]

    def first(self, count: int) -> "Trial":
        """The same with the first `count` rows to learn from, and none to stop by."""
        return replace(self, train=self.train[:count], dev=[])


def trials_of(rows: Sequence[LabelledRow], test: Sequence[LabelledRow], seed: int, *, by_group: bool, ledger: Ledger) -> list[Trial]:
    """The trials that these rows allow.

    Args:
        test: rows that were named for the test; where there are some, they are it.
        by_group: leave each group out in turn.

    Raises:
        DataError E173: there are no two labels with two rows each. E174: there are no two groups.
    """
    counts = Counter(shown(row.label) for row in rows)
    if sum(count > 1 for count in counts.values()) < 2:
        raise DataError("E173", labels=len(counts), count=len(rows))
    if by_group:
        trials = _by_group(rows, seed)
    else:
        rest, held = (list(rows), list(test)) if test else split_rows(rows, TEST_SHARE, seed, "test")
        trials = _folds(rows, seed) if not held or (len(rows) < FEW and not test) else [_trial("", rest, held, seed)]
    most_trained = max(FEWEST_TRAINED, 2 * MOST_TRAINED // len(trials)) if by_group else MOST_TRAINED
    most = max(MOST_OF_GROUP, MOST_ASKED // len(trials)) if by_group else MOST_ASKED
    limited = [
        Trial(
            each.name,
            in_proportion(each.train, most_trained, seed, "trained"),
            each.dev,
            in_proportion(each.test, most, seed, "asked"),
        )
        for each in trials
    ]
    first, kept = trials[0], limited[0]
    ledger.add("split", "rows to learn from, left out to be in time", len(first.train) - len(kept.train), total=len(first.train))
    left_out = sum(len(each.test) for each in trials) - sum(len(each.test) for each in limited)
    ledger.add("split", "rows to be asked about, left out to be in time", left_out, total=sum(len(each.test) for each in trials))
    return limited


def in_proportion(rows: Sequence[LabelledRow], most: int, seed: int, purpose: str) -> list[LabelledRow]:
    """At most so many rows, drawn by the seed, in an order whose every beginning has each label in about its proportion."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        of_label[shown(row.label)].append(number)
    place: dict[int, tuple[float, int]] = {}
    for numbers in of_label.values():
        # By where a row stands, so that tables which share rows draw the same ones.
        numbers.sort(key=lambda number: seed_for(seed, purpose, rows[number].where))
        for rank, number in enumerate(numbers):
            place[number] = ((rank + 0.5) / len(numbers), number)
    return [rows[number] for number in sorted(place, key=place.__getitem__)[:most]]


def _trial(name: str, train: list[LabelledRow], test: list[LabelledRow], seed: int) -> Trial:
    rest, dev = split_rows(train, DEV_SHARE, seed, "dev")
    return Trial(name, rest, dev, test)


def _folds(rows: Sequence[LabelledRow], seed: int) -> list[Trial]:
    """Every row is asked about once; labels are spread over the folds as evenly as they go."""
    of_label: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        of_label[shown(row.label)].append(number)
    fold_of: dict[int, int] = {}
    for label, numbers in of_label.items():
        numbers.sort(key=lambda number: seed_for(seed, "folds", label, number))
        for number in numbers:
            fold_of[number] = len(fold_of) % FOLDS
    folds = sorted(set(fold_of.values()))
    return [
        Trial(
            "",
            [row for number, row in enumerate(rows) if fold_of[number] != fold],
            [],
            [row for number, row in enumerate(rows) if fold_of[number] == fold],
        )
        for fold in folds
    ]


def _by_group(rows: Sequence[LabelledRow], seed: int) -> list[Trial]:
    groups: dict[str, list[LabelledRow]] = defaultdict(list)
    for row in rows:
        groups[row.group or "–"].append(row)
    if len(groups) < 2:
        raise DataError("E174", count=len(groups))
    trials = []
    for name, own in groups.items():
        others = [row for group, some in groups.items() if group != name for row in some]
        if len({shown(row.label) for row in others}) < 2:
            raise DataError("E173", labels=1, count=len(others))
        # Groups were only there to be left out: rows to stop by are drawn from all the others.
        trials.append(_trial(name, [replace(row, group=None) for row in others], own, seed))
    return trials
