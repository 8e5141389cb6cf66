"""How a recognizer looks through a text without reading all of it: at stretches of digits, or around a sign.

A regular expression per kind over the whole text would read it twenty times. Nearly all that is personal and checks holds at
least seven digits close together, or a sign that is rare; one pass finds these places, and the expressions look there alone.
Each takes a bounded number of steps from each place, so a text is read in time that grows as its length does.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from diptych.text.personal.spans import LIKELY, NAMED, VALIDATED, Personal

Span = tuple[int, int]

EDGE = r"(?<![0-9A-Za-z])"
END = r"(?![0-9A-Za-z])"
_FEW_DIGITS = re.compile(r"[0-9](?:[ \-./()]{0,2}[0-9]){6,}+")
_BEFORE, _AFTER = 14, 40
"""So far from digits a code with letters may begin and end; an IBAN, in groups of four, begins with four letters and digits."""
_WIDE = re.compile(
    "[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff20\uff08\uff09\uff0b\uff0d-\uff0f\uff3f\u3000\u00a0\u2007\u2009\u202f\u2010-\u2015\u2212]+"
)
_FOLDED = {place: place - 0xFEE0 for place in range(0xFF01, 0xFF5F)}
_FOLDED |= dict.fromkeys((0x3000, 0xA0, 0x2007, 0x2009, 0x202F), " ") | dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")
_LOOK_BACK = 28
_SAYING = {
    "phone": "手机 电话 联系方式 致电 拨打 座机 传真 热线 phone telephone tel mobile cell fax call whatsapp reach|me text|me "
    "contact ring|me answering|at message|to messages|to messages|on registered desk:",
    "card": "银行卡 信用卡 储蓄卡 借记卡 卡号 card cards cc visa mastercard",
    "identity": "身份证 resident|id id|card id|no id|number",
    "ssn": "社会安全号 ssn social|security",
    "address": "地址 ip host address",
    "account": "账号 帐号 账户 account a/c iban",
    "birth": "出生 生于 生日 born birth dob",
    "other": "订单 单号 运单 快递 物流 流水 发票 凭证 编号 型号 货号 批号 条码 版本 合同号 序列号 案号 案件 期号 价格 金额 "
    "合计 总价 工单 order invoice tracking ticket serial sku version ver release v build isbn issn doi part|no "
    "parcel reference ref price total amount case|no patent batch arxiv commit model|no product",
}
"""What the words say a number is; a bar stands for a space."""
_WORDS = {word.replace("|", " "): kind for kind, words in _SAYING.items() for word in words.split()}
_WHOLE_WORD = 4
"""An English word so short, or shorter, must end where it ends: an ip is no ipad."""


def _by_beginning(words: Iterable[str]) -> str:
    """Any of some words, the longest that fits, as an expression that asks for the first character once and not once a word."""
    groups: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        ending = "(?![a-z])" if word.isascii() and len(word) <= _WHOLE_WORD else ""
        groups.setdefault(word[0], []).append(re.escape(word[1:]) + ending)
    first = "".join(map(re.escape, groups))
    return f"(?=[{first}])(?:" + "|".join(f"{re.escape(sign)}(?:{'|'.join(rest)})" for sign, rest in groups.items()) + ")"


_ENGLISH = _by_beginning(word for word in _WORDS if word.isascii())
_CHINESE = _by_beginning(word for word in _WORDS if not word.isascii())
_SIGN = re.compile(f"(?<![a-z0-9]){_ENGLISH}|{_CHINESE}")
_CLAUSE = "\n。；;！!？"


class Stretch(NamedTuple):
    """Where digits stand close together, and what is cheap to know of it: most recognizers need not look."""

    start: int
    stop: int
    longest: int
    """How long the longest run of digits is, with what stands between them."""
    piece: str
    digits: str
    """From the first run's first digit to the last run's last."""
    says: frozenset[str]
    """All that any word in it or before it says a number is; see `said`."""

    @property
    def is_grouped(self) -> bool:
        """Whether anything stands between its digits."""
        return not self.digits.isdigit()


@dataclass(frozen=True)
class Recognizer:
    """One kind, how it is written, and what its characters must fulfil.

    Args:
        pattern: its group `it` is the personal part, where there is one.
        check: of the matched part, compact: spaces, hyphens and the like taken out, upper case.
        fewest: how long a run of digits, with what stands between them, is at least.
        named: the class of words (`said`) that make it certain where nothing checks it; with `needs_name` it is nothing without them.
        worth: whether a stretch can hold it at all, a question that is cheaper than the expression; never False where it does.
    """

    kind: str
    pattern: re.Pattern[str]
    certainty: float = VALIDATED
    check: Callable[[str], bool] | None = None
    fewest: int = 7
    named: str | None = None
    needs_name: bool = False
    is_kept: bool = False
    worth: Callable[[Stretch], bool] | None = None

    def __call__(self, text: str, stretch: Stretch) -> Iterator[Personal]:
        if (self.needs_name and self.named not in stretch.says) or (self.worth is not None and not self.worth(stretch)):
            return
        for match in self.pattern.finditer(text, stretch.start, stretch.stop):
            group = "it" if "it" in match.re.groupindex else 0
            if self.check is not None and not self.check(compact(match[group])):
                continue
            certainty = self.certainty
            if self.named is not None:
                certainty = self._certainty(said(text, match.start()) if stretch.says else None)
            if certainty:
                yield Personal(*match.span(group), self.kind, certainty, self.is_kept)

    def _certainty(self, says: str | None) -> float:
        """How certain it is after words that say something, 0 where they say that it is something else."""
        if says == self.named:
            return max(self.certainty, NAMED)
        if self.needs_name or says == "other" or (says is not None and self.certainty <= LIKELY):
            return 0.0
        return self.certainty


@dataclass(frozen=True)
class Finder:
    """What a function finds between two places of a text, as a recognizer is asked."""

    find: Callable[[str, int, int], Iterator[Personal]]
    fewest: int = 7

    def __call__(self, text: str, stretch: Stretch) -> Iterator[Personal]:
        return self.find(text, stretch.start, stretch.stop)


def folded(text: str) -> str:
    """`text`, of the same length, with full-width letters, digits and signs, odd spaces and dashes as their ASCII twins."""
    return text if text.isascii() else _WIDE.sub(lambda run: run.group().translate(_FOLDED), text)


def compact(text: str) -> str:
    """A number as its check is defined: letters and digits alone, upper case."""
    return text if text.isdigit() else "".join(filter(str.isalnum, text)).upper()


def numbers(text: str) -> Iterator[Stretch]:
    """The stretches around at least seven digits that stand close together, those that meet made one."""
    first = last = longest = -1
    for match in _FEW_DIGITS.finditer(text):
        start, stop = match.span()
        if start - _BEFORE > last + _AFTER or last < 0:
            if last >= 0:
                yield _stretch(text, first, last, longest)
            first, longest = start, 0
        last, longest = stop, max(longest, stop - start)
    if last >= 0:
        yield _stretch(text, first, last, longest)


def _stretch(text: str, first: int, last: int, longest: int) -> Stretch:
    start, stop = max(0, first - _BEFORE), min(last + _AFTER, len(text))
    words = _SIGN.findall(text[max(0, start - _LOOK_BACK) : stop].lower())
    return Stretch(start, stop, longest, text[start:stop], text[first:last], frozenset(_WORDS[word] for word in words))


def around(text: str, sign: str, before: int, after: int) -> Iterator[Span]:
    """The stretches around each place of a sign, those that meet made one."""
    first = last = -1
    place = text.find(sign)
    while place >= 0:
        if place - before > last:
            if last >= 0:
                yield max(0, first), last
            first = place - before
        last = place + len(sign) + after
        place = text.find(sign, place + len(sign))
    if last >= 0:
        yield max(0, first), last


def said(text: str, place: int) -> str | None:
    """What the last word that says something, in the clause before a place, says a number there is.

    One of phone, card, identity, ssn, address, account, birth, or other: the number of a thing.
    """
    before = text[max(0, place - _LOOK_BACK) : place].rstrip()
    before = before[max(map(before.rfind, _CLAUSE)) + 1 :].lower()
    found = _SIGN.findall(before)
    return _WORDS[found[-1]] if found else None
