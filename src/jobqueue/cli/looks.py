"""How things look to people: colours, durations, tables. Nothing here knows a command."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STATUS_STYLES: Final = {
    "scheduled": "cyan",
    "blocked": "cyan",
    "queued": "blue",
    "leased": "yellow",
    "running": "yellow",
    "failed": "magenta",
    "succeeded": "green",
    "cancelled": "bright_black",
    "expired": "bright_black",
    "dlq": "bold red",
}
PIPE_WIDTH: Final = 10_000
"""Where no terminal shows the end of a line nothing is cut: a program may read it."""

UNITS: Final = ((86_400 * 2, 86_400, "d"), (3600 * 2, 3600, "h"), (120, 60, "m"))
NONE: Final = "-"
SAYS: Final = "says"
SAYS_CHARS_MIN: Final = 12
GAP: Final = 3
"""Between two columns, the box's line included."""


@cache
def screen(*, is_error: bool = False) -> "Console":
    """The terminal of stdout, or of stderr."""
    from rich.console import Console

    stream = sys.stderr if is_error else sys.stdout
    return Console(stderr=is_error, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def status_text(status: str, waiting_reason: str | None = None) -> "Text":
    """Write a status in its colour, with why a queued job waits."""
    from rich.text import Text

    text = Text(status, STATUS_STYLES.get(status, ""))
    if waiting_reason:
        text.append(f" ({waiting_reason.replace('_', ' ')})", "yellow")
    return text


def duration(seconds: float | None) -> str:
    """Write a duration as people do: 12 ms, 3.4 s, 5 m, 7 h, 3 d."""
    if seconds is None:
        return NONE
    if seconds < 0.9995:
        return f"{1000 * max(seconds, 0):.0f} ms"
    for from_s, unit_s, unit in UNITS:
        if seconds >= from_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.1f} s"


def ago(at: datetime | None, *, now: datetime | None = None) -> str:
    """Write how long ago something was, or how soon it will be."""
    if at is None:
        return NONE
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def count(number: float) -> str:
    """Write a count with its thousands apart."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Write a rate: one digit after the point where it is small."""
    return f"{per_second:,.0f}/s" if per_second >= 100 else f"{per_second:.1f}/s"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), width: int | None = None) -> "Table":
    """Make a table; the columns named in right are figures. width: what it may take, else the terminal's.

    Texts of the column SAYS are cut to what the others leave: rich would cut all of them alike, ids and figures too.
    """
    from rich import box
    from rich.table import Table

    cells = [[plain(cell) if cell is None or isinstance(cell, str | int | float) else cell for cell in row] for row in rows]
    others = [(place, column) for place, column in enumerate(columns) if column != SAYS]
    taken = sum(max(len(column), *(row[place].cell_len for row in cells), 0) + GAP for place, column in others)
    left = max(SAYS_CHARS_MIN, (screen().width if width is None else width) - taken)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, no_wrap=True, max_width=left if column == SAYS else None)
    for row in cells:
        made.add_row(*row)
    return made


def show(*things: Any) -> None:
    """Print on stdout; texts as they are."""
    for thing in things:
        screen().print(plain(thing) if isinstance(thing, str) else thing)


def plain(cell: str | float | None) -> "Text":
    """Take a text as it is: what a tenant wrote is not rich's markup, and its control characters do not reach the terminal."""
    from rich.text import Text

    text = NONE if cell is None else str(cell)
    return Text("".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text))
