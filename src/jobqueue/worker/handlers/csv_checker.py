"""Hold the rows of a table to rules, count what they break, and list the first of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from jobqueue.worker.handlers.csv_report import Listing, shown
from jobqueue.worker.handlers.csv_rules import ColumnRules, compile_checks, positions
from jobqueue.worker.handlers.csv_seen import Seen
from jobqueue.worker.handlers.csv_table import Table
from jobqueue.worker.handlers.csv_text import Fault


class Checker:
    """Rows in, counts out. Rules for a column that stands twice hold for each of its places."""

    def __init__(self, table: Table, rules: Mapping[str, ColumnRules], seen: Seen, *, bytes_max: int) -> None:
        """Raises ArgumentError for rules that cannot be, or a column that is not there. bytes_max is for the list of errors."""
        self._table = table
        self._seen = seen
        self._listing = Listing(bytes_max=bytes_max)
        self._by_rule: Counter[str] = Counter()
        self._invalid = 0
        self.rows = 0
        checks = compile_checks(rules)
        places = positions(table.names, rules, argument="rules") if table.names else []
        self._columns = [(at, column, checks[column], rules[column].unique) for at, column in places]
        for name, fault in table.faults:
            self._tell(table.header_line, name, fault.rule, fault.reason, None)

    def check(self, line: int, fields: list[str] | Fault) -> None:
        """Check one row that begins on a line."""
        self.rows += 1
        told_before = self._listing.total
        table = self._table
        fault = table.fault_of_row(fields)
        if fault is not None or isinstance(fields, Fault):
            assert fault is not None
            self._tell(line, None, fault.rule, fault.reason, table.excerpt(fields))
        else:
            for at, fault in table.odd_fields(fields):
                self._tell(line, table.names[at], fault.rule, fault.reason, fields[at])
            for at, column, check, is_unique in self._columns:
                value = fields[at]
                for broken in check(value):
                    self._tell(line, column, broken.rule, broken.reason, value)
                if is_unique and value and (first := self._seen.first_line(at, value, line)) is not None:
                    self._tell(line, column, "unique", f"stands on line {first} already", value)
        if self._listing.total > told_before:
            self._invalid += 1

    def summary(self) -> dict[str, Any]:
        """Make what the job gives back."""
        listing = self._listing
        return {
            "is_valid": listing.total == 0,
            "rows": self.rows,
            "valid": self.rows - self._invalid,
            "invalid": self._invalid,
            "columns": len(self._table.names),
            "by_rule": dict(sorted(self._by_rule.items())),
            "errors": listing.entries,
            "errors_total": listing.total,
            "errors_truncated": listing.is_truncated,
        }

    def _tell(self, line: int, column: str | None, rule: str, reason: str, value: str | None) -> None:
        self._by_rule[rule] += 1
        if self._listing.is_full:
            self._listing.total += 1
        else:
            self._listing.add(line, column, rule=rule, reason=reason, value=None if value is None else shown(value))
