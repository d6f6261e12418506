"""A row becomes a job: its data, its key, and what makes it this request.

The key is the key column's value, else a hash of row, type, queue and how many equal rows came before. So an import that is run again
makes the same keys, and nothing new.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import orjson

from jobqueue.domain.job import DATA_BYTES_MAX, IDEMPOTENCY_KEY, JobRequest
from jobqueue.protocol.canonical import hash_128, hash_key, row_form
from jobqueue.protocol.jobs import Priority
from jobqueue.protocol.rows import BadRow, Row

KEY_PREFIX: Final = "row:"
KEY_DIGITS: Final = 40
KEY_FAULT: Final = "the key column must have 1-255 printable ASCII characters"
CACHE_KIB: Final = 8 * 1024
SIGNED_64_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class RowTerms:
    """What all jobs of one import share."""

    job_type: str
    queue: str
    priority: int
    key_column: str | None
    correlation_id: str
    traceparent: str | None


@dataclass(slots=True)
class RowJob:
    """A row as a job. row_hash: of a row that has no key of its own yet."""

    line: int
    job: JobRequest
    row_hash: bytes | None


class RowJobs:
    """Makes jobs of one import's rows."""

    def __init__(self, terms: RowTerms, *, priority_name: Priority) -> None:
        self._terms = terms
        self._form = row_form(job_type=terms.job_type, queue=terms.queue, priority=priority_name)
        self._hash = hashlib.sha256(orjson.dumps([terms.job_type, terms.queue]))
        self._seen = Occurrences()

    def close(self) -> None:
        """Forget what was seen."""
        self._seen.close()

    def read(self, row: Row) -> RowJob | BadRow:
        """Make a job of a row."""
        terms = self._terms
        try:
            data = orjson.dumps(row.data)
            sorted_data = orjson.dumps(row.data, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            return BadRow(row.line, "not UTF-8")
        if len(data) > DATA_BYTES_MAX:
            return BadRow(row.line, f"has {len(data)} bytes as compact JSON, at most {DATA_BYTES_MAX} are allowed")
        if b"\\u0000" in data and "\x00" in "".join(map(str, _texts(row.data))):
            return BadRow(row.line, "the character U+0000 cannot be stored")
        key, row_hash = None, None
        if terms.key_column is None:
            hashed = self._hash.copy()
            hashed.update(sorted_data)
            row_hash = hashed.digest()
        elif (key := read_key(row.data.get(terms.key_column))) is None:
            return BadRow(row.line, KEY_FAULT)
        job = JobRequest(
            job_type=terms.job_type,
            data_json=data.decode(),
            key_hash=None if key is None else hash_key(key),
            request_hash=hash_128(self._form[0] + sorted_data + self._form[1]),
            idempotency_key=key,
            queue=terms.queue,
            priority=terms.priority,
            correlation_id=terms.correlation_id,
            traceparent=terms.traceparent,
        )
        return RowJob(row.line, job, row_hash)

    def give_keys(self, rows: list[RowJob]) -> None:
        """Give rows without a key one by their content; asks a file, so call it beside the loop."""
        hashes = [row.row_hash for row in rows if row.row_hash is not None]
        if not hashes:
            return
        numbers = iter(self._seen.count([int.from_bytes(row_hash[:SIGNED_64_BITS], signed=True) for row_hash in hashes]))
        for row in rows:
            if row.row_hash is not None:
                number = next(numbers)
                key = KEY_PREFIX + row.row_hash.hex()[:KEY_DIGITS] + (f"-{number}" if number else "")
                row.job.idempotency_key, row.job.key_hash = key, hash_key(key)


class Occurrences:
    """Counts how often each of any number of values was seen, in flat memory: what the cache cannot hold goes to a file that nobody sees.

    Values that only share their first 64 bits count as one: their keys then say `second of its kind`, and are as good.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            f"PRAGMA cache_size = -{CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (value INTEGER PRIMARY KEY, times INTEGER NOT NULL)",
        ):
            self._database.execute(statement)

    def close(self) -> None:
        """Drop it all."""
        self._database.close()

    def count(self, values: list[int]) -> list[int]:
        """Answer of each value how often it was seen before, here and in earlier calls."""
        asked = json.dumps(values)
        known = dict(self._database.execute("SELECT value, times FROM seen WHERE value IN (SELECT value FROM json_each(?))", (asked,)))
        times: defaultdict[int, int] = defaultdict(int, known)
        before = []
        for value in values:
            before.append(times[value])
            times[value] += 1
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO seen (value, times) VALUES (?, ?)", times.items())
        self._database.execute("COMMIT")
        return before


def read_key(value: Any) -> str | None:
    """Read a key column's value: text, or a whole number; None: it is of no use."""
    if type(value) is int:
        value = str(value)
    if type(value) is not str or IDEMPOTENCY_KEY.fullmatch(value) is None:
        return None
    return value


def _texts(value: Any) -> list[Any]:
    """List every key and text in a value of CSV, which is flat; JSON was looked over when it was read."""
    return [*value.keys(), *value.values()]
