"""Numbers and names of accounts that nothing checks: personal because the words before say so."""

import re
from collections.abc import Iterator

from diptych.text.personal.search import EDGE, END, around
from diptych.text.personal.spans import NAMED, USUAL, Personal

_IS = r"(?:[ \t]{0,3}(?:[:：=#＃]|is\b|是|为|no\.?|number|号码|号)){0,3}[ \t]{0,3}"
_CODE = r"(?P<it>[A-Za-z]{0,4}[-/]?[0-9][0-9A-Za-z]{2,19}(?:[-/][0-9A-Za-z]{1,12}){0,3})" + END
_DIGITS = r"(?P<it>[0-9](?:[ -]?[0-9]){4,27})" + END


def _after(words: str, value: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{words}){_IS}{value}", re.IGNORECASE)


_MEDICAL = (
    r"病历号?|病案号?|住院号?|门诊号?|就诊卡?号?|病人(?:id|编号)|患者(?:id|编号)|\bmrn|medical record|patient (?:id|no|number)|chart no"
)
_INSURANCE = (
    r"医保(?:卡|账|编)?号?|社保卡?号?|社会保障(?:卡)?号?|保单号?|参保(?:编)?号?|insurance(?: policy| id| no| number)?"
    r"|policy (?:id|no|number)|member id|medicare"
    r"|medicaid|\bnhs"
)
_PASSPORT = r"护照|通行证|passport"
_NAMED: list[tuple[str, tuple[str, ...], re.Pattern[str]]] = [
    (
        "medical_record",
        ("病历", "病案", "住院", "门诊", "就诊", "病人", "患者", "mrn", "medical record", "patient", "chart"),
        _after(_MEDICAL, _CODE),
    ),
    (
        "insurance",
        ("医保", "社保", "社会保障", "保单", "参保", "insurance", "policy", "member id", "medica", "nhs"),
        _after(_INSURANCE, _CODE),
    ),
    ("passport", ("护照", "通行证", "passport"), _after(_PASSPORT, r"(?P<it>[A-Za-z]{1,2}[0-9]{6,9}|[0-9]{8,9})" + END)),
    (
        "licence",
        ("驾驶证", "驾照", "licen"),
        _after(r"驾驶证|驾照|driv(?:er'?s?|ing) licen[cs]e", r"(?P<it>[A-Za-z]{0,2}[0-9][0-9-]{5,18})" + END),
    ),
    ("bank_account", ("账号", "帐号", "账户", "account", "a/c"), _after(r"账号|帐号|账户|\baccount|\ba/c", _DIGITS)),
    ("qq", ("qq",), _after(r"(?<![A-Za-z0-9])qq(?:群|号|号码)?", r"(?P<it>[1-9][0-9]{4,11})" + END)),
    (
        "wechat",
        ("微信", "wechat", "weixin", "vx", "v信", "薇信", "wx"),
        _after(
            r"微信(?:账|帐)?|wechat(?: id)?|weixin|(?<![A-Za-z0-9])vx|v信|薇信|(?<![A-Za-z0-9])wx(?=\s?[:：号])",
            r"(?P<it>(?!id\b|no\b|number\b|is\b)[A-Za-z](?=[A-Za-z_-]{0,18}[0-9_-])[A-Za-z0-9_-]{5,19}|1[3-9][0-9]{9}|[1-9][0-9]{5,10})"
            + END,
        ),
    ),
    (
        "wechat",
        ("微信号", "wechat id", "微信:", "微信："),
        re.compile(r"(?:微信号|wechat id|微信)[ ]?[:：是为][ ]?(?P<it>[A-Za-z][A-Za-z0-9_-]{5,19})" + END, re.IGNORECASE),
    ),
]
_PLATE = re.compile(
    EDGE + r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-HJ-NP-Z][ ·•・.-]?"
    r"(?:[DF][A-HJ-NP-Z0-9][0-9]{4}|[0-9]{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳领])" + END
)
_PLATE_IN_ENGLISH = _after(
    r"licen[cs]e plate|plate (?:no|number)", r"(?P<it>(?=[A-Z0-9 -]{0,7}[0-9])[A-Z0-9]{2,4}[ -]?[A-Z0-9]{2,4})" + END
)


def find_named(text: str, lowered: str) -> Iterator[Personal]:
    """Records, policies, passports, licences, accounts, QQ and WeChat after their names.

    Args:
        lowered: `text` in lower case, of the same length.
    """
    for kind, signs, pattern in _NAMED:
        for sign in signs:
            for start, stop in around(lowered, sign, 16, 60):
                for match in pattern.finditer(text, start, stop):
                    yield Personal(*match.span("it"), kind, NAMED)


def find_plates(text: str, lowered: str) -> Iterator[Personal]:
    """Number plates: a province's character, a letter, five places, or six where the car is electric (GA 36-2018)."""
    if not text.isascii():
        for match in _PLATE.finditer(text):
            if sum(map(str.isdigit, match.group())) > 1:
                yield Personal(match.start(), match.end(), "plate", USUAL)
    for start, stop in around(lowered, "plate", 10, 40):
        for match in _PLATE_IN_ENGLISH.finditer(text, start, stop):
            yield Personal(*match.span("it"), "plate", NAMED)
