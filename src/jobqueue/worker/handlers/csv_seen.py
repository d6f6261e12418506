"""Which values a column has had, for `unique`: exact, and in flat memory however many there are.

They lie in a private SQLite database whose pages go to a temporary file once they exceed its cache; the file has no name, so nothing is
left of it when the process is killed. A value takes its UTF-8 bytes and some 15 more on disk, at most 80 in all: of one of more than
64 bytes a 128-bit BLAKE2b digest is kept (two different ones agree with a chance below 1e-24 among 20 million). 2 us a value.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import blake2b
from types import TracebackType
from typing import Final, Self

from jobqueue.worker.handler import Discard

VALUES_MAX: Final = 20_000_000
"""Over all columns of a job: up to 1.6 GB of temporary file."""

CACHE_KIB: Final = 8 * 1024
PLAIN_BYTES_MAX: Final = 64
DIGEST_BYTES: Final = 16
DIGEST_MARK: Final = b"\xff"
"""No UTF-8 has this byte, so a digest is never taken for a value."""


class Seen:
    """Values by column, each with the line it stood on first. To be used as a context manager, in one thread."""

    def __init__(self, *, values_max: int = VALUES_MAX) -> None:
        self._values_left = self._values_max = values_max
        self._database = sqlite3.connect("", isolation_level=None)  # "": a temporary database with a file of its own
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE seen (column_no INTEGER, value BLOB, line INTEGER, PRIMARY KEY (column_no, value)) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")
        self._cursor = self._database.cursor()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with closing(self._database):
            pass

    def first_line(self, column_no: int, value: str, line: int) -> int | None:
        """Keep a value, or give the line it was kept from before. Raises Discard when there are too many."""
        key = _key(value)
        self._cursor.execute("INSERT OR IGNORE INTO seen (column_no, value, line) VALUES (?, ?, ?)", (column_no, key, line))
        if self._cursor.rowcount == 1:
            self._values_left -= 1
            if self._values_left < 0:
                raise Discard(f"rule 'unique' can tell {self._values_max:,} different values of a job apart, and there are more")
            return None
        found: tuple[int] = self._cursor.execute("SELECT line FROM seen WHERE column_no = ? AND value = ?", (column_no, key)).fetchone()
        return found[0]


def _key(value: str) -> bytes:
    plain = value.encode("utf-8", "surrogatepass")
    return plain if len(plain) <= PLAIN_BYTES_MAX else DIGEST_MARK + blake2b(plain, digest_size=DIGEST_BYTES).digest()
