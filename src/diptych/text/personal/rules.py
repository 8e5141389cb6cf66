r"""The user's own rules: expressions in a YAML file, checked before they are run, and stopped where they take too long.

    rules:
      - {kind: employee_number, pattern: 'EMP-\d{6}'}
      - {kind: contract, pattern: '合同编号[:：]\s*(?P<it>[A-Z]{2}\d{8})', ignore_case: true}
    words:
      project: [Bluebird, 蓝鸟计划]
    keep: ['support@example\.com']

Python's engine tries the ways in which an expression may match one after the other, and a careless one has more of them than there
is time: `(a+)+$` doubles with every letter. So three things bound the time. The ways from one place are counted from the
expression, and more than a million are refused. An expression that may match more than 256 characters, or in many ways, sees the
text in windows of 512. And a clock looks between windows, for what is merely slow.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from pydantic import Field

from diptych.config import Settings, parse, read_yaml
from diptych.errors import DataError
from diptych.messages import _
from diptych.text.personal.spans import VALIDATED, Personal

LONGEST_PATTERN = 1000
MOST_WAYS = 1_000_000
FEW_WAYS = 1000
"""So few cost no more than reading the text does."""
WINDOW = 512
REACH = 256
"""What a rule finds is at most so long, where it says no less itself."""
SECONDS_PER_MEGABYTE = 20.0
SECONDS_FREE = 2.0
"""Nothing is stopped before so many seconds."""


class RuleSettings(Settings):
    """One expression and what it finds; the group `it` is the personal part, where there is one."""

    kind: str = Field(pattern=r"^[\w-]{1,40}$")
    pattern: str = Field(min_length=1)
    ignore_case: bool = False


class RulesSettings(Settings):
    """What a rules file may hold."""

    rules: list[RuleSettings] = []
    words: dict[str, list[str]] = {}
    """kind -> words that are always personal, as they are written."""
    keep: list[str] = []
    """Expressions for what is never personal, whatever else says so."""


@dataclass(frozen=True)
class Rule:
    """One checked expression."""

    kind: str
    pattern: re.Pattern[str]
    is_windowed: bool
    is_kept: bool = False

    def find(self, text: str) -> Iterator[Personal]:
        """What it finds in a text.

        Raises:
            DataError E192: it takes too long.
        """
        group = "it" if "it" in self.pattern.groupindex else 0
        limit = SECONDS_FREE + SECONDS_PER_MEGABYTE * len(text) / 1e6
        begun, done = time.monotonic(), -1
        for start, stop in _windows(len(text)) if self.is_windowed else [(0, len(text))]:
            for match in self.pattern.finditer(text, max(start, done), stop):
                first, last = match.span(group)
                # What begins in the later half is found again, whole, in the next window.
                if last > first and (not self.is_windowed or stop == len(text) or match.start() < start + WINDOW - REACH):
                    done = match.end()
                    yield Personal(first, last, self.kind, VALIDATED + self.is_kept, self.is_kept)
            if time.monotonic() - begun > limit:
                raise DataError("E192", kind=self.kind, pattern=self.pattern.pattern, seconds=f"{limit:.0f}")


@dataclass(frozen=True)
class Rules:
    """The user's rules, checked; `text` is what they were read from, so that two sets can be told apart."""

    rules: tuple[Rule, ...] = ()
    kinds: frozenset[str] = frozenset()
    text: str = field(default="", repr=False)

    def find(self, text: str) -> Iterator[Personal]:
        for rule in self.rules:
            yield from rule.find(text)

    @classmethod
    def load(cls, path: str | Path) -> "Rules":
        """The rules in a file.

        Raises:
            RecipeError E401, E402, E403: it cannot be read, or holds what is no rule. DataError E190: an expression is none.
            E191: an expression could take too long.
        """
        settings = parse(RulesSettings, read_yaml(path), where=str(path))
        written = Path(path).read_text(encoding="utf-8-sig")
        rules = [
            _checked(path, written, rule.kind, rule.pattern, re.IGNORECASE if rule.ignore_case else re.NOFLAG) for rule in settings.rules
        ]
        for kind, words in settings.words.items():
            # The longest first: of "Blue" and "Bluebird" the regular expression takes the one it meets first.
            listed = "|".join(map(re.escape, sorted(filter(None, words), key=len, reverse=True)))
            if listed:
                rules.append(Rule(kind, re.compile(listed), is_windowed=False))
        rules += [_checked(path, written, "keep", pattern, re.NOFLAG, is_kept=True) for pattern in settings.keep]
        return cls(tuple(rules), frozenset(rule.kind for rule in rules if not rule.is_kept), written)


def _checked(path: str | Path, written: str, kind: str, pattern: str, flags: re.RegexFlag, is_kept: bool = False) -> Rule:
    line = next((number for number, text in enumerate(written.splitlines(), 1) if pattern in text), None)
    where = _("{name}, line {number}").format(name=path, number=line) if line else str(path)
    if len(pattern) > LONGEST_PATTERN:
        raise DataError(
            "E190",
            where=where,
            pattern=pattern[:60] + "…",
            problem=_("it has more than {count:,} characters").format(count=LONGEST_PATTERN),
        )
    try:
        compiled = re.compile(pattern, flags)
        ways, longest = _ways(parser.parse(pattern, flags)), parser.parse(pattern, flags).getwidth()[1]
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError("E190", where=where, pattern=pattern, problem=error) from None
    if compiled.match(""):
        raise DataError("E190", where=where, pattern=pattern, problem=_("it matches where there is nothing"))
    if ways > MOST_WAYS:
        raise DataError("E191", where=where, pattern=pattern)
    return Rule(kind, compiled, is_windowed=ways > FEW_WAYS or longest > REACH, is_kept=is_kept)


def _windows(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, max(1, length), WINDOW - REACH):
        yield start, min(length, start + WINDOW)
        if start + WINDOW >= length:
            return


def _ways(items: Any) -> int:
    """In how many ways at most a parsed expression can match from one place; a repeat without an end counts as REACH.

    The ways of what stands in a row multiply, those of alternatives add up, unless their first characters tell them apart.
    """
    total = 1
    for code, value in items:
        total = min(total * _ways_of(code, value), MOST_WAYS + 1)
    return total


def _ways_of(code: Any, value: Any) -> int:
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, most, body = value
        inner = _ways(body)
        most = max(least, min(int(most), REACH))
        if inner == 1:
            return 1 + most - least
        # inner ** k summed over the counts; it passes the limit before it grows large.
        total, power = 0, 1
        for count in range(most + 1):
            total += power if count >= least else 0
            power *= inner
            if total > MOST_WAYS or power > MOST_WAYS:
                return MOST_WAYS + 1
        return total
    if code is codes.BRANCH:
        ways = [_ways(branch) for branch in value[1]]
        heads = [branch[0][1] if len(branch) and branch[0][0] is codes.LITERAL else None for branch in value[1]]
        return max(ways) if None not in heads and len(set(heads)) == len(heads) else sum(ways)
    if code is codes.SUBPATTERN:
        return _ways(value[-1])
    if code is codes.ATOMIC_GROUP:
        return _ways(value)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _ways(value[1])
    if code is codes.GROUPREF_EXISTS:
        return sum(_ways(branch) for branch in value[1:] if branch)
    return 1


__all__ = ["Rule", "RuleSettings", "Rules", "RulesSettings"]
