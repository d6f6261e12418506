"""Read rows out of a file that arrives in pieces: CSV with a header, or one JSON object a line. Memory is bounded by one row.

A row that cannot be read is told with its line and left out; the rows around it are not touched. CSV is RFC 4180 with a comma: lines end
with LF or CRLF, a quote counts where a field begins, a byte order mark is passed over, blank lines too. A quote that is never closed takes
what follows with it, up to ROW_BYTES_MAX or the end; that counts as one row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jobqueue.domain.errors import BodyMalformed, InvalidFields
from jobqueue.protocol import strict_json

ROW_BYTES_MAX: Final = 1024 * 1024
"""A job's data has 256 KiB at most; what is longer than this is not even gathered."""
COLUMNS_MAX: Final = 10_000
TOO_LONG: Final = f"the row is longer than {ROW_BYTES_MAX} bytes"
NEVER_CLOSED: Final = "a quote opened in this row is never closed"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Row:
    """A row that can be a job's data. line: where it begins, from 1."""

    line: int
    data: dict[str, Any]


@dataclass(slots=True)
class BadRow:
    """A row that cannot, and why."""

    line: int
    detail: str


class RowReader(Protocol):
    """Takes a file piece by piece."""

    def feed(self, chunk: bytes) -> Iterator[Row | BadRow]:
        """Read the rows that end in this piece."""
        ...

    def finish(self) -> Iterator[Row | BadRow]:
        """Read what is left when the file has ended."""
        ...


class Lines:
    """Cuts pieces into lines, without their LF. A line that is too long is cut short and marked: None stands for it."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        """Answer the lines that end in this piece."""
        lines: list[bytes | None] = list((self._rest + chunk).split(b"\n"))
        rest = lines.pop()
        assert rest is not None
        if self._is_skipping and lines:
            lines[0] = None
            self._is_skipping = False
        self._is_skipping = self._is_skipping or len(rest) > ROW_BYTES_MAX
        self._rest = b"" if self._is_skipping else rest
        return lines

    def finish(self) -> list[bytes | None]:
        """Answer the last line, when it had no LF."""
        rest, is_skipping = self._rest, self._is_skipping
        self._rest, self._is_skipping = b"", False
        return [None] if is_skipping else [rest] if rest else []


class JsonRows:
    """One JSON object a line, each as strict as a body."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._line = 0

    def feed(self, chunk: bytes) -> Iterator[Row | BadRow]:
        """Read the rows that end in this piece."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | BadRow]:
        """Read what is left."""
        return self._read(self._lines.finish())

    def _read(self, lines: list[bytes | None]) -> Iterator[Row | BadRow]:
        for text in lines:
            self._line += 1
            if text is None:
                yield BadRow(self._line, TOO_LONG)
            elif text and not text.isspace():
                yield self._row(text)

    def _row(self, text: bytes) -> Row | BadRow:
        try:
            value = strict_json.loads(text)
        except (BodyMalformed, InvalidFields) as error:
            return BadRow(self._line, str(error))
        if type(value) is not dict:
            return BadRow(self._line, "the row must be a JSON object")
        return Row(self._line, value)


class CsvRows:
    """CSV: the first row names the columns, every value is text."""

    def __init__(self, *, key_column: str | None = None) -> None:
        """key_column: one there has to be."""
        self._lines = Lines()
        self._line = 0
        self._is_first = True
        self._key_column = key_column
        self._columns: list[str] | None = None
        self._open: list[str] = []
        self._open_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Row | BadRow]:
        """Read the rows that end in this piece. Raises InvalidFields when the header is of no use."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[Row | BadRow]:
        """Read what is left. Raises InvalidFields when the header is of no use."""
        yield from self._read(self._lines.finish())
        if self._open:
            yield self._bad(NEVER_CLOSED)

    def _read(self, lines: list[bytes | None]) -> Iterator[Row | BadRow]:
        for raw in lines:
            self._line += 1
            if raw is None:
                self._open.append("")
                yield self._bad(TOO_LONG)
                continue
            if self._is_first:
                raw = raw.removeprefix(BYTE_ORDER_MARK)
                self._is_first = False
            text = raw.decode("utf-8", "surrogateescape")
            if self._open or '"' in text:
                yield from self._read_quoted(text)
            elif text and not text.isspace():
                yield from self._take(self._line, text.removesuffix("\r").split(","))

    def _read_quoted(self, text: str) -> Iterator[Row | BadRow]:
        is_open = ends_open(text, is_open=bool(self._open))
        self._open.append(text)
        self._open_bytes += len(text) + 1
        if is_open:
            if self._open_bytes > ROW_BYTES_MAX:
                yield self._bad(TOO_LONG + ", or a quote in it is never closed")
            return
        try:
            csv.field_size_limit(ROW_BYTES_MAX)  # the process's, which others may have changed meanwhile
            (values,) = csv.reader(["\n".join(self._open)], strict=True)
        except (csv.Error, ValueError):
            yield self._bad("there is something between a closing quote and the next comma")
            return
        line = self._begun()
        self._close()
        yield from self._take(line, values)

    def _take(self, line: int, values: list[str]) -> Iterator[Row | BadRow]:
        columns = self._columns
        if columns is None:
            self._columns = self._check_header(values)
        elif len(values) != len(columns):
            yield BadRow(line, f"has {len(values)} fields, the header has {len(columns)}")
        else:
            yield Row(line, dict(zip(columns, values, strict=True)))

    def _check_header(self, columns: list[str]) -> list[str]:
        if len(columns) > COLUMNS_MAX:
            raise InvalidFields([("", f"the header has {len(columns)} columns, at most {COLUMNS_MAX} are allowed")])
        doubled = next((name for name in columns if columns.count(name) > 1), None) if len(set(columns)) < len(columns) else None
        if doubled is not None:
            raise InvalidFields([("", f"the header names the column {doubled[:100]!a} twice")])
        if "" in columns:
            raise InvalidFields([("", f"the header has no name for column {columns.index('') + 1}")])
        if self._key_column is not None and self._key_column not in columns:
            raise InvalidFields([("/query/key_column", "the header has no such column")])
        return columns

    def _begun(self) -> int:
        return self._line - len(self._open) + 1

    def _bad(self, detail: str) -> BadRow:
        bad = BadRow(self._begun(), detail)
        self._close()
        if self._columns is None:
            raise InvalidFields([("", f"the header cannot be read: {detail}")])
        return bad

    def _close(self) -> None:
        self._open = []
        self._open_bytes = 0


def ends_open(text: str, *, is_open: bool) -> bool:
    """Say whether a line ends inside a quoted field. is_open: whether it began in one."""
    at = 0
    if not is_open and text.startswith('"'):
        at, is_open = 1, True
    while True:
        if is_open:
            at = text.find('"', at)
            if at < 0:
                return True
            at += 1
            if text.startswith('"', at):
                at += 1  # two of them stand for one
                continue
            is_open = False
        at = text.find(',"', at)
        if at < 0:
            return False
        at, is_open = at + 2, True
