"""What commands write: answers on stdout, one line about what went wrong on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_WRONG_USAGE: Final = 2
GAP: Final = "  "


def say(line: str) -> None:
    """Write a line of the answer, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(message: str) -> None:
    """Write the one line that says what went wrong."""
    sys.stderr.write(f"jobqueue: {' '.join(message.split())}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    """Write a value as JSON; what JSON does not know is written as text."""
    say(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def say_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows under their columns' names; what is not set is `-`."""
    lines = [list(columns), *(["-" if row[column] is None else str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        say(GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
