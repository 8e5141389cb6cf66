"""Another name for each name, the same each time, that nobody can turn back without the secret.

What is chosen follows from HMAC-SHA256 of kind and value under the secret (RFC 2104). Where the kind has a form, the pseudonym has
it too: a mobile number stays eleven digits, a card passes Luhn, a date is another date. And it can be nobody's: identity numbers
get a region that does not exist (99), mobiles begin with 100, e-mail ends in example.com (RFC 2606), addresses are of the ranges for
documentation (RFC 3849) and benchmarks (RFC 2544).
"""

import hashlib
import hmac
import re
from collections.abc import Callable

from diptych.text.personal.check_digits import credit_digit, iban_digits, id_digit, luhn_digit
from diptych.text.personal.dates import shifted
from diptych.text.personal.people import COMMON_SURNAMES, COMPOUND_SURNAMES, FIRST_NAMES, FIRST_TO_GIVE, GIVEN, LAST_TO_GIVE, SURNAMES
from diptych.text.personal.search import compact, folded
from diptych.text.words import is_wide

FURTHEST_DAYS = 365
"""Dates move by so many days at most, and by one at least."""


class Pseudonyms:
    """What stands for what, under one secret.

    Args:
        secret: at least 16 bytes; the same secret gives the same pseudonyms.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, kind: str, value: str, group: str = "") -> str:
        """What stands for `value`.

        Args:
            group: whose dates move together, such as one patient's; other kinds do not depend on it.
        """
        plain = folded(value)
        if kind in ("date", "birthday"):
            return shifted(plain, self.days(group))
        make = _MAKERS.get(kind)
        if make is not None:
            return make(_Draw(self._digest(kind, _key_of(kind, plain)), self), plain)
        return f"[{label(kind)}-{self._digest(kind, compact(plain)).hex()[:8]}]"

    def days(self, group: str) -> int:
        """By how many days the dates of a group move; never 0."""
        draw = int.from_bytes(self._digest("days", group)[:8], "big") % (2 * FURTHEST_DAYS)
        return draw - FURTHEST_DAYS + (draw >= FURTHEST_DAYS)

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._secret, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)


class _Draw:
    """Choices that follow from one digest, one after the other."""

    def __init__(self, digest: bytes, pseudonyms: Pseudonyms) -> None:
        self._state = int.from_bytes(digest, "big")
        self.pseudonyms = pseudonyms

    def below(self, count: int) -> int:
        self._state, choice = divmod(self._state, count)
        return choice

    def digits(self, count: int) -> str:
        return "".join(str(self.below(10)) for _ in range(count))


def label(kind: str) -> str:
    """What a mask says: RESIDENT_ID."""
    return kind.upper()


def _key_of(kind: str, value: str) -> str:
    """What makes two ways to write something the same: neither spaces nor hyphens, nor the country before a mobile number."""
    if kind == "mobile":
        return compact(value)[-11:]
    if kind in ("email", "name"):
        return value.lower()
    return compact(value)


def _like(value: str, signs: str) -> str:
    """`signs` with the separators of `value`, which has as many letters and digits."""
    rest = iter(signs)
    return "".join(next(rest, "") if sign.isalnum() else sign for sign in value)


def _same_form(draw: _Draw, value: str) -> str:
    """A digit for each digit and a letter for each letter; the first character and what is neither stay."""
    made = []
    for place, sign in enumerate(value):
        if sign.isdigit():
            made.append(str(draw.below(10)))
        elif sign.isascii() and sign.isalpha() and place:
            made.append(chr((65 if sign.isupper() else 97) + draw.below(26)))
        else:
            made.append(sign)
    return "".join(made)


def _resident_id(draw: _Draw, value: str) -> str:
    birth = f"{1950 + draw.below(55)}{1 + draw.below(12):02d}{1 + draw.below(28):02d}"
    first = "99" + draw.digits(4) + birth + draw.digits(3)
    return _like(value, first + id_digit(first) if len(compact(value)) == 18 else (first[:6] + birth[2:] + draw.digits(3)))


def _mobile(draw: _Draw, value: str) -> str:
    before = len(compact(value)) - 11
    return _like(value, compact(value)[:before] + "100" + draw.digits(8))


def _phone(draw: _Draw, value: str) -> str:
    """Its first digit stays, so that a number at home stays one; a North American exchange becomes 555, which rings nowhere."""
    made = _same_form(draw, value)
    if north_american := re.fullmatch(r"(.*?[0-9]{3}\D{1,2})[0-9]{3}(\D)([0-9]{4}.*)", made):
        made = f"{north_american[1]}555{north_american[2]}01{north_american[3][2:]}"
    return made


def _card(draw: _Draw, value: str) -> str:
    first = "99" + draw.digits(len(compact(value)) - 3)
    return _like(value, first + luhn_digit(first))


def _credit_code(draw: _Draw, value: str) -> str:
    first = compact(value)[:2] + "99" + draw.digits(13)
    return first + credit_digit(first)


def _iban(draw: _Draw, value: str) -> str:
    number = compact(value)
    account = "".join("X" if sign.isalpha() else str(draw.below(10)) for sign in number[4:])
    return _like(value, number[:2] + iban_digits(number[:2], account) + account)


def _ssn(draw: _Draw, value: str) -> str:
    return _like(value, "9" + draw.digits(8))


def _email(draw: _Draw, value: str) -> str:
    return f"user{draw.below(16**8):08x}@example.com"


def _ip_address(draw: _Draw, value: str) -> str:
    if ":" in value:
        return f"2001:db8::{draw.below(65535) + 1:x}:{draw.below(65535) + 1:x}"
    return f"198.{18 + draw.below(2)}.{draw.below(256)}.{1 + draw.below(254)}"


def _name(draw: _Draw, value: str) -> str:
    if is_wide(value[0]):
        return _chinese_name(draw, value)
    # Word by word, so that Anna Smith and Ms. Smith stay one person.
    return re.sub(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", lambda word: _english_word(draw.pseudonyms, word.group()), value)


def _chinese_name(draw: _Draw, value: str) -> str:
    """As many characters, the surname by the surname alone: 王先生 and 王小明 keep one."""
    length = 2 if value[:2] in COMPOUND_SURNAMES or (value[0] not in SURNAMES and len(value) > 3) else 1
    own = _Draw(draw.pseudonyms._digest("surname", value[:length]), draw.pseudonyms)
    surnames = COMPOUND_SURNAMES if length == 2 else COMMON_SURNAMES
    return surnames[own.below(len(surnames))] + "".join(GIVEN[draw.below(len(GIVEN))] for _ in value[length:])


def _english_word(pseudonyms: Pseudonyms, word: str) -> str:
    if word.islower():
        return word
    own = _Draw(pseudonyms._digest("word of a name", word.lower()), pseudonyms)
    if len(word) == 1:
        return chr(65 + own.below(26))
    listed = FIRST_TO_GIVE if word.lower() in FIRST_NAMES else LAST_TO_GIVE
    made = listed[own.below(len(listed))]
    return made.upper() if word.isupper() else made


def _plate(draw: _Draw, value: str) -> str:
    """The province stays; a letter that no place has follows it."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    kept = value[:1]
    rest = "".join(
        str(draw.below(10)) if sign.isdigit() else letters[draw.below(24)] if sign.isascii() and sign.isalpha() else sign
        for sign in value[1:]
    )
    return kept + rest


_MAKERS: dict[str, Callable[[_Draw, str], str]] = {
    "resident_id": _resident_id,
    "mobile": _mobile,
    "phone": _phone,
    "bank_card": _card,
    "credit_code": _credit_code,
    "iban": _iban,
    "ssn": _ssn,
    "email": _email,
    "ip_address": _ip_address,
    "name": _name,
    "plate": _plate,
    **dict.fromkeys(("passport", "licence", "medical_record", "insurance", "bank_account", "qq", "wechat"), _same_form),
}
