"""What belongs together across a split: a field of a row in JSON, a comment in a column file."""

import re
from collections.abc import Mapping
from typing import Any

from diptych.config import nearest
from diptych.errors import DataError


class CommentGroup:
    """The group of the sentences in a column file: what the last comment `# NAME = value` said, such as `# newdoc id = a1`."""

    def __init__(self, name: str | None, file: str) -> None:
        self._name, self._file = name, file
        self._pattern = None if name is None else re.compile(rf"#\s*{re.escape(name)}\s*=\s*(.+)")
        self._last: str | None = None

    def see(self, line: str) -> None:
        """Take note of a line, which may be such a comment."""
        if self._pattern is not None and (found := self._pattern.match(line)):
            self._last = found[1].strip()

    def now(self) -> str | None:
        """The group of the sentence that is read; None where no group was asked for.

        Raises:
            DataError E180: no comment has named one so far.
        """
        if self._name is not None and self._last is None:
            raise DataError("E180", name=self._file, group=self._name)
        return self._last


def group_of(fields: Mapping[str, Any], name: str | None, where: str) -> str | None:
    """The group of a row; None where no group was asked for, or the row has none.

    Raises:
        DataError E133: there is no such field.
    """
    if name is None:
        return None
    if name not in fields:
        raise DataError("E133", name=where, column=name, hint=nearest(name, map(str, fields)))
    return None if fields[name] is None else str(fields[name])
