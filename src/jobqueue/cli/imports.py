"""Import a file from the command line: a bar while it is sent, and what became of its rows."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.cli.job_views import as_json
from jobqueue.cli.looks import count, screen, show
from jobqueue.cli.output import say_json

if TYPE_CHECKING:
    from jobqueue.client.blocking_client import Client

FAULTS_TOLD_MAX: Final = 5
"""In the one line at the end; --json has the first 1,000."""


class Format(StrEnum):
    """What a file may be."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSONL = "jsonl"


def import_file(client: "Client", file: str, *, file_format: Format | None, is_json: bool, **fields: Any) -> None:
    """Send a file and tell what became of it. Raises StartRefused for what is no file, RoleFailed when it broke off or left rows out."""
    from jobqueue.client.problems import Unreachable

    kind = file_format.value if file_format is not None else Path(file).suffix.lstrip(".").lower()
    if kind not in tuple(Format):
        raise StartRefused(f"cannot tell what {file!r} is; say --format csv or --format ndjson")
    try:
        with bar(os.path.basename(file)) as on_progress:
            result = client.import_file(file, file_format=kind, on_progress=on_progress, **fields)
    except OSError as error:
        raise StartRefused(f"cannot read {file!r}: {error.strerror or error}") from None
    except Unreachable as error:
        if not error.was_sent:
            raise
        raise RoleFailed(f"the import broke off ({error}); run it again: what is stored already is not added twice") from error
    tell(result, is_json=is_json)


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on a terminal while the block runs; answers what is to be told how many bytes are sent, and of how many."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = screen(is_error=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda sent, size: progress.update(task, completed=sent, total=size)


def tell(result: Any, *, is_json: bool) -> None:
    """Show what became of the rows. Raises RoleFailed when some were left out."""
    if is_json:
        say_json(as_json(result))
    else:
        show(
            f"{count(result.created)} created, {count(result.replayed)} there already, {count(result.conflicts)} conflicts, "
            f"{count(result.invalid)} invalid"
        )
    left_out = result.conflicts + result.invalid
    if left_out:
        told = "; ".join(f"line {fault.line}: {fault.detail}" for fault in result.errors[:FAULTS_TOLD_MAX])
        more = "; ..." if left_out > FAULTS_TOLD_MAX else ""
        raise RoleFailed(f"{count(left_out)} {'row was' if left_out == 1 else 'rows were'} left out: {told}{more}")
