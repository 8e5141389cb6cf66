"""Fetch a model folder from the Hugging Face hub, a mirror of it, or another folder: safetensors alone, checked, whole or not at all.

The hub's two documented addresses are all that is needed (`/api/models/NAME/revision/REV` and `/NAME/resolve/COMMIT/FILE`), so the
standard library does it. What comes from there is not trusted: names of files are checked, no more bytes are taken than were
announced, sizes and digests are compared, config.json is read before the weights are fetched, and a pickle is never taken.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from diptych import runtime
from diptych.errors import MachineError, ModelError
from diptych.formats.atomic import atomic_folder, full_disk_is_named
from diptych.formats.folder import HEADS, INDEX, WEIGHTS, listed_files, read_shape
from diptych.messages import _
from diptych.sizes import is_unpublished

ENDPOINT = "https://huggingface.co"
SMALL_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "chat_template.jinja", "README.md", "LICENSE", "LICENSE.txt"),
    *("modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
)
"""What a folder is opened with, besides its weights; everything else stays where it is."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
TIMEOUT_SECONDS = 30
ATTEMPTS = 4
"""A connection that breaks is taken up again where it broke, so often."""
MOST_LISTING_BYTES = 32 << 20
BLOCK_BYTES = 1 << 20

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it."""

    name: str
    size: int | None
    sha256: str | None
    """Of a file in large-file storage."""
    git_sha1: str | None
    """Of any other: git's digest of a blob."""


@dataclass(frozen=True)
class Listing:
    """A model at one commit."""

    name: str
    commit: str
    files: dict[str, RemoteFile]


def pull(name: str | Path, out: str | Path | None = None, *, revision: str = "main", tell: Tell = lambda line: None) -> Path:
    """Fetch the model `name` into the folder `out`; the folder.

    Args:
        name: a name of the hub such as "google-bert/bert-base-chinese", or a folder to copy.
        out: None for the last part of the name.
        revision: a branch, a tag or a commit; the commit it stands for is kept in `diptych/provenance.json`.

    Raises:
        ModelError E307: its weights were never published. E331: its weights are pickled. E332: there is no such model. E333: a file
        has a name that leads elsewhere. E334: a file did not arrive as it was announced. E335: this is no name. E313, E314: a model
        that cannot be opened.
        MachineError E905: the hub cannot be reached. E906: it asks who you are.
    """
    source = Path(name)
    target = Path(out) if out is not None else Path(str(name).rstrip("/").rpartition("/")[2].lower())
    if str(name) and source.is_dir():
        return _copy(source, target)
    _check_name(str(name), revision)
    if is_unpublished(str(name)):
        raise ModelError("E307")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise MachineError("E905", endpoint=_endpoint(), problem=_("HF_HUB_OFFLINE is set"))
    listing = _list(str(name), revision)
    key = hashlib.sha256(f"{_endpoint()} {name} {listing.commit}".encode()).hexdigest()[:16]
    stage = runtime.cache_folder() / "pull" / f"{str(name).replace('/', '--')}-{key}"
    with full_disk_is_named(stage):
        stage.mkdir(parents=True, exist_ok=True)
        fetched = _fetch_all(listing, stage, tell)
    with atomic_folder(target) as part:
        for file in fetched:
            _copy_file(stage / file, part / file)
        facts = {"from": _endpoint(), "name": listing.name, "asked": revision, "revision": listing.commit, "files": fetched}
        _write_provenance(part, facts)
    shutil.rmtree(stage, ignore_errors=True)
    return target


def _fetch_all(listing: Listing, stage: Path, tell: Tell) -> dict[str, str]:
    """Fetch what a model needs, the small files first, and check that it can be opened before the weights are fetched."""
    files = listing.files
    if "config.json" not in files:
        raise ModelError("E311", path=listing.name, file="config.json")
    has_weights = WEIGHTS in files or INDEX in files
    if not has_weights:
        pickled = [file for file in files if file.endswith(PICKLES)]
        raise ModelError("E331", name=listing.name) if pickled else ModelError("E311", path=listing.name, file=WEIGHTS)
    small = [file for file in SMALL_FILES if file in files] + ([INDEX] if WEIGHTS not in files else [])
    fetched = {file: _fetch(listing, file, stage, tell) for file in small}
    read_shape(stage)
    weights = [WEIGHTS] if WEIGHTS in files else listed_files(stage / INDEX)
    weights += [HEADS] if HEADS in files else []
    for file in weights:
        if file not in files:
            raise ModelError("E311", path=listing.name, file=file)
    needed = sum(files[file].size or 0 for file in weights)
    if needed > shutil.disk_usage(stage).free:
        raise MachineError("E902", path=stage)
    return fetched | {file: _fetch(listing, file, stage, tell) for file in weights}


def _copy(source: Path, target: Path) -> Path:
    """The files of a model folder, and no others, in a folder of their own."""
    read_shape(source)
    if (source / WEIGHTS).exists():
        weights = [WEIGHTS]
    elif (source / INDEX).exists():
        weights = [INDEX, *listed_files(source / INDEX)]
    elif any(path.suffix in PICKLES for path in source.iterdir()):
        raise ModelError("E315", path=source)
    else:
        raise ModelError("E311", path=source, file=WEIGHTS)
    names = [file for file in (*SMALL_FILES, HEADS) if (source / file).is_file()] + weights
    for file in names:
        if not (source / file).is_file():
            raise ModelError("E311", path=source, file=file)
    with atomic_folder(target) as part:
        digests = {}
        for file in names:
            _copy_file(source / file, part / file)
            digests[file] = _digest(part / file, hashlib.sha256())
        _write_provenance(part, {"from": str(source.resolve()), "files": digests})
    return target


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)


def _check_name(name: str, revision: str) -> None:
    is_name = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name, re.ASCII) and ".." not in name
    is_revision = re.fullmatch(r"\w[\w./-]*", revision, re.ASCII) and ".." not in revision
    if not is_name or not is_revision:
        raise ModelError("E335", name=name if not is_name else revision)


def _list(name: str, revision: str) -> Listing:
    """What the hub has of a model at a revision."""
    path = f"/api/models/{urllib.parse.quote(name)}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
    with _opened(path, name) as answer:
        body = answer.read(MOST_LISTING_BYTES + 1)
    try:
        data = json.loads(body)
        commit = str(data["sha"])
        listed = [_remote(item) for item in data["siblings"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MachineError("E905", endpoint=_endpoint(), problem=_("its answer is no listing ({error})").format(error=error)) from None
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise MachineError("E905", endpoint=_endpoint(), problem=_("its answer names no commit"))
    for file in listed:
        parts = file.name.split("/")
        if not file.name.isprintable() or "\\" in file.name or any(part in ("", ".", "..") for part in parts):
            raise ModelError("E333", name=name, file=file.name[:100])
    return Listing(name, commit, {file.name: file for file in listed})


def _remote(item: dict[str, Any]) -> RemoteFile:
    lfs = item.get("lfs") or {}
    size = lfs.get("size", item.get("size"))
    return RemoteFile(
        str(item["rfilename"]),
        size if isinstance(size, int) and size >= 0 else None,
        lfs.get("sha256"),
        None if lfs else item.get("blobId"),
    )


def _fetch(listing: Listing, file: str, stage: Path, tell: Tell) -> str:
    """One file, from where an earlier attempt left off, checked; its sha256."""
    known, whole, part = listing.files[file], stage / file, stage / f"{file}.part"
    if not whole.exists():
        whole.parent.mkdir(exist_ok=True)
        path = f"/{urllib.parse.quote(listing.name)}/resolve/{listing.commit}/{urllib.parse.quote(file)}"
        tell(file if known.size is None else _("{file}, {size:,} bytes").format(file=file, size=known.size))
        for attempt in range(ATTEMPTS):
            try:
                _append(path, listing.name, known, part)
                break
            except (OSError, HTTPException) as error:
                if attempt == ATTEMPTS - 1 or getattr(error, "errno", None) in _OF_THIS_MACHINE:
                    raise _unreachable(error) from None
                time.sleep(0.2 * 2**attempt)
        _check(known, part, listing.name)
        os.replace(part, whole)
    return _digest(whole, hashlib.sha256())


_OF_THIS_MACHINE = (13, 28, 30, 122)
"""errno of a missing right, a full disk, a file system that cannot be written, a spent quota: trying again is no help."""


def _append(path: str, name: str, known: RemoteFile, part: Path) -> None:
    """Add to `part` what is missing of a file.

    Raises:
        ConnectionError: the answer ended early; what came is kept.
    """
    have = part.stat().st_size if part.exists() else 0
    if known.size is not None and have >= known.size:
        if have == known.size:
            return
        part.unlink()
        have = 0
    with _opened(path, name, start=have) as answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = known.size if known.size is not None else have + int(length) if length and length.isdigit() else None
        if total is None:
            raise ModelError("E334", name=name, file=known.name, problem=_("its size is not told"))
        with part.open("ab" if have else "wb") as out:
            while have < total and (block := answer.read(min(BLOCK_BYTES, total - have))):
                out.write(block)
                have += len(block)
    if have < total:
        raise ConnectionError(_("the connection broke"))


def _check(known: RemoteFile, part: Path, name: str) -> None:
    """Whether a file is what was announced; one that is not is removed."""
    size, problem = part.stat().st_size, None
    if known.size is not None and size != known.size:
        problem = _("{found:,} bytes in place of {expected:,}").format(found=size, expected=known.size)
    elif known.sha256 is not None and _digest(part, hashlib.sha256()) != known.sha256:
        problem = _("its sha256 is another one")
    elif known.git_sha1 is not None and _digest(part, hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)) != known.git_sha1:
        problem = _("its digest is another one")
    if problem is not None:
        part.unlink()
        raise ModelError("E334", name=name, file=known.name, problem=problem)


def _digest(path: Path, state: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


@contextlib.contextmanager
def _opened(path: str, name: str, start: int = 0) -> Iterator[Any]:
    """The answer of the hub to a request, with what it refuses as errors of ours."""
    endpoint = _endpoint()
    request = urllib.request.Request(endpoint + path, headers={"User-Agent": "diptych"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    token, place = os.environ.get("HF_TOKEN"), urllib.parse.urlsplit(endpoint)
    if token and (place.scheme == "https" or place.hostname in ("127.0.0.1", "localhost")):
        # Not for the host that large files are redirected to: it is another's, and needs no name.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise MachineError("E906", name=name, endpoint=endpoint) from None
        if error.code == 404:
            raise ModelError("E332", name=name, endpoint=endpoint) from None
        raise MachineError("E905", endpoint=endpoint, problem=f"HTTP {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(error) from None
    with answer:
        yield answer


def _unreachable(error: Exception) -> MachineError:
    return MachineError("E905", endpoint=_endpoint(), problem=getattr(error, "reason", None) or error)


def _endpoint() -> str:
    """The hub, or the mirror that HF_ENDPOINT names."""
    named = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or ENDPOINT
    place = urllib.parse.urlsplit(named)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ModelError("E335", name=f"HF_ENDPOINT={named}")
    return named


def _write_provenance(folder: Path, facts: dict[str, Any]) -> None:
    inner = folder / "diptych"
    inner.mkdir()
    record = {"pulled": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
    (inner / "provenance.json").write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
