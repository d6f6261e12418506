"""A CSV as a table: its header, then rows that have as many fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Final

from annotated_types import Len

from jobqueue.worker.handler import ArgumentError
from jobqueue.worker.handlers.csv_report import shown
from jobqueue.worker.handlers.csv_text import Fault, Record, Records, Text, faults_of

Columns = Annotated[list[str], Len(1, 10_000)]
"""Names of the columns, for a CSV without a header row."""

HEADER_UNREADABLE: Final = "header"


class Table:
    """names are the columns', faults what is wrong with them. Iterating gives the rows, each with its line; blank lines are counted."""

    def __init__(self, text: Text, *, delimiter: str, header: bool, columns: list[str] | None) -> None:
        if header and columns is not None:
            raise ArgumentError("argument 'columns' is for a CSV without a header row: say header=false")
        self._text = text
        self._delimiter = delimiter
        self._records: Iterator[Record] = iter(Records(text, delimiter=delimiter))
        self.blank_lines = 0
        self.header_line = 1
        self.names: list[str] = []
        self.faults: list[tuple[str | None, Fault]] = []
        first = next(self._unblank(), None)
        if first is None:
            self.faults.append((None, Fault("empty_file", "the CSV has no row at all" if not header else "the CSV has no header row")))
            return
        self.header_line, fields = first
        if header:
            self._take_header(fields)
        elif columns is not None:
            self.names, self._records = columns, chain([first], self._records)
        elif isinstance(fields, Fault):
            self._give_up(f"the first row {fields.reason}, so its columns cannot be counted")
        else:
            self.names, self._records = [str(at) for at in range(1, len(fields) + 1)], chain([first], self._records)
        counts = Counter(self.names)
        self.faults += [
            (name, Fault("duplicate_header", f"stands {times} times in the header")) for name, times in counts.items() if times > 1
        ]

    def __iter__(self) -> Iterator[Record]:
        return self._unblank()

    def fault_of_row(self, fields: list[str] | Fault) -> Fault | None:
        """Say why a row's values cannot be taken for its columns'."""
        if isinstance(fields, Fault):
            return fields
        if len(fields) != len(self.names):
            return Fault("fields", f"has {len(fields)} fields, not {len(self.names)}")
        return None

    def odd_fields(self, fields: list[str]) -> list[tuple[int, Fault]]:
        """Find the fields that are not text, if there may be any."""
        if not self._text.is_odd:
            return []
        return [(at, fault) for at, field in enumerate(fields) if (fault := faults_of(field)) is not None]

    def excerpt(self, fields: list[str] | Fault) -> str | None:
        """Show the beginning of a row that cannot be told by column."""
        return None if isinstance(fields, Fault) else shown(self._delimiter.join(fields[:20]))

    def _unblank(self) -> Iterator[Record]:
        for record in self._records:
            if record[1]:
                yield record
            else:
                self.blank_lines += 1

    def _take_header(self, fields: list[str] | Fault) -> None:
        if isinstance(fields, Fault):
            self._give_up(f"the header row {fields.reason}")
            return
        self.names = fields
        self.faults += [(fields[at], fault) for at, fault in self.odd_fields(fields)]
        self.faults += [(None, Fault("empty_header", f"column {at} has no name")) for at, name in enumerate(fields, 1) if not name.strip()]

    def _give_up(self, reason: str) -> None:
        """Have no rows: their fields belong to nothing."""
        self.faults.append((None, Fault(HEADER_UNREADABLE, reason)))
        self._records = iter(())
