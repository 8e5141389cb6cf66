"""Personal data in texts: found, or taken out, with rules and a tagger of one's own beside what is built in.

What is personal and how it is told lives in `text/personal`; here the files that a user names become what that room needs.
"""

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.config import ScrubSettings
from diptych.errors import DataError
from diptych.installed import find_model
from diptych.ledger import Ledger
from diptych.messages import _
from diptych.text import personal
from diptych.text.personal import Mode, Personal, Rules, Scrubbing
from diptych.text.personal.spans import LIKELY

if TYPE_CHECKING:
    from diptych.model import Model

SECRET_BYTES = 16
PEOPLE = frozenset({"PER", "PERSON", "PERS", "NAME", "NR", "人名", "人"})
PLACES = frozenset({"LOC", "LOCATION", "GPE", "PLACE", "NS", "地名", "地点"})
"""What taggers call people and places, in upper case."""


def find_personal(
    text: str, kinds: Collection[str] | None = None, *, rules: str | Path | Rules | None = None, tagger: "str | Path | Model | None" = None
) -> list[Personal]:
    """What is personal in a text: each has `start`, `stop`, `kind` and `certainty`, in the order of the text, none over another.

    Args:
        kinds: which ones, or "all"; None for all but days and places.
        rules: a YAML file with rules of one's own.
        tagger: a model that tags people and places, or its folder.

    Raises:
        DataError E190, E191: a rule is no expression, or could take too long. E194: there is no such kind. E195: no tagger of people.
    """
    return personal.find_personal(text, kinds, rules=_rules(rules), tagger=None if tagger is None else _tagger(tagger))


def scrub(
    texts: str | Iterable[str],
    mode: Mode = "mask",
    *,
    kinds: Collection[str] | None = None,
    rules: str | Path | Rules | None = None,
    secret: bytes | str | None = None,
    groups: Iterable[str] | None = None,
    tagger: "str | Path | Model | None" = None,
    ledger: Ledger | None = None,
) -> Any:
    """A text, or several in a list, without what is personal.

    Args:
        mode: mask (the kind in its place), pseudonym (something of the same kind that is nobody's) or remove.
        secret: what pseudonyms follow from, at least 16 bytes; the same secret gives the same ones.
        groups: for each text, whose it is: the dates of one group move by as many days.
        ledger: counts each kind.

    Raises:
        DataError E193: pseudonyms without a secret; and all that `find_personal` raises.
    """
    key = secret.encode() if isinstance(secret, str) else secret or b""
    if mode == "pseudonym" and len(key) < SECRET_BYTES:
        raise DataError("E193", path="secret=")
    scrubbing = Scrubbing(mode, kinds, _rules(rules), None if tagger is None else _tagger(tagger), key)
    counts = ledger if ledger is not None else Ledger()
    if isinstance(texts, str):
        return personal.scrub_text(texts, scrubbing, counts, group=next(iter(groups or ()), ""))
    whose = iter(groups or ())
    return [personal.scrub_text(text, scrubbing, counts, group=str(next(whose, number))) for number, text in enumerate(texts)]


def scrubbing_of(settings: ScrubSettings, *, group: str | None = None) -> Scrubbing:
    """What a recipe's `clean.scrub` asks for, its files read.

    Raises:
        DataError E193: pseudonyms without a file that holds a secret; and all that `find_personal` raises.
    """
    secret = read_secret(settings.secret) if settings.mode == "pseudonym" else b""
    tagger = None if settings.tagger is None else _tagger(settings.tagger)
    return Scrubbing(settings.mode, settings.kinds, _rules(settings.rules), tagger, secret, group)


def read_secret(path: str | Path | None) -> bytes:
    """The secret in a file, without white space around it.

    Raises:
        DataError E193: there is no such file, or fewer than 16 bytes in it.
    """
    try:
        secret = Path(path).read_bytes().strip() if path is not None else b""
    except OSError:
        secret = b""
    if len(secret) < SECRET_BYTES:
        raise DataError("E193", path=path if path is not None else _("the command"))
    return secret


def recall_of(folder: str | Path) -> str:
    """What is known of a tagger's recall: as its own folder says, on the rows that were held out when it was trained."""
    try:
        kept = json.loads((find_model(folder) / "diptych" / "provenance.json").read_text(encoding="utf-8"))
        recall = next(score for system in kept["scores"].values() for name, score in system.items() if name == "recall")
        return _("the tagger found {recall:.1%} of what it should on its own test").format(recall=recall["value"])
    except (OSError, ValueError, KeyError, StopIteration, TypeError, AttributeError):
        return _("nothing says how much the tagger finds: evaluate it before you rely on it")


def _rules(rules: str | Path | Rules | None) -> Rules | None:
    return Rules.load(rules) if isinstance(rules, str | Path) else rules


def _tagger(tagger: "str | Path | Model") -> Callable[[str], list[Personal]]:
    """A model's answers as people and places.

    Raises:
        DataError E195: it tags neither.
    """
    # Here, since looking for numbers needs no torch.
    from diptych.model import Model
    from diptych.running import load_model

    model = tagger if isinstance(tagger, Model) else load_model(tagger)
    labels = _labels_of(model)
    kinds = {name: "name" if name.upper() in PEOPLE else "place" for name in labels if name.upper() in PEOPLE | PLACES}
    if not kinds:
        raise DataError("E195", folder=model.folder, labels=", ".join(labels) or "–")

    def find(text: str) -> list[Personal]:
        if not text.strip():
            return []
        (answer,) = model.predict([text])
        return [Personal(each.start, each.stop, kinds[each.label], LIKELY) for each in answer.spans if each.label in kinds]

    return find


def _labels_of(model: "Model") -> list[str]:
    """The kinds of stretches that a model tags; none where it is no tagger."""
    from diptych.tasks import task_of_net

    task = task_of_net(model.net)
    return sorted({tag.partition("-")[2] for tag in getattr(task, "tags", ()) if "-" in tag})
