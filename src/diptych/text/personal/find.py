"""Everything personal in a text, by all recognizers: where it stands, of which kind, how sure that is."""

from collections.abc import Callable, Collection, Iterable, Iterator

from diptych.config import nearest
from diptych.errors import DataError
from diptych.text.personal.addresses import find_addresses_of_people
from diptych.text.personal.dates import find_dates
from diptych.text.personal.named import find_named, find_plates
from diptych.text.personal.names import find_names, find_places
from diptych.text.personal.numbers import NOT_PERSONAL, NUMBERS
from diptych.text.personal.online import find_emails, find_ipv4, find_ipv6, find_keys, find_passwords, find_url_secrets, plain_signs
from diptych.text.personal.phones import PHONES
from diptych.text.personal.rules import Rules
from diptych.text.personal.search import folded, numbers
from diptych.text.personal.spans import Personal, resolve

KINDS = {
    "resident_id": "numbers",
    "credit_code": "numbers",
    "bank_card": "numbers",
    "iban": "numbers",
    "ssn": "numbers",
    "mobile": "numbers",
    "phone": "numbers",
    "ip_address": "signs",
    "email": "signs",
    "url_secret": "signs",
    "key": "signs",
    "medical_record": "words",
    "insurance": "words",
    "passport": "words",
    "licence": "words",
    "bank_account": "words",
    "qq": "words",
    "wechat": "words",
    "password": "words",
    "plate": "words",
    "address": "words",
    "name": "words",
    "birthday": "words",
    "date": "words",
    "place": "words",
}
"""What is known, and by what it is told: its own digits or form, a sign, or the words around it."""
USUAL_KINDS = frozenset(KINDS) - {"date", "place"}
"""What is looked for unless something else is named: days and places alone name nobody, and history is full of them."""
CHECKED = frozenset(
    {"resident_id", "credit_code", "bank_card", "iban", "ssn", "mobile", "phone", "ip_address", "email", "url_secret", "key"}
)
"""The kinds that are told by their own characters."""
_RECOGNIZERS = (*NUMBERS, *PHONES, *NOT_PERSONAL)
_IN_LOWER_CASE = frozenset(
    {"medical_record", "insurance", "passport", "licence", "bank_account", "qq", "wechat", "plate", "password", "address"}
)
"""Whose words are looked for in whatever case they are written."""
Tagger = Callable[[str], Iterable[Personal]]
"""What finds people and places in a text by having learnt to."""


def find_personal(
    text: str, kinds: Collection[str] | None = None, *, rules: Rules | None = None, tagger: Tagger | None = None
) -> list[Personal]:
    """What is personal in `text`, in its order and without overlaps; `text[each.start:each.stop]` is each.

    Full-width digits and letters count as plain ones; offsets are those of the text as it was given.

    Args:
        kinds: which ones (`KINDS`); None for all but days and places.
        rules: the user's own beside them.
        tagger: finds names and places by a model, beside the rules.

    Raises:
        DataError E194: there is no such kind. E192: a rule of the user's takes too long on this text.
    """
    wanted = known_kinds(kinds)
    found = [each for each in _all(folded(text), wanted) if each.is_kept or each.kind in wanted]
    if tagger is not None:
        found += [each for each in tagger(text) if each.kind in wanted]
    if rules is not None:
        found += rules.find(text)
    return resolve(found)


def known_kinds(kinds: Collection[str] | None) -> frozenset[str]:
    """The kinds that are named; "all" is all of them.

    Raises:
        DataError E194: there is no such kind.
    """
    if kinds is None:
        return USUAL_KINDS
    wanted: set[str] = set()
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind != "all" and kind not in KINDS:
            raise DataError("E194", kind=kind, hint=nearest(kind, KINDS))
        wanted |= set(KINDS) if kind == "all" else {kind}
    return frozenset(wanted)


def _all(text: str, wanted: frozenset[str]) -> Iterator[Personal]:
    if wanted & {kind for kind, by in KINDS.items() if by == "numbers"}:
        for stretch in numbers(text):
            for recognizer in _RECOGNIZERS:
                if stretch.longest >= recognizer.fewest:
                    yield from recognizer(text, stretch)
    plain = plain_signs(text)
    if "ip_address" in wanted:
        yield from find_ipv4(text, plain)
        yield from find_ipv6(text)
    if "email" in wanted:
        yield from find_emails(text)
    if "url_secret" in wanted:
        yield from find_url_secrets(text)
    if "key" in wanted:
        yield from find_keys(text, plain)
    if wanted & {"birthday", "date"}:
        yield from find_dates(text)
    if "name" in wanted:
        yield from find_names(text)
    if "place" in wanted:
        yield from find_places(text)
    if wanted & _IN_LOWER_CASE:
        lowered = _lower(text)
        for finder in (find_named, find_plates, find_passwords, find_addresses_of_people):
            yield from finder(text, lowered)


def _lower(text: str) -> str:
    """`text` in lower case, of the same length: a few letters would become two."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(sign if len(sign.lower()) != 1 else sign.lower() for sign in text)
