"""Digits that check other digits: what tells a number of a kind from any other number of its length.

Each function takes the number compact (no spaces or hyphens, upper case, ASCII) and returns whether it checks; those called
`…_digit` return the digit that would.
"""

from datetime import date
from string import ascii_uppercase, digits

ID_WEIGHTS = tuple(pow(2, 17 - place, 11) for place in range(17))
"""GB 11643-1999, by ISO 7064 MOD 11-2."""
_PROVINCES = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91"
PROVINCES = frozenset(map(int, _PROVINCES.split()))
"""GB/T 2260, the first two digits; 83 is Taiwan's residence permit and 91 a foreigner's."""
CREDIT_SIGNS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""GB 32100-2015: no I, O, S, V, Z."""
_COUNTRIES_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
IBAN_LENGTHS = {country: length for length, countries in _COUNTRIES_BY_LENGTH.items() for country in countries.split()}
"""ISO 13616: how long an IBAN of a country is."""
_LONGEST_CARD = 19
_VALUES = {sign: value for value, sign in enumerate(digits + ascii_uppercase)}


def is_luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    return number.isascii() and number.isdigit() and luhn_sum(number) % 10 == 0


def luhn_sum(number: str) -> int:
    """The sum of the digits, every second one from the right doubled."""
    values = [int(sign) for sign in reversed(number)]
    return sum(values[::2]) + sum(2 * value - 9 * (value > 4) for value in values[1::2])


def luhn_digit(number: str) -> str:
    """The digit that completes a number."""
    return str(-luhn_sum(number + "0") % 10)


def is_card(number: str) -> bool:
    """Whether a number has the length and the beginning of some network's cards, and checks.

    Visa, Mastercard, UnionPay (62, and 9558 and others of old), American Express, Diners, Discover, JCB, Maestro.
    """
    length, two, four = len(number), int(number[:2]), int(number[:4])
    if not 12 <= length <= _LONGEST_CARD:
        return False
    known = (
        (number[0] == "4" and length in (13, 16, 19))
        or (length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (two == 62 and 16 <= length <= 19)
        or (four in (9558, 6858, 9111, 9400, 9843) and length in (16, 18, 19))
        or (length == 15 and (two in (34, 37) or four in (1800, 2131)))
        or (length == 14 and (two in (36, 38, 39) or 300 <= four // 10 <= 305))
        or (16 <= length <= 19 and (four == 6011 or two in (64, 65, 35, 60)))
        or (two in (50, 56, 57, 58) or number[0] == "6")
    )
    return known and is_luhn(number)


def is_resident_id(number: str) -> bool:
    """A Chinese resident identity number of 18 places: province, date of birth and check digit."""
    return number[:17].isdigit() and number[17] == id_digit(number) and int(number[:2]) in PROVINCES and _is_birth(number[6:14])


def is_old_resident_id(number: str) -> bool:
    """One of 15 digits, as issued before 1999: nothing checks it but province and date."""
    return number.isdigit() and int(number[:2]) in PROVINCES and _is_birth("19" + number[6:12])


def id_digit(number: str) -> str:
    """The last place of a resident identity number, by its first seventeen."""
    return "10X98765432"[sum(int(sign) * weight for sign, weight in zip(number[:17], ID_WEIGHTS)) % 11]


def is_credit_code(code: str) -> bool:
    """A unified social credit code: its region, and its last place by the others."""
    return int(code[2:4]) in PROVINCES | {10} and code[17] == credit_digit(code)


def credit_digit(code: str) -> str:
    """The last place of a unified social credit code, by its first seventeen: ISO 7064 MOD 31-3."""
    return CREDIT_SIGNS[-sum(CREDIT_SIGNS.index(sign) * pow(3, place, 31) for place, sign in enumerate(code[:17])) % 31]


def is_iban(code: str) -> bool:
    """ISO 13616: the length of its country, and 1 modulo 97."""
    return len(code) == IBAN_LENGTHS.get(code[:2]) and _mod_97(code[4:] + code[:4]) == 1


def iban_digits(country: str, account: str) -> str:
    """The two check digits of an account's IBAN."""
    return f"{98 - _mod_97(account + country + '00'):02d}"


def is_isbn(number: str) -> bool:
    """ISBN-10 or ISBN-13."""
    if len(number) == 13:
        return number[:3] in ("978", "979") and sum(int(sign) * (1, 3)[place % 2] for place, sign in enumerate(number)) % 10 == 0
    return len(number) == 10 and sum((10 - place) * (10 if sign == "X" else int(sign)) for place, sign in enumerate(number)) % 11 == 0


def is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _is_birth(compact: str) -> bool:
    """Whether yyyymmdd is a day on which somebody in the papers may have been born."""
    year, month, day = int(compact[:4]), int(compact[4:6]), int(compact[6:])
    return year >= 1850 and is_date(year, month, day) and date(year, month, day) <= date.today()


def _mod_97(text: str) -> int:
    return int("".join(str(_VALUES[sign]) for sign in text)) % 97
