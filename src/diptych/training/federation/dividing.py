"""Whose examples are whose, where one table stands for many places: by chance, by labels unevenly spread, by a column, by file."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.errors import TrainingError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.streams import permute, stream
from diptych.tasks.task import Row
from diptych.text.shards import TokenShards

STAGE = mark("clients")
USUAL_CLIENTS = 10


def divide(rows: Sequence[Row], settings: Any, seed: int, ledger: Ledger, files: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The rows of each client, by its name; the order of the rows stays what it was.

    Args:
        settings: those of the federated regime.
        files: the names of the files that the rows were read from; `Row.where` begins with one of them.

    Raises:
        TrainingError E581: a row has no group. E582: a label is asked for and there is none. E583: there is nothing to divide by.
    """
    if settings.by in ("group", "file"):
        parts = _by_group(rows) if settings.by == "group" else _by_file(rows, files)
    else:
        count = settings.clients or USUAL_CLIENTS
        owner_of = _dealt(len(rows), count, seed) if settings.by == "chance" else _skewed(rows, count, settings.concentration, seed)
        parts = {f"client {number + 1}": [] for number in range(count)}
        for row, owner in zip(rows, owner_of.tolist(), strict=True):
            parts[f"client {owner + 1}"].append(row)
    empty = [name for name, some in parts.items() if not some]
    for name in empty:
        ledger.add(STAGE, mark("clients without an example, left out"), where=name)
    ledger.add(STAGE, mark("clients that take part"), len(parts) - len(empty))
    return {name: some for name, some in parts.items() if some}


def divide_shards(shards: TokenShards, settings: Any, seed: int, ledger: Ledger) -> dict[str, TokenShards]:
    """The documents of a text dealt among clients, each as tokens of its own.

    Raises:
        TrainingError E590: running text is to be divided otherwise than by chance.
    """
    if settings.by != "chance":
        raise TrainingError("E590", by=settings.by)
    count = min(settings.clients or USUAL_CLIENTS, shards.num_documents)
    owner_of = _dealt(shards.num_documents, count, seed)
    ledger.add(STAGE, mark("clients that take part"), count)
    return {f"client {number + 1}": _of_documents(shards, np.flatnonzero(owner_of == number)) for number in range(count)}


def _of_documents(shards: TokenShards, numbers: np.ndarray) -> TokenShards:
    """Some documents of a text, with the separators that stand before them and the one behind the last."""
    spans = [(int(shards.borders[number]), int(shards.borders[number + 1])) for number in numbers]
    borders = np.cumsum([0, *(stop - start for start, stop in spans)])
    end = int(shards.borders[-1])
    spans += [(end, len(shards.tokens))]
    tokens = np.concatenate([shards.tokens[start:stop] for start, stop in spans])
    continues = None if shards.continues is None else np.concatenate([shards.continues[start:stop] for start, stop in spans])
    return TokenShards(tokens, borders, shards.text_bytes[numbers], continues=continues)


def _dealt(count: int, clients: int, seed: int) -> np.ndarray:
    return permute(np.arange(count), count, seed, "clients") % clients if count else np.zeros(0, dtype=np.int64)


def _skewed(rows: Sequence[Row], clients: int, concentration: float, seed: int) -> np.ndarray:
    """Each label's rows cut among the clients in shares drawn from a Dirichlet distribution (Hsu et al. 2019)."""
    by_label: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row.stratum is None:
            raise TrainingError("E582", where=row.where)
        by_label[row.stratum].append(number)
    owner_of = np.zeros(len(rows), dtype=np.int64)
    for label, numbers in sorted(by_label.items()):
        shares = stream(seed, "shares", label).dirichlet([concentration] * clients)
        cuts = np.round(np.cumsum(shares)[:-1] * len(numbers)).astype(int)
        order = permute(np.arange(len(numbers)), len(numbers), seed, "shares", label)
        for owner, places in enumerate(np.split(order, cuts)):
            owner_of[np.asarray(numbers)[places]] = owner
    return owner_of


def _by_group(rows: Sequence[Row]) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        if row.group is None:
            raise TrainingError("E581", where=row.where)
        parts[row.group].append(row)
    return dict(parts)


def _by_file(rows: Sequence[Row], files: Sequence[str]) -> dict[str, list[Any]]:
    if len(files) < 2:
        raise TrainingError("E583")
    parts: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        # The longest that fits: "a.csv" begins "a.csv.gz" as well.
        parts[max((name for name in files if row.where.startswith(name)), key=len, default=row.where)].append(row)
    return dict(parts)
