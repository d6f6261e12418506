"""Put the values of a CSV right, column by column, write the corrected CSV, and tell what was changed."""

from __future__ import annotations

import csv as csv_module
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Literal

import orjson

from jobqueue.worker.handler import ArgumentError, Context, Discard
from jobqueue.worker.handlers.csv_checker import Checker
from jobqueue.worker.handlers.csv_corrections import Correct, Corrected, Corrections, check_names, compile_corrections
from jobqueue.worker.handlers.csv_report import INLINE_BYTES_MAX, LISTINGS_BYTES_MAX, Listing, shown, shown_name
from jobqueue.worker.handlers.csv_rules import Rules, positions
from jobqueue.worker.handlers.csv_seen import Seen
from jobqueue.worker.handlers.csv_table import Columns, Table
from jobqueue.worker.handlers.csv_text import Fault, check_delimiter, heed, open_text

LISTS: Final = 3
"""Changes, problems, errors of the validation: each gets the same part of the result."""


def csv_correct(
    ctx: Context,
    corrections: Corrections,
    csv: str | None = None,
    path: str | None = None,
    output: str | None = None,
    rules: Rules | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    header: bool = True,
    columns: Columns | None = None,
    unreadable: Literal["fail", "drop"] = "fail",
) -> dict[str, Any]:
    """Read the CSV once and write it anew to `output`: UTF-8, \\n, quotes where needed; blank lines go. Without `output` it is returned.

    Rows with too few or too many fields are written as they are; those that cannot be read fail the job or are dropped. With `rules` the
    corrected CSV is checked as csv_validate would. Raises ArgumentError, FileRefused, Discard; then nothing is written.
    """
    check_delimiter(delimiter)
    check_names(corrections)
    if output is None and path is not None:
        raise ArgumentError("argument 'output' is needed with 'path'")
    bytes_max = (LISTINGS_BYTES_MAX - (INLINE_BYTES_MAX if output is None else 0)) // LISTS
    with open_text(ctx, csv, path, encoding) as text, Seen() as seen:
        table = Table(text, delimiter=delimiter, header=header, columns=columns)
        _refuse_without_header(table)
        corrector = Corrector(table, corrections, drops=unreadable == "drop", bytes_max=bytes_max)
        checker = None if rules is None else Checker(table, rules, seen, bytes_max=bytes_max)
        with _opened(ctx, output) as file:
            out = RowWriter(file, delimiter=delimiter)
            if header:
                out.write(table.names)
            for line, fields in table:
                row = corrector.correct(line, fields)
                if row is not None:
                    begins_on = out.lines + 1
                    out.write(row)
                    if checker is not None:
                        checker.check(begins_on, row)
            out.flush()
            heed(ctx)  # before the file is put in its place: the job may be another worker's by now
            inline = _inline(file) if output is None else {"output": output}
    validation = {} if checker is None else {"validation": checker.summary()}
    return {**corrector.summary(), "blank_lines": table.blank_lines, "bytes": out.bytes, **validation, **inline}


class Corrector:
    """Rows in, corrected rows out, with counts and the first changes."""

    def __init__(self, table: Table, corrections: Corrections, *, drops: bool, bytes_max: int) -> None:
        """drops: unreadable rows are left out; else they end the job. bytes_max is for each of the two lists."""
        self._table = table
        self._drops = drops
        self._changes = Listing(bytes_max=bytes_max)
        self._problems = Listing(bytes_max=bytes_max)
        self._changed: Counter[tuple[str, tuple[str, ...]]] = Counter()  # (column, corrections) -> values
        self._unfit: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._rows = self._rows_changed = self._rows_dropped = 0
        functions = {column: compile_corrections(column, given) for column, given in corrections.items()}
        self._columns: list[tuple[int, str, Correct]] = [
            (at, column, functions[column]) for at, column in positions(table.names, corrections, argument="corrections")
        ]
        for name, fault in table.faults:
            self._problems.add(table.header_line, name, rule=fault.rule, reason=fault.reason, value=None)

    def correct(self, line: int, fields: list[str] | Fault) -> list[str] | None:
        """Put one row right, in place; None when it is to be left out. Raises Discard for an unreadable one unless it drops them."""
        self._rows += 1
        table = self._table
        fault = table.fault_of_row(fields)
        if isinstance(fields, Fault):
            self._pass_over(line, fields, None, None)
            return None
        for at, odd in table.odd_fields(fields):
            column = table.names[at] if at < len(table.names) else None
            if odd.rule == "encoding":
                self._pass_over(line, odd, column, fields[at])
                return None
            self._problems.add(line, column, rule=odd.rule, reason=odd.reason, value=shown(fields[at]))
        if fault is not None:
            self._problems.add(line, None, rule=fault.rule, reason=fault.reason, value=table.excerpt(fields))
            return fields
        changes = self._changes.total
        for at, column, correct in self._columns:
            before = fields[at]
            corrected = correct(before)
            if corrected is not None:
                self._count(line, column, before, corrected)
                fields[at] = corrected.value
        self._rows_changed += self._changes.total > changes
        return fields

    def summary(self) -> dict[str, Any]:
        """Make what the job gives back."""
        return {
            "rows": self._rows,
            "rows_changed": self._rows_changed,
            "rows_dropped": self._rows_dropped,
            "values_changed": self._changes.total,
            "changed": _by_column(self._changed),
            "unfit": _by_column(self._unfit),
            "changes": self._changes.entries,
            "changes_truncated": self._changes.is_truncated,
            "problems": self._problems.entries,
            "problems_total": self._problems.total,
            "problems_truncated": self._problems.is_truncated,
        }

    def _count(self, line: int, column: str, before: str, corrected: Corrected) -> None:
        if corrected.unfit:
            self._unfit[column, corrected.unfit] += 1
        if corrected.by:
            self._changed[column, corrected.by] += 1
        if corrected.value != before:
            if self._changes.is_full:
                self._changes.total += 1
            else:
                self._changes.add(line, column, before=shown(before), after=shown(corrected.value), by=list(corrected.by))

    def _pass_over(self, line: int, fault: Fault, column: str | None, value: str | None) -> None:
        """Leave an unreadable row out, or raise Discard."""
        if not self._drops:
            where = "" if column is None else f", column {shown(column)!r}"
            raise Discard(f"line {line}{where} {fault.reason}; with unreadable='drop' such rows are left out")
        self._rows_dropped += 1
        self._problems.add(line, column, rule=fault.rule, reason=f"{fault.reason}; dropped", value=None if value is None else shown(value))


class RowWriter:
    """Writes rows as CSV in UTF-8. lines: physical ones written, counted as a reader counts them."""

    def __init__(self, file: BinaryIO, *, delimiter: str) -> None:
        self._file = file
        self._parts: list[str] = []
        self._chars = 0
        self.lines = 0
        self.bytes = 0
        # Before Python 3.13 a lone \r is quoted only if it is part of the line end; so it is, and take() puts \n in its place.
        self._writerow = csv_module.writer(_Taker(self.take), delimiter=delimiter, lineterminator="\r\n").writerow

    def write(self, fields: list[str]) -> None:
        """Write one row."""
        self._writerow(fields)
        if self._chars >= io.DEFAULT_BUFFER_SIZE:
            self.flush()

    def take(self, text: str) -> int:
        """Take one formatted row."""
        row = text[:-2] + "\n"
        self.lines += row.count("\n")
        if "\r" in row:
            self.lines += row.count("\r") - row.count("\r\n")
        self._parts.append(row)
        self._chars += len(row)
        return len(text)

    def flush(self) -> None:
        """Hand what is kept back on to the file."""
        data = "".join(self._parts).encode("utf-8", "surrogateescape")
        self._parts.clear()
        self._chars = 0
        self.bytes += len(data)
        self._file.write(data)


class _Taker:
    """What csv.writer takes for a file."""

    def __init__(self, write: Callable[[str], int]) -> None:
        self.write = write


def _by_column(counts: Counter[tuple[str, tuple[str, ...]]]) -> dict[str, dict[str, int]]:
    """Count each correction by itself; a value may have had several."""
    found: dict[str, Counter[str]] = {}
    for (column, corrections), values in counts.items():
        for correction in corrections:
            found.setdefault(shown_name(column), Counter())[correction] += values
    return {column: dict(counted) for column, counted in found.items()}


def _refuse_without_header(table: Table) -> None:
    if not table.names:
        raise Discard("; ".join(fault.reason for _, fault in table.faults) or "the CSV's first row cannot be read")


@contextmanager
def _opened(ctx: Context, output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        yield io.BytesIO()
    else:
        with ctx.files.write(output) as file:
            yield file


def _inline(file: BinaryIO) -> dict[str, str]:
    assert isinstance(file, io.BytesIO)
    text = file.getvalue().decode()
    if "\0" in text:
        raise Discard("the corrected CSV has a NUL character and cannot stand in a result: name an 'output'")
    if len(orjson.dumps(text)) > INLINE_BYTES_MAX:
        raise Discard(f"the corrected CSV takes more than {INLINE_BYTES_MAX} bytes and cannot stand in the result: name an 'output'")
    return {"csv": text}
