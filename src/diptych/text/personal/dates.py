"""Days, as they are written in Chinese and English, and birthdays among them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from diptych.text.personal.check_digits import is_date
from diptych.text.personal.search import said
from diptych.text.personal.spans import NAMED, USUAL, Personal

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]}|\\.)?" if len(name) > 3 else name for name in MONTHS)
_FORMS = [
    re.compile(
        r"(?<![0-9A-Za-z./-])(?P<y>(?:1[89]|20)[0-9]{2})(?P<s>[-/.])(?P<m>[0-9]{1,2})(?P=s)(?P<d>[0-9]{1,2})(?![0-9/-]|\.[0-9]|[A-SU-Za-z])"
    ),
    re.compile(r"(?<![0-9])(?P<y>(?:1[89]|20)[0-9]{2})[ ]?年[ ]?(?P<m>[0-9]{1,2})[ ]?月[ ]?(?P<d>[0-9]{1,2})[ ]?[日号]"),
    re.compile(
        r"(?<![0-9A-Za-z./-])(?P<a>[0-9]{1,2})(?P<s>[-/.])(?P<b>[0-9]{1,2})(?P=s)(?P<y>(?:1[89]|20)[0-9]{2})(?![0-9A-Za-z/-]|\.[0-9])"
    ),
    re.compile(
        rf"(?<![0-9A-Za-z])(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<name>{_MONTH}),? (?P<y>(?:1[89]|20)[0-9]{{2}})(?![0-9A-Za-z])"
    ),
    re.compile(rf"(?<![0-9A-Za-z])(?P<name>{_MONTH}) (?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?,? (?P<y>(?:1[89]|20)[0-9]{{2}})(?![0-9A-Za-z])"),
]


@dataclass(frozen=True)
class Written:
    """A day and where in the text its parts stand."""

    day: date
    parts: dict[str, tuple[int, int]]
    """year, month, day -> where each is written."""


def find_dates(text: str) -> Iterator[Personal]:
    """Whole dates; those that words before call a birth are `birthday`."""
    for form in _FORMS:
        for match in form.finditer(text):
            if _read(match) is not None:
                is_birth = said(text, match.start()) == "birth" or text.startswith(("出生", "生"), match.end())
                yield Personal(match.start(), match.end(), "birthday" if is_birth else "date", NAMED if is_birth else USUAL)


def shifted(text: str, days: int) -> str:
    """A date, so many days later and written the same way; the earliest and latest years that there are stay.

    `text` is what `find_dates` found; what is none comes back as it is.
    """
    for form in _FORMS:
        match = form.fullmatch(text)
        written = match and _read(match)
        if not written:
            continue
        try:
            moved = written.day + timedelta(days)
        except OverflowError:
            return text
        values = {"year": f"{moved.year:04d}", "month": str(moved.month), "day": str(moved.day)}
        for part, (start, stop) in sorted(written.parts.items(), key=lambda item: -item[1][0]):
            old = text[start:stop]
            new = values[part].zfill(2) if old.startswith("0") or (len(old) == 2 and old.isdigit()) else values[part]
            if part == "month" and not old.isdigit():
                name = MONTHS[moved.month - 1]
                new = name if len(old.rstrip(".")) > 3 else name[:3] + "." * old.endswith(".")
            text = text[:start] + new + text[stop:]
        return text
    return text


def _read(match: re.Match[str]) -> Written | None:
    found = match.groupdict()
    year = int(found["y"])
    if found.get("name"):
        name = found["name"][:3].title()
        month, day, parts = (
            1 + [each[:3] for each in MONTHS].index(name),
            int(found["d"]),
            {"month": match.span("name"), "day": match.span("d")},
        )
    elif found.get("a"):
        first, second = int(found["a"]), int(found["b"])
        # America writes the month first, where that is a date at all; what stands between decides nothing.
        is_month_first = first <= 12
        month, day = (first, second) if is_month_first else (second, first)
        parts = {"month": match.span("a" if is_month_first else "b"), "day": match.span("b" if is_month_first else "a")}
    else:
        month, day, parts = int(found["m"]), int(found["d"]), {"month": match.span("m"), "day": match.span("d")}
    if not is_date(year, month, day):
        return None
    return Written(date(year, month, day), {"year": match.span("y"), **parts})
