"""Which passages of a folder say what is asked: by meaning, with an index that is kept, or by words (BM25)."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych import runtime
from diptych.errors import DataError, UsageError
from diptych.evaluation.baselines.bm25 import BM25
from diptych.ledger import Ledger
from diptych.model import Model
from diptych.running import load_model
from diptych.searching.index import open_index, read_passages
from diptych.text.files import TEXT_SUFFIXES, find_sources

Method = Literal["vectors", "words"]


@dataclass(frozen=True)
class Hit:
    """A passage that was found."""

    where: str
    """File and line."""
    text: str
    score: float
    """The cosine of the two vectors, or BM25's score."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def search(
    source: str | Path | Sequence[str | Path],
    query: str,
    *,
    model: Model | str | Path = "minilm",
    index: str | Path | None = None,
    top: int = 5,
    method: Method = "vectors",
    ledger: Ledger | None = None,
) -> list[Hit]:
    """The passages of files or a folder that come nearest to a question, the nearest first.

    Args:
        index: the folder that keeps the vectors; None for one in the cache, by sources and model.
        method: "words" goes by the words that are shared (BM25) and needs no model.

    Raises:
        UsageError E603: the query is empty. DataError E101, E104, E170: there is nothing to search. E171, E172: the index is
        damaged, or is none. MachineError E901: usearch is not installed.
    """
    if not query.strip():
        raise UsageError("E603")
    ledger = ledger if ledger is not None else Ledger()
    paths = [Path(each) for each in ([source] if isinstance(source, str | Path) else source)]
    if method == "words":
        return _by_words(paths, query, top, ledger)
    runtime.prepare()
    found = model if isinstance(model, Model) else load_model(model)
    opened = open_index(paths, found, Path(index) if index is not None else _usual_folder(paths, found), ledger)
    vector_D = found.embed(query, ledger, normalize=True)[0].cpu().numpy()
    return [Hit(passage.where, passage.text, score) for passage, score in opened.nearest(vector_D, top)]


def _by_words(paths: list[Path], query: str, top: int, ledger: Ledger) -> list[Hit]:
    found = [each for source in find_sources(paths, ledger) for each in read_passages(source, ledger)]
    if not found:
        raise DataError("E170", path=", ".join(map(str, paths)), kinds=" ".join(TEXT_SUFFIXES))
    scores = BM25([text for _where, text in found]).scores(query)
    best = np.argsort(-scores, kind="stable")[:top]
    return [Hit(found[number][0], found[number][1], float(scores[number])) for number in best.tolist() if scores[number] > 0]


def _usual_folder(paths: list[Path], model: Model) -> Path:
    key = "\n".join([*(str(path.resolve()) for path in paths), str(model.folder)])
    return runtime.cache_folder() / "search" / hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
