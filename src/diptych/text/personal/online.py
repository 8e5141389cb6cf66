"""What is personal or secret on the net: e-mail, addresses of machines, passwords in URLs, keys."""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator

from diptych.text.personal.search import around, said
from diptych.text.personal.spans import NAMED, VALIDATED, Personal

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9@-])",
    re.ASCII,
)
_IPV4 = re.compile(r"[0-9](?<![0-9A-Za-z.-][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z]|\.[0-9]|-[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z:])")
_LOGIN = re.compile(r"://(?P<it>[^\s/:@'\"<>]{1,64}:[^\s/@'\"<>]{1,128})@")
_PARAMETER = re.compile(
    r"[?&#;](?:access_?token|id_token|refresh_token|token|api_?key|apikey|key|secret|client_secret|password|passwd|pwd|auth|sig|signature|"
    r"x-amz-signature|x-amz-credential|sessionid|session|code|jwt)=(?P<it>[A-Za-z0-9._~%+/=-]{6,512})",
    re.IGNORECASE,
)
_KEY_BEGINNINGS = """
AKIA ASIA AGPA AIDA AROA ANPA LTAI AKID AIza ya29. ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- gldt- glrt- xoxa- xoxb- xoxe- xoxp- xoxr-
xoxs- sk_live_ sk_test_ rk_live_ rk_test_ sk- hf_ npm_ pypi- SG. dop_v1_ shpat_ shpss_ shpca_ shppa_ AGE-SECRET-KEY-
"""
_KEY_START = re.compile("|".join(map(re.escape, _KEY_BEGINNINGS.split())))
_KEY_RUN = b"k" * 15
"""All keys but web tokens hold so many letters, digits, underscores and hyphens in a row, and words hardly ever do."""
_AS_KEY = bytes(ord("k") if chr(sign).isalnum() or sign in b"_-" else ord(" ") for sign in range(128)) + b" " * 128
_AS_NUMBER = bytes(ord("0") if chr(sign).isdigit() else sign for sign in range(128)) + b" " * 128
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}|LTAI[A-Za-z0-9]{12,20}|AKID[A-Za-z0-9]{32}|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,200}"
    r"|gh[pousr]_[A-Za-z0-9]{36,76}|github_pat_[A-Za-z0-9_]{22,90}|gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,64}|xox[abeprs]-[A-Za-z0-9-]{10,200}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,100}|sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,200}|hf_[A-Za-z0-9]{30,40}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[A-Za-z0-9_-]{50,250}|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}|dop_v1_[a-f0-9]{64}|shp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{58}|(?<![_.-])eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000})(?![A-Za-z0-9])"
)
"""Keys that say by their beginning whose they are; the last is a JSON web token."""
_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[A-Za-z0-9+/=\s:,.\\]|-(?!-)){0,20000}+-----END (?:[A-Z0-9]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
)
_ASSIGNED = re.compile(
    r"(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|access[_-]?key|auth[_-]?token|(?<![A-Za-z])token|passw(?:or)?d|(?<![A-Za-z])pwd|密码|口令|密钥)"
    r"[\"']?[ \t]{0,3}(?:=>|:=|[=:：是为])[ \t]{0,3}[\"']?(?P<it>[^\s\"'<>;,，。；、）)]{6,200})",
    re.IGNORECASE,
)
_ASSIGNED_SIGNS = ("key", "token", "secret", "passw", "pwd", "密码", "口令", "密钥")
_FEWEST_BITS = 3.0
"""Bits a character of a random key at least: words and names in snake case have fewer, or no digits."""


def find_emails(text: str) -> Iterator[Personal]:
    for start, stop in around(text, "@", 65, 190):
        for match in _EMAIL.finditer(text, start, stop):
            name = match.group().partition("@")[0]
            if ".." not in match.group() and not name.endswith(".") and not _is_login(text, match.start()):
                yield Personal(match.start(), match.end(), "email", VALIDATED)


def find_ipv6(text: str) -> Iterator[Personal]:
    """IPv6 addresses: at least three groups and a digit among them, so that `a::b` in a program is none."""
    for start, stop in around(text, ":", 5, 50):
        for match in _IPV6.finditer(text, start, stop):
            written = match.group()
            if (
                written.count(":") > 1
                and sum(map(bool, written.split(":"))) > 2
                and any(map(str.isdigit, written))
                and _is_address(written)
            ):
                yield Personal(match.start(), match.end(), "ip_address", VALIDATED)


def find_ipv4(text: str, plain: bytes) -> Iterator[Personal]:
    """IPv4 addresses, but for those of no machine (0.0.0.0, 127.0.0.1, netmasks) and what reads like a version or a section.

    Args:
        plain: `text` as `plain_signs` gives it.
    """
    if b"0.0" not in plain.translate(_AS_NUMBER):
        return
    for match in _IPV4.finditer(text):
        written = match.group()
        said_ = said(text, match.start())
        is_short = len(written) <= 8
        if (
            said_ != "other"
            and _is_address(written)
            and (not is_short or said_ == "address")
            and not written.startswith(("0.", "127.", "255."))
        ):
            yield Personal(match.start(), match.end(), "ip_address", VALIDATED)


def find_url_secrets(text: str) -> Iterator[Personal]:
    """The name and password before a host, and the values of parameters that are keys."""
    for start, stop in around(text, "://", 0, 2000):
        for pattern in (_LOGIN, _PARAMETER):
            for match in pattern.finditer(text, start, stop):
                value = match["it"]
                if pattern is _LOGIN or (entropy(value) >= 2.5 and any(map(str.isdigit, value))):
                    yield Personal(*match.span("it"), "url_secret", VALIDATED)


def find_keys(text: str, plain: bytes) -> Iterator[Personal]:
    """Keys by their known beginnings, private keys in blocks, and what is assigned to something called a key or a password.

    Args:
        plain: `text` as `plain_signs` gives it.
    """
    for start in _key_starts(text, plain.translate(_AS_KEY)):
        match = _KEYS.match(text, start)
        if match and entropy(match.group()) >= _FEWEST_BITS:
            yield Personal(match.start(), match.end(), "key", VALIDATED)
    if "PRIVATE KEY" in text:
        for match in _BLOCK.finditer(text):
            yield Personal(match.start(), match.end(), "key", VALIDATED)


def _key_starts(text: str, signs: bytes) -> Iterator[int]:
    """Where a key may begin: at a known beginning in or right before a long run of its signs, and at web tokens."""
    place = signs.find(_KEY_RUN)
    while place >= 0:
        stop = signs.find(b" ", place)
        stop = len(signs) if stop < 0 else stop
        first = signs.rfind(b" ", 0, place) + 1
        # "SG." and "ya29." end in a dot, which no run holds.
        for match in _KEY_START.finditer(text, max(0, first - 5), stop):
            yield match.start()
        place = signs.find(_KEY_RUN, stop)
    place = text.find("eyJ")
    while place >= 0:
        yield place
        place = text.find("eyJ", place + 3)


def plain_signs(text: str) -> bytes:
    """`text`, a byte a character, with whatever is not ASCII as "?": in this form it is looked through at the speed of memory."""
    return text.encode("ascii", "replace")


def find_passwords(text: str, lowered: str) -> Iterator[Personal]:
    """Passwords and keys that stand after their name, as in `password = …`."""
    for sign in _ASSIGNED_SIGNS:
        for start, stop in around(lowered, sign, 16, 240):
            for match in _ASSIGNED.finditer(text, start, stop):
                value = match["it"]
                if (
                    any(map(str.isdigit, value))
                    and entropy(value) >= 2.0
                    and not value.startswith(("$", "{", "<", "os.", "http"))
                    and "(" not in value
                ):
                    yield Personal(*match.span("it"), "password", NAMED)


def entropy(text: str) -> float:
    """Bits a character, by how often each comes in `text` (Shannon 1948)."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _is_login(text: str, place: int) -> bool:
    """Whether what begins here is the password before a host: `https://name:password@host`."""
    return text[place - 1 : place] == ":" and "://" in text[max(0, place - 70) : place].split(" ")[-1]


def _is_address(written: str) -> bool:
    try:
        return not ipaddress.ip_address(written).is_unspecified
    except ValueError:
        return False
