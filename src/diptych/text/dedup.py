"""Documents once each: equal ones by fingerprint, nearly equal ones by MinHash (Broder 1997)."""

from collections.abc import Iterable, Iterator
from typing import Any

from diptych.errors import MachineError
from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.corpus import Document
from diptych.text.words import is_wide

STAGE = mark("duplicates")
SHINGLE_CHARS = 5
NUM_HASHES = 128


def deduplicate(documents: Iterable[Document], ledger: Ledger, *, near: bool = False, threshold: float = 0.8) -> Iterator[Document]:
    """Each document the first time it comes; memory grows by some hundred bytes a document, by a kilobyte with `near`.

    Args:
        near: drop those that share more than `threshold` of their shingles (words, or five characters of Chinese) as well.
    """
    seen: set[int] = set()
    nearly = _Near(threshold) if near else None
    for document in documents:
        key = document.fingerprint
        if key in seen:
            ledger.add(STAGE, "documents dropped because they occurred before", where=document.where)
            continue
        seen.add(key)
        if nearly is not None and nearly.has(document.text):
            ledger.add(STAGE, "documents dropped because they nearly equal an earlier one", where=document.where)
            continue
        yield document


class _Near:
    """Texts that were kept, found again by the bands of their MinHash."""

    def __init__(self, threshold: float) -> None:
        try:
            import rensa
        except ImportError:
            raise MachineError("E901", package="rensa", command="pip install rensa") from None
        self._rensa: Any = rensa
        self._index = self._rensa.RMinHashLSH(threshold=threshold, num_perm=NUM_HASHES, num_bands=16)
        self._hashes: dict[int, Any] = {}
        self._threshold = threshold

    def has(self, text: str) -> bool:
        """Whether a text like this was kept before; it is kept from now on where not."""
        minhash = self._rensa.RMinHash(num_perm=NUM_HASHES, seed=1)
        minhash.update(shingles(text))
        for candidate in self._index.query(minhash):
            if self._hashes[candidate].jaccard(minhash) >= self._threshold:
                return True
        number = len(self._hashes)
        self._hashes[number] = minhash
        self._index.insert(number, minhash)
        return False


def shingles(text: str) -> list[str]:
    """Three words in a row, or five characters where the script has no spaces."""
    folded = " ".join(text.split()).lower()
    wide = sum(map(is_wide, folded))
    if 2 * wide > len(folded):
        return [folded[i : i + SHINGLE_CHARS] for i in range(max(1, len(folded) - SHINGLE_CHARS + 1))]
    parts = folded.split(" ")
    return [" ".join(parts[i : i + 3]) for i in range(max(1, len(parts) - 2))]
