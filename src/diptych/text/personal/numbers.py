"""Numbers that papers, banks and offices give out, and the numbers of things that look like them."""

import re
from collections.abc import Iterator
from functools import cache

from diptych.text.personal.check_digits import (
    IBAN_LENGTHS,
    is_card,
    is_credit_code,
    is_iban,
    is_isbn,
    is_luhn,
    is_old_resident_id,
    is_resident_id,
)
from diptych.text.personal.search import EDGE, END, Finder, Recognizer, compact, said
from diptych.text.personal.spans import LIKELY, NAMED, USUAL, VALIDATED, Personal

_NO_DECIMAL = r"(?<![0-9][.,])"
_NEVER_ISSUED = ("078051120", "219099999", "123456789")
"""Social Security numbers that were printed in advertisements, and the one that everybody makes up."""


def _card_forms(lead: str = r"[0-9]") -> str:
    """Contiguous, in fours, 4-6-5 and 4-6-4 as American Express and Diners print them, or 6-13 as UnionPay does."""
    fours = rf"{lead}[0-9]{{3}}(?P<sep>[ -])[0-9]{{4}}(?P=sep)[0-9]{{4}}(?P=sep)[0-9]{{4}}(?:(?P=sep)[0-9]{{1,3}})?"
    return rf"(?:{lead}[0-9]{{11,18}}|{fours}|{lead}[0-9]{{3}}[ -][0-9]{{6}}[ -][0-9]{{4,5}}|{lead}[0-9]{{5}}[ -][0-9]{{10,13}})"


_CARD = re.compile(EDGE + _NO_DECIMAL + _card_forms() + END + r"(?![.,][0-9])")
_IBAN_HEAD = re.compile(EDGE + r"[A-Za-z]{2}[0-9]{2}(?=[ -]?[0-9A-Za-z])")


def find_cards(text: str, start: int, stop: int) -> Iterator[Personal]:
    """Bank cards: Luhn and a network's prefix; where the words before speak of a card, Luhn alone."""
    for match in _CARD.finditer(text, start, stop):
        number = compact(match.group())
        if len(set(number)) < 2 or not is_luhn(number):
            continue
        said_ = said(text, match.start())
        if said_ == "card":
            yield Personal(match.start(), match.end(), "bank_card", VALIDATED)
        elif said_ != "other" and len(number) >= 13 and is_card(number):
            yield Personal(match.start(), match.end(), "bank_card", USUAL if match["sep"] or said_ == "account" else LIKELY)


def find_ibans(text: str, start: int, stop: int) -> Iterator[Personal]:
    """Account numbers by ISO 13616, in one piece or in groups; the country says how long."""
    for match in _IBAN_HEAD.finditer(text, start, stop):
        length = IBAN_LENGTHS.get(match.group()[:2].upper())
        whole = length and _iban_of(length).match(text, match.start())
        if whole and is_iban(compact(whole.group())):
            yield Personal(whole.start(), whole.end(), "iban", VALIDATED)


@cache
def _iban_of(length: int) -> re.Pattern[str]:
    return re.compile(rf"[0-9A-Za-z](?:[ -]?[0-9A-Za-z]){{{length - 1}}}" + END)


def _is_ssn(number: str) -> bool:
    return number not in _NEVER_ISSUED


NUMBERS = [
    # Looking ahead takes nothing, so that a digit or two before the number do not hide it.
    Recognizer(
        "resident_id", re.compile(EDGE + r"(?=(?P<it>[1-9](?:[ -]?[0-9]){16}[ -]?[0-9Xx])" + END + ")"), VALIDATED, is_resident_id, 17
    ),
    Recognizer(
        "resident_id", re.compile(EDGE + r"[1-9][0-9]{14}" + END), LIKELY, is_old_resident_id, 15, named="identity", needs_name=True
    ),
    Recognizer("credit_code", re.compile(EDGE + r"[1-9A-GNY][1-9][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}" + END), VALIDATED, is_credit_code),
    Finder(find_cards, 12),
    Finder(find_ibans),
    Recognizer(
        "ssn",
        re.compile(r"(?<![0-9A-Za-z-])(?!000|666|9)[0-9]{3}(?P<sep>[ -])(?!00)[0-9]{2}(?P=sep)(?!0000)[0-9]{4}(?![0-9A-Za-z]|-[0-9])"),
        USUAL,
        _is_ssn,
        named="ssn",
        worth=lambda stretch: stretch.is_grouped,
    ),
    Recognizer(
        "ssn",
        re.compile(EDGE + r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}" + END),
        LIKELY,
        _is_ssn,
        named="ssn",
        needs_name=True,
    ),
]
"""What is looked for around stretches of digits."""

NOT_PERSONAL = [
    Recognizer(
        "isbn",
        re.compile(EDGE + r"97[89](?:[ -]?[0-9]){10}" + END),
        NAMED,
        is_isbn,
        9,
        is_kept=True,
        worth=lambda stretch: "97" in stretch.digits,
    ),
    Recognizer(
        "isbn",
        re.compile(r"(?i:isbn(?:-1[03])?[:： ]{0,2})(?P<it>[0-9](?:[ -]?[0-9]){8}[ -]?[0-9Xx])" + END),
        NAMED,
        is_isbn,
        10,
        is_kept=True,
        worth=lambda stretch: "isbn" in stretch.piece.lower(),
    ),
    Recognizer(
        "uuid",
        re.compile(EDGE + r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}" + END),
        VALIDATED,
        is_kept=True,
        worth=lambda stretch: stretch.piece.count("-") > 3,
    ),
    Recognizer(
        "time",
        re.compile(EDGE + r"(?:19|20)[0-9]{2}([-/.]?)[01][0-9]\1[0-3][0-9][ T]?[0-2][0-9](:?)[0-5][0-9]\2[0-5][0-9]"),
        USUAL,
        is_kept=True,
        worth=lambda stretch: "19" in stretch.digits or "20" in stretch.digits,
    ),
]
"""What validates as something else; nothing less certain inside it counts."""
