"""Taking what is personal out of texts: a mask, a pseudonym or nothing in its place, and a count of each kind."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from diptych.ledger import Ledger
from diptych.messages import mark
from diptych.text.corpus import Document
from diptych.text.personal.find import KINDS, Tagger, find_personal, known_kinds
from diptych.text.personal.pseudonyms import Pseudonyms, label
from diptych.text.personal.rules import Rules

STAGE = mark("personal data")
Mode = Literal["mask", "pseudonym", "remove"]
COUNTED = {
    "resident_id": mark("resident identity numbers"),
    "credit_code": mark("unified social credit codes"),
    "bank_card": mark("bank cards"),
    "iban": mark("IBANs"),
    "ssn": mark("Social Security numbers"),
    "mobile": mark("mobile numbers"),
    "phone": mark("telephone numbers"),
    "ip_address": mark("IP addresses"),
    "email": mark("e-mail addresses"),
    "url_secret": mark("secrets in URLs"),
    "key": mark("keys"),
    "password": mark("passwords"),
    "medical_record": mark("medical record numbers"),
    "insurance": mark("insurance numbers"),
    "passport": mark("passport numbers"),
    "licence": mark("driving licences"),
    "bank_account": mark("bank accounts"),
    "qq": mark("QQ numbers"),
    "wechat": mark("WeChat names"),
    "plate": mark("number plates"),
    "address": mark("addresses"),
    "name": mark("names of people"),
    "birthday": mark("birthdays"),
    "date": mark("dates"),
    "place": mark("places"),
}
"""kind -> what the ledger calls it; a kind of the user's own is called what they call it."""


@dataclass(frozen=True)
class Scrubbing:
    """What is taken out, and what stands in its place.

    Args:
        kinds: which ones; None for all but days and places.
        secret: what pseudonyms follow from; needed for them alone.
        group: the field of a document whose dates move together; without one, or where it is empty, each document is its own group.
    """

    mode: Mode = "mask"
    kinds: Collection[str] | None = None
    rules: Rules | None = None
    tagger: Tagger | None = None
    secret: bytes = b""
    group: str | None = None

    def __post_init__(self) -> None:
        known_kinds(self.kinds)
        assert self.secret or self.mode != "pseudonym", "pseudonyms follow from a secret"

    def fingerprint(self) -> str:
        """The same where the same text comes out of the same text; it says nothing about the secret."""
        what = repr(
            (self.mode, sorted(known_kinds(self.kinds)), self.rules.text if self.rules else "", self.group, self.tagger is not None)
        )
        return hashlib.blake2b(what.encode("utf-8", "surrogatepass"), key=hashlib.sha256(self.secret).digest(), digest_size=16).hexdigest()


def scrub_text(text: str, scrubbing: Scrubbing, ledger: Ledger, where: str | None = None, group: str = "") -> str:
    """`text` without what is personal; the ledger counts each kind.

    Args:
        group: whose dates move together.
    """
    found = find_personal(text, scrubbing.kinds, rules=scrubbing.rules, tagger=scrubbing.tagger)
    if not found:
        return text
    pseudonyms = Pseudonyms(scrubbing.secret)
    pieces, done = [], 0
    for each in found:
        ledger.add(STAGE, COUNTED.get(each.kind, each.kind), where=where)
        start, stop = each.start, each.stop
        instead = ""
        if scrubbing.mode == "mask":
            instead = f"[{label(each.kind)}]"
        elif scrubbing.mode == "pseudonym":
            instead = pseudonyms.of(each.kind, text[start:stop], group)
        elif text[max(0, start - 1) : start] == " " and text[stop : stop + 1] in ("", " ", "\n"):
            # Of the two spaces around nothing one is left.
            start = max(done, start - 1)
        pieces += (text[done:start], instead)
        done = stop
    return "".join((*pieces, text[done:]))


def scrub(documents: Iterable[Document], scrubbing: Scrubbing, ledger: Ledger) -> Iterator[Document]:
    """Each document without what is personal in its text."""
    for document in documents:
        own = document.fields.get(scrubbing.group) if scrubbing.group else None
        text = scrub_text(document.text, scrubbing, ledger, document.where, str(own) if own not in (None, "") else document.where)
        yield document if text == document.text else Document(text, document.where, document.fields)


assert COUNTED.keys() == KINDS.keys()
