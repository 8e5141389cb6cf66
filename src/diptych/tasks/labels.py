"""What stands in a label column: one class, several labels at once, or a grade. The guess is shown, and `task.kind` corrects it.

A label that was read is a string (one class), a tuple of strings (several) or a number (a grade): its type says which.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diptych.errors import DataError

Kind = Literal["single", "several", "graded"]
Label = str | tuple[str, ...] | float

SEPARATORS = ("|", ";", "；", "、", ",", "，")
"""What stands between labels of one cell; the first that is found in a column is the one."""
MOST_NUMBERS = 20
"""More numbers than this, most of them in one row only, are something measured: a price, a date, an identity."""
FEWEST_GRADES = 10
"""More values than this, some of them broken numbers, are grades."""


def is_missing(value: Any) -> bool:
    """None, NaN, and the NA of pandas, which refuses to be compared."""
    if value is None:
        return True
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return True


def label_name(value: Any) -> str | None:
    """A label as text: 1, 1.0 and "1" are one label; None, NaN and "" are none."""
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def label_of(value: Any, kind: Kind, separator: str | None, where: str) -> Label | None:
    """One cell as a label; None where it is missing.

    An empty list, or an empty cell where several labels are possible, says that none applies.

    Raises:
        DataError E122: a grade is no number.
    """
    if kind == "single":
        return label_name(value)
    if is_missing(value):
        return None
    if kind == "several":
        return tuple(dict.fromkeys(_parts(value, separator)))
    name = label_name(value)
    if name is None:
        return None
    grade = _number(name)
    if grade is None:
        raise DataError("E122", where=where, value=name[:40])
    return grade


def guess_kind(values: Sequence[Any]) -> tuple[Kind, str | None]:
    """What a column of labels holds, and what stands between several in a cell.

    Lists are several labels. So are cells with a separator whose parts come again in other cells: there are fewer of them than of
    whole cells. Many numbers, some of them broken, are grades. Everything else is one class a text.
    """
    present = [value for value in values if not is_missing(value)]
    if any(isinstance(value, list | tuple | set | frozenset) or _is_listed(value) for value in present):
        return "several", None
    names = [name for name in map(label_name, present) if name is not None]
    numbers = [_number(name) for name in names]
    if names and None not in numbers:
        is_broken = any(number is not None and not number.is_integer() for number in numbers)
        return ("graded" if is_broken and len(set(numbers)) > FEWEST_GRADES else "single"), None
    separator = find_separator(names)
    if separator is not None:
        parts = Counter(part for name in names for part in _parts(name, separator))
        comes_again = sum(count > 1 for count in parts.values()) > 0.8 * len(parts)
        if len(parts) < len(set(names)) and comes_again and max(map(len, parts), default=0) <= 40:
            return "several", separator
    return "single", None


def find_separator(names: Sequence[str]) -> str | None:
    """What stands between the labels of a cell in at least one cell of twenty."""
    return next((mark for mark in SEPARATORS if 20 * sum(mark in name for name in names) >= max(1, len(names))), None)


def kind_of(labels: Sequence[Label | None]) -> Kind:
    """What kind of labels were read."""
    first = next((label for label in labels if label is not None), None)
    return "several" if isinstance(first, tuple) else "graded" if isinstance(first, float) else "single"


def classes_of(labels: Sequence[Label | None], kind: Kind) -> tuple[str, ...]:
    """The names of the classes among some labels, numbers in their order and words in alphabetical order; "score" for grades.

    Raises:
        DataError E131: there is only one, so there is nothing to tell apart. E135: they are measurements, not classes.
    """
    known = [label for label in labels if label is not None]
    if kind == "graded":
        if len(set(known)) < 2:
            raise DataError("E131", label=next(iter(known), ""), count=len(labels))
        return ("score",)
    if kind == "several":
        names = {part for label in known if isinstance(label, tuple) for part in label}
        if not names or (len(names) == 1 and all(known)):
            raise DataError("E131", label=next(iter(names), ""), count=len(labels))
        return tuple(sorted(names))
    names = {str(label) for label in known}
    if len(names) < 2:
        raise DataError("E131", label=next(iter(names), ""), count=len(labels))
    if any((_number(name) is None) for name in names):
        return tuple(sorted(names))
    ordered = tuple(sorted(names, key=lambda name: (float(name), name)))
    if len(ordered) > MOST_NUMBERS and 2 * len(ordered) > len(labels):
        raise DataError("E135", count=len(ordered), total=len(labels), first=ordered[0], last=ordered[-1])
    return ordered


def shown(label: Label | None) -> str:
    """A label in a few words."""
    if isinstance(label, tuple):
        return ", ".join(label) or "–"
    if isinstance(label, float):
        return f"{label:g}"
    return str(label) if label is not None else ""


def names_of(label: Label | None) -> tuple[str, ...]:
    """The labels of a text that can have several."""
    return label if isinstance(label, tuple) else ()


def grade_of(label: Label | None) -> float:
    """The grade of a text; not a number where there is none."""
    return label if isinstance(label, float) else math.nan


def _parts(value: Any, separator: str | None) -> list[str]:
    if isinstance(value, str):
        listed = _listed(value)
        value = listed if listed is not None else value.split(separator) if separator else [value]
    names = [label_name(part) for part in (value if isinstance(value, list | tuple | set | frozenset) else [value])]
    found = [name for name in names if name is not None]
    return sorted(found) if isinstance(value, set | frozenset) else found


def _is_listed(value: Any) -> bool:
    return isinstance(value, str) and _listed(value) is not None


def _listed(text: str) -> list[Any] | None:
    """The list that a cell of a csv file spells, as data frames write them: `["a", "b"]`, `['a', 'b']`."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for spelling in (text, text.replace("'", '"')):
        try:
            found = json.loads(spelling)
        except ValueError:
            continue
        if isinstance(found, list) and all(isinstance(part, str | int | float) for part in found):
            return found
    return None


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
