"""Tokens of a corpus on the disk: one flat file mapped into memory, with the borders of the documents beside it.

The width of a number follows from the vocabulary. A folder is written beside and renamed, its description last, so a
half-written one is never opened. What is already there for the same text, cleaning and tokenizer is used again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import DataError, of_system
from diptych.ledger import Ledger
from diptych.text.corpus import Document
from diptych.text.fingerprints import Fingerprints, Notes
from diptych.text.tokenizer import Tokenizer
from diptych.text.word_pieces import WordFinder

FORMAT = 2
BATCH_CHARS = 400_000
"""Characters that are cut into tokens at once: enough for every thread, and few enough that what was cut is still in the cache when it is
taken over (a tenth faster than two million)."""


class TokenShards:
    """The tokens of a corpus.

    Attributes:
        tokens: all tokens in a row, mapped from the disk.
        borders: int64 [documents + 1], where each document begins; a document owns the separator before it.
        text_bytes: int64 [documents], the UTF-8 bytes of each text, which bits per byte are counted by.
        continues: bool, whether a token goes on with the word of the one before; None where words were not asked for.
        documents: by which a document is recognized again; None where the tokens were not read from a disk.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        borders: np.ndarray,
        text_bytes: np.ndarray,
        fingerprint: str = "",
        continues: np.ndarray | None = None,
        documents: Fingerprints | None = None,
    ) -> None:
        self.tokens, self.borders, self.text_bytes, self.fingerprint = tokens, borders, text_bytes, fingerprint
        self.continues, self.documents = continues, documents

    @classmethod
    def open(cls, folder: Path) -> "TokenShards":
        """The shards in `folder`.

        Raises:
            DataError E211: a file is missing or was cut short.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            sizes = {"tokens.bin": meta["token_bytes"], "borders.npy": meta["border_bytes"], "text_bytes.npy": meta["text_byte_bytes"]}
            if "word_bytes" in meta:
                sizes["words.bin"] = meta["word_bytes"]
            for name, size in sizes.items():
                if (folder / name).stat().st_size != size:
                    raise DataError("E211", path=folder / name)
            dtype = np.dtype(meta["dtype"])
            empty = not meta["token_bytes"]
            tokens = np.empty(0, dtype) if empty else np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
            continues = None
            if "word_bytes" in meta:
                continues = np.empty(0, bool) if empty else np.memmap(folder / "words.bin", dtype=bool, mode="r")
            borders, text_bytes = np.load(folder / "borders.npy"), np.load(folder / "text_bytes.npy")
            return cls(tokens, borders, text_bytes, meta["fingerprint"], continues, Fingerprints.load(folder))
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError("E211", path=folder) from None

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_documents(self) -> int:
        return len(self.text_bytes)

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document, its separator included."""
        return self.tokens[self.borders[number] : self.borders[number + 1]]

    def word_starts(self, start: int, stop: int) -> np.ndarray:
        """bool: which of the tokens from `start` to `stop` begin a word, the first one always; needs `continues`."""
        if self.continues is None:
            raise ValueError("these shards were written without words")
        starts = ~self.continues[start:stop]
        starts[:1] = True
        return starts


def write_shards(
    documents: Iterable[Document], tokenizer: Tokenizer, folder: Path, *, separator: int | None, ledger: Ledger, words: bool = False
) -> TokenShards:
    """Cut every document into tokens and write them to `folder`, as a stream.

    Args:
        separator: a token to stand before each document and after the last one, or None.
        ledger: is kept with the tokens, so that whoever finds them there is told as well.
        words: write beside each token whether it goes on with the word of the one before.

    Raises:
        MachineError E902: the disk is full; what was there before still stands.
        DataError E206, E207: words are asked for, and the text is in a script that nothing here finds words in.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
    borders, text_bytes = array("q", [0]), array("q")
    digest = hashlib.blake2b(digest_size=16)
    finder = WordFinder() if words else None
    notes = Notes()
    try:
        with (part / "tokens.bin").open("wb") as file, (part / "words.bin").open("wb") as word_file:
            written = 0
            for ids, size, continues in _encoded(notes.taking(documents), tokenizer, finder):
                row = (ids if separator is None else np.concatenate(([separator], ids))).astype(dtype)
                if not len(row):
                    ledger.add("tokens", "documents without a token, dropped")
                    continue
                data = row.tobytes()
                file.write(data)
                if continues is not None:
                    word_file.write(bytes(len(row) - len(ids)) + continues.tobytes())
                digest.update(data)
                written += len(row)
                borders.append(written)
                text_bytes.append(size)
            if separator is not None and written:
                file.write(np.asarray([separator], dtype=dtype).tobytes())
                word_file.write(bytes(1))
        if finder is None:
            (part / "words.bin").unlink()
        else:
            finder.check()
        np.save(part / "borders.npy", np.frombuffer(borders, dtype=np.int64))
        np.save(part / "text_bytes.npy", np.frombuffer(text_bytes, dtype=np.int64) if len(text_bytes) else np.empty(0, np.int64))
        notes.finish().save(part)
        digest.update(np.frombuffer(borders, dtype=np.int64).tobytes())
        meta = {
            "format": FORMAT,
            "dtype": dtype.name,
            "token_bytes": (part / "tokens.bin").stat().st_size,
            "border_bytes": (part / "borders.npy").stat().st_size,
            "text_byte_bytes": (part / "text_bytes.npy").stat().st_size,
            "fingerprint": digest.hexdigest(),
            "ledger": ledger.to_json(),
        }
        if words:
            meta["word_bytes"] = (part / "words.bin").stat().st_size
        (part / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    except OSError as error:
        raise of_system(error, folder) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return TokenShards.open(folder)


def cached_shards(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    cache: Path,
    key: dict[str, Any],
    *,
    separator: int | None,
    ledger: Ledger,
    words: bool = False,
) -> TokenShards:
    """The shards for `key` in `cache`, written where they are not there yet; what was counted is in `ledger` either way.

    Args:
        key: all that decides the tokens besides the tokenizer: the corpus' fingerprint, the split, the cleaning.
        ledger: an empty one, which `documents` counts into as they are read.
        words: with the words of the text, as `write_shards` writes them.
    """
    full_key = {**key, "tokenizer": tokenizer.fingerprint(), "separator": separator, "format": FORMAT}
    if words:
        full_key["words"] = True
    name = hashlib.blake2b(json.dumps(full_key, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()
    folder = cache / name
    if (folder / "meta.json").exists():
        try:
            shards = TokenShards.open(folder)
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            ledger.merge(Ledger.from_json(meta["ledger"]))
            return shards
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
    return write_shards(documents, tokenizer, folder, separator=separator, ledger=ledger, words=words)


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, finder: WordFinder | None
) -> Iterator[tuple[np.ndarray, int, np.ndarray | None]]:
    """(tokens, UTF-8 bytes, whether each token goes on with a word) of each document.

    The next texts are read and cleaned while these are cut: cutting runs in the library's own threads, without Python's lock.
    One batch is cut and one read at a time; memory holds no more than these.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cut") as pool:
        before: Future[list[tuple[np.ndarray, int, np.ndarray | None]]] | None = None
        for texts in _batches(documents):
            after = pool.submit(_cut, texts, tokenizer, finder)
            if before is not None:
                yield from before.result()
            before = after
        if before is not None:
            yield from before.result()


def _batches(documents: Iterable[Document]) -> Iterator[list[str]]:
    """Texts, a few megabytes at a time."""
    texts: list[str] = []
    size = 0
    for document in documents:
        texts.append(document.text)
        size += len(document.text)
        if size >= BATCH_CHARS:
            yield texts
            texts, size = [], 0
    if texts:
        yield texts


def _cut(texts: list[str], tokenizer: Tokenizer, finder: WordFinder | None) -> list[tuple[np.ndarray, int, np.ndarray | None]]:
    sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    if finder is None:
        return [(np.asarray(ids, dtype=np.uint32), size, None) for ids, size in zip(tokenizer.encode_batch(texts), sizes, strict=True)]
    cut = []
    for text, size in zip(texts, sizes, strict=True):
        ids, offsets = tokenizer.encode_offsets(text)
        cut.append((np.asarray(ids, dtype=np.uint32), size, finder.continues(text, offsets)))
    return cut
