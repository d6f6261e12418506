"""Check a CSV against rules, column by column, and tell what breaks them and where."""

from __future__ import annotations

from typing import Any

from jobqueue.worker.handler import Context
from jobqueue.worker.handlers.csv_checker import Checker
from jobqueue.worker.handlers.csv_report import LISTINGS_BYTES_MAX
from jobqueue.worker.handlers.csv_rules import Rules
from jobqueue.worker.handlers.csv_seen import Seen
from jobqueue.worker.handlers.csv_table import Columns, Table
from jobqueue.worker.handlers.csv_text import check_delimiter, heed, open_text


def csv_validate(
    ctx: Context,
    rules: Rules,
    csv: str | None = None,
    path: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    header: bool = True,
    columns: Columns | None = None,
) -> dict[str, Any]:
    """Read the CSV once, row by row, and give back counts and the first bad values. A CSV that breaks rules is a result, not a failure.

    `columns` names the columns of one without a header row; they are "1", "2", ... else. Raises ArgumentError, FileRefused, Discard.
    """
    check_delimiter(delimiter)
    with open_text(ctx, csv, path, encoding) as text, Seen() as seen:
        table = Table(text, delimiter=delimiter, header=header, columns=columns)
        checker = Checker(table, rules, seen, bytes_max=LISTINGS_BYTES_MAX)
        for line, fields in table:
            checker.check(line, fields)
        heed(ctx)
        return {**checker.summary(), "blank_lines": table.blank_lines, "has_bom": text.has_bom}
