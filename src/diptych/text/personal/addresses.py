"""Where somebody lives: a street and a number, Chinese and English, with what belongs to them on both sides."""

import re
from collections.abc import Iterator

from diptych.text.personal.search import around
from diptych.text.personal.spans import LIKELY, USUAL, Personal

_HAN = r"\u3400-\u9fff"
_COUNT = r"(?:[0-9A-Za-z]{1,6}(?:[-－][0-9]{1,5}){0,3}|[一二三四五六七八九十百零〇甲乙丙]{1,6})"
_HOUSE = rf"(?:[{_HAN}]{{2,10}}?(?:小区|花园|公寓|大厦|广场|家园|新村|苑|园|城|府|里|座|楼))?"
_PART = rf"(?:[ ,，]?{_HOUSE}[ ]?{_COUNT}(?:号楼|号院|号|弄|栋|幢|座|单元|层|楼|室|户|房|门|组)[东南西北]?)"
_NUMBERED = re.compile(
    rf"(?:路|街|大道|道|巷|弄|胡同|村|里|坊|坡|条|园|苑|小区|新村|花园|公寓|庄|屯|街道)[东南西北中]?(?:一|二|三|四|五|[东南西北]?段)?{_PART}{{1,6}}[0-9]{{0,4}}"
)
_LEADING = re.compile(
    r".*?(?:家住|住在|居住于|居住在|现住|住于|住址|地址|位于|寄到|寄往|寄至|送到|送至|送往|发到|搬到|搬至|来自|就在|开在|在|到|至|是|为|于|住|往|从|址)(?=[\u3400-\u9fff]{2})"
)
_REACH = 36
_SIGNS = ("号", "室", "单元", "栋", "幢")

_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace|Ter|Square|Sq|Highway|Hwy|Parkway|Pkwy|Circle|Cir"
    r"|Crescent|Close|Grove|Streets|Squares|Parks|Mews|Row|Alley|Trail|Trl)"
)
_STATE = r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])"
_ROOM = r"(?:[,\n ]{1,3}(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Fl)\.? ?#?[0-9A-Za-z-]{1,6}|[,\n ]{1,3}#[0-9A-Za-z-]{1,6}){0,2}"
_TOWN = r"(?:[,\n ]{1,3}[A-Z][A-Za-z.'-]{1,20}(?: [A-Z][A-Za-z.'-]{1,20}){0,2})?"
_TOWN += rf"(?:[,\n ]{{1,3}}{_STATE}\b)?(?:[,\n ]{{1,3}}[0-9]{{5}}(?:-[0-9]{{4}})?\b)?"
_ENGLISH = re.compile(
    r"(?<![0-9A-Za-z.,/-])[0-9]{1,6}[A-Za-z]?(?: [NSEW]\.?)?"
    rf"(?: (?:[0-9]{{1,3}}(?:st|nd|rd|th)|[A-Z][A-Za-z'’.-]{{1,20}})){{1,4}}? {_STREET}\b\.?(?: [NSEW]{{1,2}}\b)?{_ROOM}{_TOWN}"
)
_BOX = re.compile(
    r"\b(?:P\.? ?O\.? ?Box|PSC [0-9]{1,5},? Box|Unit [0-9]{1,5} Box) ?[0-9]{1,6}(?:[,\n ]{1,3}(?:[ADF]PO )?(?:A[AEP]|[A-Z]{2}) [0-9]{5})?",
    re.IGNORECASE,
)
_CITY_LINE = re.compile(rf"(?<![A-Za-z])[A-Z][a-z]{{2,20}}(?: [A-Z][a-z]{{2,20}}){{0,2}}, {_STATE} [0-9]{{5}}(?:-[0-9]{{4}})?(?![0-9])")
_SAID = re.compile(r"(?:地址|住址|address)(?:是|为|is)?[ ]?[:：=]?[ ]?(?P<it>[^\n。；;!?！？]{6,80})", re.IGNORECASE)


def find_addresses_of_people(text: str, lowered: str) -> Iterator[Personal]:
    """Chinese addresses down to a number, with province, city and district before and building and room behind; English ones."""
    if not text.isascii():
        yield from _chinese(text)
    yield from _english(text, lowered)


def _chinese(text: str) -> Iterator[Personal]:
    for sign in _SIGNS:
        for start, stop in around(text, sign, 40, 40):
            for match in _NUMBERED.finditer(text, start, stop):
                before = text[max(0, match.start() - _REACH) : match.start()]
                tail = re.search(rf"[{_HAN}0-9A-Za-z]*$", before)
                words = tail.group() if tail else ""
                while lead := _LEADING.match(words):
                    words = words[lead.end() :]
                if words:
                    yield Personal(match.start() - len(words), match.end(), "address", USUAL)


def _english(text: str, lowered: str) -> Iterator[Personal]:
    for match in _ENGLISH.finditer(text):
        yield Personal(match.start(), match.end(), "address", USUAL)
    if "box" in lowered:
        for match in _BOX.finditer(text):
            yield Personal(match.start(), match.end(), "address", USUAL)
    for match in _CITY_LINE.finditer(text):
        yield Personal(match.start(), match.end(), "address", LIKELY)
    for sign in ("地址", "住址", "address"):
        for start, stop in around(lowered, sign, 0, 90):
            for match in _SAID.finditer(text, start, stop):
                # What a word announces is an address if it has a number in it, and is none of the net's.
                value = match["it"].strip()
                if (
                    any(map(str.isdigit, value))
                    and "@" not in value
                    and "://" not in value
                    and value[0].isalnum()
                    and "." not in value.split()[0]
                ):
                    yield Personal(match.start("it"), match.start("it") + len(match["it"].rstrip(" ,，.")), "address", LIKELY)
