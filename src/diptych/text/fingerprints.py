"""Which documents a model learnt from, in 72 bytes each: enough to recognize one, and not enough to write it.

A document that is asked about is found exactly, by 64 bits of its text as people see it (`corpus.fingerprint`), or nearly, by a sketch of
its runs of characters: one permutation hashing (Li, Owen and Zhang 2012), a byte a bin (Li and König 2010), which estimates how much of
what two texts consist of they share.

Whoever has the list can ask of any text whether it was learnt from. That is what it is for, and why a run under a regime that
promises the contrary keeps none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from diptych.errors import DataError, of_system
from diptych.text.corpus import Document, fingerprint

FILE = "fingerprints.safetensors"
RUN = 6
"""Characters of what a text is compared by; in Chinese some three words, in English one."""
BINS = 64
NEAR = 0.5
"""An estimate this high is called near; by 64 bins its standard error is at most 0.07."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Seen:
    """What is known of a document that was asked about."""

    is_exact: bool
    similarity: float
    """How much of all that it and the nearest document consist of is in both, estimated; 1 where it is exact."""

    @property
    def is_near(self) -> bool:
        return self.similarity >= NEAR


@dataclass
class Fingerprints:
    """The documents of a training: `prints_N` uint64 in their order, `sketches_NB` uint8 beside them."""

    prints_N: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    sketches_NB: np.ndarray = field(default_factory=lambda: np.empty((0, BINS), np.uint8))

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Fingerprints":
        """Those of some texts, each once."""
        notes = Notes()
        for text in texts:
            notes.add(text)
        return notes.finish()

    def __len__(self) -> int:
        return len(self.prints_N)

    def find(self, text: str) -> Seen:
        """Whether this text is one of them, and how near the nearest is."""
        print_ = np.uint64(fingerprint(text))
        place = int(np.searchsorted(self.prints_N, print_))
        if place < len(self) and self.prints_N[place] == print_:
            return Seen(True, 1.0)
        if not len(self):
            return Seen(False, 0.0)
        sketch_B = _sketch(text)
        asked_NB = (self.sketches_NB > 0) | (sketch_B > 0)
        alike_N = ((self.sketches_NB == sketch_B) & asked_NB).sum(1)
        # One of 255 values is the same by chance.
        shares = (alike_N / np.maximum(1, asked_NB.sum(1)) - 1 / 255) / (1 - 1 / 255)
        return Seen(False, float(np.clip(shares.max(), 0, 1)))

    def save(self, folder: Path) -> None:
        """Write them to a file in `folder`.

        Raises:
            MachineError E902, E904: it cannot be written.
        """
        try:
            save_file({"prints": self.prints_N, "sketches": self.sketches_NB}, folder / FILE)
        except (OSError, SafetensorError) as error:
            raise of_system(error if isinstance(error, OSError) else OSError(str(error)), folder / FILE) from None

    @classmethod
    def load(cls, folder: Path) -> "Fingerprints | None":
        """Those that lie in `folder`; None where there are none.

        Raises:
            DataError E197: the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            found = load_file(path)
            prints_N, sketches_NB = found["prints"], found["sketches"]
        except (OSError, SafetensorError, KeyError):
            raise DataError("E197", path=path) from None
        is_right = prints_N.dtype == np.uint64 and sketches_NB.dtype == np.uint8 and sketches_NB.shape == (len(prints_N), BINS)
        if not is_right or (prints_N[1:] <= prints_N[:-1]).any():
            raise DataError("E197", path=path)
        return cls(prints_N, sketches_NB)


class Notes:
    """Fingerprints while they are taken, document by document."""

    def __init__(self) -> None:
        self._found: dict[int, bytes] = {}

    def add(self, text: str) -> None:
        key = fingerprint(text)
        if key not in self._found:
            self._found[key] = _sketch(text).tobytes()

    def taking(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents, noted as they pass."""
        for document in documents:
            self.add(document.text)
            yield document

    def finish(self) -> Fingerprints:
        ordered = sorted(self._found.items())
        sketches = np.frombuffer(b"".join(sketch for _key, sketch in ordered), np.uint8).reshape(-1, BINS)
        return Fingerprints(np.array([key for key, _sketch in ordered], np.uint64), sketches)


def _sketch(text: str) -> np.ndarray:
    """uint8 [BINS]: of each bin of hashed runs of characters the smallest, as a byte; 0 where the bin is empty."""
    folded = " ".join(text.lower().split())
    signs_C = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    if not len(signs_C):
        return np.zeros(BINS, np.uint8)
    if len(signs_C) < RUN:
        signs_C = np.concatenate([signs_C, np.zeros(RUN - len(signs_C), np.uint64)])
    size = len(signs_C) - RUN + 1
    hashes_R = np.zeros(size, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(RUN):
            hashes_R = (hashes_R ^ signs_C[offset : offset + size]) * _ODD
            hashes_R ^= hashes_R >> np.uint64(29)
        hashes_R *= np.uint64(0xBF58476D1CE4E5B9)
        hashes_R ^= hashes_R >> np.uint64(32)
    most = np.iinfo(np.uint64).max
    smallest_B = np.full(BINS, most, np.uint64)
    np.minimum.at(smallest_B, (hashes_R >> np.uint64(58)).astype(np.int64), hashes_R)
    # The byte is taken from bits that neither the bin nor the order among small hashes has fixed.
    return np.where(smallest_B == most, 0, smallest_B % np.uint64(255) + np.uint64(1)).astype(np.uint8)
