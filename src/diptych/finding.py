"""Whether a document was in what a model learnt from, by the fingerprints that its folder keeps."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.config import read_yaml
from diptych.errors import DataError, DiptychError
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.recipe import PARTS, build
from diptych.tasks import PRETRAINING
from diptych.text.corpus import Document
from diptych.text.fingerprints import Fingerprints, Seen
from diptych.tokenizing import tidy

INNER = "diptych"


@dataclass(frozen=True)
class Found:
    """What is known of one document: whether it was learnt from, in this model's own training or in that of a model it comes from."""

    seen: Seen
    folder: str
    """Whose training it was in, or came nearest to."""

    def to_json(self) -> dict[str, Any]:
        return {"exact": self.seen.is_exact, "similarity": round(self.seen.similarity, 3), "folder": self.folder}

    def __str__(self) -> str:
        if self.seen.is_exact:
            return _("yes: {folder} was trained on this document").format(folder=self.folder)
        if self.seen.is_near:
            text = _("nearly: {folder} was trained on a document that shares about {share:.0%} with it")
            return text.format(folder=self.folder, share=self.seen.similarity)
        return _("no: neither this document nor one like it")


def find_in_training(model: str | Path, texts: str | Iterable[str]) -> Any:
    """Whether a text, or each of several, was a document of a model's training.

    A text is cleaned as the training text was, and compared as a whole: a sentence of a document is not the document. The models that
    it was trained on from are asked as well, where their folders are still where they were.

    Args:
        model: its folder.

    Returns:
        A `Found`, or a list of them.

    Raises:
        DataError E196: the folder keeps no fingerprints. E197: they are damaged.
    """
    lineage = list(_lineage(Path(model)))
    if isinstance(texts, str):
        return _find(texts, lineage)
    return [_find(text, lineage) for text in texts]


def _find(text: str, lineage: list[tuple[Path, Fingerprints, Any]]) -> Found:
    found = [Found(prints.find(_cleaned(text, recipe)), str(folder)) for folder, prints, recipe in lineage]
    return max(found, key=lambda each: (each.seen.is_exact, each.seen.similarity))


def _lineage(folder: Path) -> Iterator[tuple[Path, Fingerprints, Any]]:
    """The folder and those that it was trained on from, with their fingerprints and recipes; the first has to have some."""
    prints = Fingerprints.load(folder / INNER)
    if prints is None:
        raise DataError("E196", path=folder)
    asked: set[Path] = set()
    here: Path | None = folder
    while here is not None and here.resolve() not in asked:
        asked.add(here.resolve())
        if prints is not None:
            yield here, prints, _recipe(here)
        here = _parent(here)
        prints = None if here is None else Fingerprints.load(here / INNER)


def _recipe(folder: Path) -> Any:
    """The recipe that a folder was made by; None where it is none of today's."""
    try:
        data = read_yaml(folder / INNER / "recipe.yaml")
        return build({part: data[part] for part in PARTS if part in data})
    except DiptychError:
        return None


def _parent(folder: Path) -> Path | None:
    try:
        named = json.loads((folder / INNER / "provenance.json").read_text(encoding="utf-8")).get("parent")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else None


def _cleaned(text: str, recipe: Any) -> str:
    if recipe is None or recipe.task.name not in PRETRAINING:
        return text
    asked: Any = [Document(text, "", {})]
    return "\n".join(document.text for document in tidy(asked, recipe, Ledger()))
