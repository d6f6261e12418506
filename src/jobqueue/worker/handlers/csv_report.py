"""What a job on a CSV gives back: lists that are cut, values that are shortened, and all of it within a result's size."""

from __future__ import annotations

from typing import Any, Final

import orjson

from jobqueue.worker.outcomes import RESULT_BYTES_MAX
from jobqueue.worker.text import storable

LISTED_MAX: Final = 1_000
VALUE_CHARS_MAX: Final = 80
NAME_CHARS_MAX: Final = 100

LISTINGS_BYTES_MAX: Final = 160 * 1024
"""For all lists of one result together. The counts beside them are bounded by the number of columns a job may name."""

INLINE_BYTES_MAX: Final = 100 * 1024
"""A corrected CSV as it is given back inside a result; the lists share what it leaves of theirs."""

assert LISTINGS_BYTES_MAX < RESULT_BYTES_MAX


def shown(text: str, *, chars_max: int = VALUE_CHARS_MAX) -> str:
    """Shorten a value for the result and write what JSON or the database cannot hold as escapes."""
    return storable(text if len(text) <= chars_max else f"{text[:chars_max]}…")


def shown_name(column: str) -> str:
    """Shorten a column's name."""
    return shown(column, chars_max=NAME_CHARS_MAX)


class Listing:
    """The first entries of a list, up to LISTED_MAX of them and bytes_max of JSON; after the first that does not fit, none."""

    __slots__ = ("_bytes_left", "entries", "is_full", "total")

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_left = bytes_max
        self.entries: list[dict[str, Any]] = []
        self.is_full = False
        self.total = 0

    @property
    def is_truncated(self) -> bool:
        """Whether there was more than is listed."""
        return self.total > len(self.entries)

    def add(self, line: int, column: str | None, **said: Any) -> None:
        """List an entry, or only count it."""
        self.total += 1
        if self.is_full:
            return
        entry = {"line": line, "column": None if column is None else shown_name(column), **said}
        self._bytes_left -= len(orjson.dumps(entry)) + 1
        if self._bytes_left < 0:
            self.is_full = True
            return
        self.entries.append(entry)
        self.is_full = len(self.entries) >= LISTED_MAX
