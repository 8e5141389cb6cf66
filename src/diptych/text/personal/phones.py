"""Telephone numbers: Chinese mobiles and landlines, North America's, any with a country's code, and others where words say so."""

import re

from diptych.text.personal.search import EDGE, END, Recognizer
from diptych.text.personal.spans import LIKELY, USUAL

_COUNTRY = r"(?:(?:\+|00)?86[- ]?|\(\+?86\) ?)?"
_MOBILE = r"1(?:3[0-9]|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])"
_NO_DECIMAL = r"(?<![0-9][.,])"
_WHOLE = END + r"(?![.,-][0-9])"
_EXTENSION = r"(?:(?: ?(?:x|ext\.? ?|转|#)| ?- ?)[0-9]{1,6})?"
_AREA = r"0(?:10|2[0-9]|[3-9][0-9]{2})"


def _is_number_of_a_place(number: str) -> bool:
    """Not eight digits that are a day (20240506), and not one digit over and over."""
    return len(set(number)) > 2 and not re.fullmatch(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])", number)


def _has_a_country(number: str) -> bool:
    return 8 <= len(number) <= 15


PHONES = [
    Recognizer(
        "mobile",
        re.compile(EDGE + _NO_DECIMAL + _COUNTRY + _MOBILE + r"(?:[0-9]{8}|(?P<sep>[- .])[0-9]{4}(?P=sep)[0-9]{4})" + _WHOLE),
        USUAL,
        named="phone",
    ),
    Recognizer(
        "mobile",
        re.compile(EDGE + _NO_DECIMAL + _COUNTRY + _MOBILE + r"[0-9]?[- ][0-9]{3,4}[- ]?[0-9]{4,5}" + _WHOLE),
        LIKELY,
        lambda number: len(number.removeprefix("00").removeprefix("86")) == 11,
        named="phone",
        worth=lambda stretch: stretch.is_grouped,
    ),
    Recognizer(
        "phone",
        re.compile(rf"{EDGE}{_COUNTRY}(?:{_AREA}[- ]?|\({_AREA}\) ?)[2-9][0-9]{{2,3}}[- ]?[0-9]{{4}}{_EXTENSION}" + END),
        USUAL,
        named="phone",
    ),
    Recognizer(
        "phone",
        re.compile(
            rf"(?<![0-9A-Za-z.-])(?:(?:\+|00)?1[-. ]?)?(?:\([2-9][0-9]{{2}}\)[-. ]?"
            rf"|[2-9][0-9]{{2}}(?P<sep>[-. ]))[0-9]{{3}}[-. ][0-9]{{4}}{_EXTENSION}" + END
        ),
        USUAL,
        named="phone",
        worth=lambda stretch: stretch.is_grouped,
    ),
    Recognizer(
        "phone",
        re.compile(r"(?<![0-9A-Za-z+])\+[1-9](?:[ .()-]{0,2}[0-9]){7,14}" + _EXTENSION + END),
        USUAL,
        _has_a_country,
        named="phone",
        worth=lambda stretch: "+" in stretch.piece,
    ),
    Recognizer(
        "phone",
        re.compile(r"(?<![0-9A-Za-z])\([0-9]{2,4}\) ?[0-9]{3,4}[- ][0-9]{3,4}" + _WHOLE),
        LIKELY,
        _is_number_of_a_place,
        named="phone",
        worth=lambda stretch: "(" in stretch.piece,
    ),
    # Groups of digits that begin with a zero, as most countries write a number at home.
    Recognizer(
        "phone",
        re.compile(r"(?<![0-9A-Za-z./:-])0[1-9][0-9]{0,3}(?P<sep>[ .-])[0-9]{2,8}(?:(?P=sep)[0-9]{2,4}){0,3}" + _WHOLE),
        LIKELY,
        lambda number: 9 <= len(number) <= 11 and _is_number_of_a_place(number),
        named="phone",
        worth=lambda stretch: stretch.is_grouped,
    ),
    Recognizer(
        "phone", re.compile(EDGE + r"[0-9]{2}(?:[- ][0-9]{2}){3,4}" + _WHOLE), LIKELY, _is_number_of_a_place, named="phone", needs_name=True
    ),
    Recognizer(
        "phone",
        re.compile(r"(?<![0-9A-Za-z./:-])(?:\([0-9]{2,4}\) ?)?[0-9]{2,12}(?:[ .-][0-9]{2,6}){0,4}" + _EXTENSION + _WHOLE),
        LIKELY,
        lambda number: 7 <= len(number) <= 15 and _is_number_of_a_place(number),
        named="phone",
        needs_name=True,
    ),
]
