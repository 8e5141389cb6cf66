"""An index on disk: passages of files and their vectors, brought up to date by what changed, written whole or not at all.

usearch holds the vectors: one small wheel without dependencies to speak of, one file that is read at once, half precision,
and vectors can be taken out again by their number, which a graph of faiss cannot. Few vectors are compared one by one, so
that nothing is missed; many by the graph (HNSW, Malkov and Yashunin 2016).

    index.json            what the index holds; it takes its place last, and until then the old index is whole
    passages-….jsonl      number, place and text of each passage
    vectors-….usearch     its vector
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from diptych import runtime
from diptych.errors import DataError, MachineError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text.files import LONGEST_LINE, TEXT_SUFFIXES, UNREADABLE, Source, find_sources, read_lines
from diptych.text.passages import passages
from diptych.text.tables import guess_text_column, rows_of

FORMAT = 1
EXACT_BELOW = 20_000
"""So few vectors are all compared: the answer is exact, in a few milliseconds."""
AT_ONCE = 2048
"""Passages that are embedded before the next are read."""
FILES = ("passages-*.jsonl", "vectors-*.usearch")


@dataclass(frozen=True)
class Passage:
    """A piece of a text, and where it begins."""

    number: int
    source: str
    where: str
    text: str


class Index:
    """Passages by number, and their vectors."""

    def __init__(self, found: dict[int, Passage], vectors: Any) -> None:
        self.passages = found
        self._vectors = vectors

    def nearest(self, vector_D: np.ndarray, top: int) -> list[tuple[Passage, float]]:
        """The passages whose vectors point most nearly the same way, with the cosines."""
        if not self.passages:
            return []
        matches = self._vectors.search(vector_D, min(top, len(self.passages)), exact=len(self.passages) < EXACT_BELOW)
        return [(self.passages[int(each.key)], 1.0 - float(each.distance)) for each in matches]


def open_index(paths: Sequence[Path], model: Any, folder: Path, ledger: Ledger) -> Index:
    """The index in `folder`, brought up to date with the files below `paths`; files that did not change are not read again.

    Raises:
        DataError E170: there is no text. E171: a file of the index is damaged. E172: `folder` holds something else.
        MachineError E901: usearch is not installed.
    """
    sources = find_sources(paths, ledger)
    digests = {source.name: _digest(source) for source in sources}
    known, old = _read(folder)
    if known.get("model") != (key := _model_key(model)):
        ledger.add("search", "passages embedded anew, since the model is another", len(old.passages))
        known, old = {}, Index({}, _empty(model))
    unchanged = {name for name, digest in digests.items() if known.get("sources", {}).get(name) == digest}
    gone = [number for number, passage in old.passages.items() if passage.source not in unchanged]
    fresh = [source for source in sources if source.name not in unchanged]
    ledger.add("search", "files that did not change, not read again", len(unchanged), total=len(sources))
    if gone or fresh or not known:
        if gone:
            old._vectors.remove(np.array(gone, dtype=np.uint64))
        kept = {number: passage for number, passage in old.passages.items() if passage.source in unchanged}
        _add(fresh, kept, old._vectors, model, max(old.passages, default=-1) + 1, ledger)
        old = Index(kept, old._vectors)
        if kept:
            _write(folder, old, key, digests)
    if not old.passages:
        raise DataError("E170", path=", ".join(map(str, paths)), kinds=" ".join(TEXT_SUFFIXES))
    return old


def read_passages(source: Source, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """(where, text) of the passages of a file; a row of a table is one, or several where it is long."""
    if source.is_table:
        column: str | None = None
        for row in rows_of(source, ledger):
            if column is None or column not in row.fields:
                column = guess_text_column([row.fields], row.where)
            text = row.fields.get(column)
            yield from ((row.where, part) for _line, part in passages(str("" if text is None else text).splitlines()))
        return
    for line, text in passages(read_lines(source, ledger, longest=LONGEST_LINE)):
        yield _("{name}, line {number}").format(name=source.name, number=line), text


def _add(sources: Sequence[Source], into: dict[int, Passage], vectors: Any, model: Any, number: int, ledger: Ledger) -> None:
    found = ((source.name, where, text) for source in sources for where, text in read_passages(source, ledger))
    while few := list(islice(found, AT_ONCE)):
        numbers = np.arange(number, number + len(few), dtype=np.uint64)
        vectors.add(numbers, model.embed([text for _source, _where, text in few], ledger, normalize=True).cpu().numpy())
        into.update({number + i: Passage(number + i, *each) for i, each in enumerate(few)})
        number += len(few)
    ledger.add("search", "passages in the index", len(into))


def _read(folder: Path) -> tuple[dict[str, Any], Index]:
    path = folder / "index.json"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError("E172", path=folder)
        return {}, Index({}, None)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        names = [str(name) for name in known["files"]]
        is_ours = known["format"] == FORMAT and len(names) == 2 and all(Path(name).name == name for name in names)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise DataError("E171", path=path, problem=error) from None
    if not is_ours:
        raise DataError("E171", path=path, problem=_("it is of another version"))
    for name, digest in known["files"].items():
        if not (folder / name).is_file() or _file_digest(folder / name) != digest:
            raise DataError("E171", path=folder / name, problem=_("it is not as it was written"))
    lines = (folder / names[0]).read_text(encoding="utf-8").split("\n")
    found = [Passage(*json.loads(line)) for line in lines if line]
    vectors = _usearch().restore(str(folder / names[1]))
    return known, Index({passage.number: passage for passage in found}, vectors)


def _write(folder: Path, index: Index, model_key: str, digests: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(8)
    names = [pattern.replace("*", mark) for pattern in FILES]
    lines = (json.dumps([p.number, p.source, p.where, p.text], ensure_ascii=False) + "\n" for p in index.passages.values())
    runtime.write_lines(folder / names[0], lines)
    index._vectors.save(str(folder / f".{names[1]}"))
    os.replace(folder / f".{names[1]}", folder / names[1])
    files = {name: _file_digest(folder / name) for name in names}
    facts = {"format": FORMAT, "model": model_key, "files": files, "sources": digests}
    runtime.write_whole(folder / "index.json", json.dumps(facts, ensure_ascii=False, indent=1))
    for path in (path for pattern in FILES for path in folder.glob(pattern) if path.name not in names):
        path.unlink(missing_ok=True)


def _empty(model: Any) -> Any:
    size = model.embed("a").shape[1]
    return _usearch()(ndim=size, metric="cos", dtype="f16")


def _usearch() -> Any:
    try:
        from usearch.index import Index as Vectors
    except ImportError:
        raise MachineError("E901", package="usearch", command='pip install "diptych[search]"') from None
    return Vectors


def _model_key(model: Any) -> str:
    """What tells a model and its tokenizer from any other."""
    digest = hashlib.blake2b(model.tokenizer.fingerprint().encode(), digest_size=16)
    for name, tensor in model.net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _digest(source: Source) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with suppress(*UNREADABLE), source.open() as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
