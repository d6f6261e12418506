"""What commands on many jobs share: asking first, a progress bar, and going on when one of them fails."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.cli.job_views import as_json
from jobqueue.cli.looks import screen, show
from jobqueue.cli.output import say_json
from jobqueue.domain.errors import Conflict, NotFound

BAR_FROM: Final = 10
"""Fewer are over before a bar says anything."""

BULK_MAX: Final = 10_000

Limit = Annotated[int, typer.Option(min=1, max=BULK_MAX, help="At most so many, the newest first.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(count: int, verb: str, *, is_sure: bool) -> None:
    """Ask before something is done to many. Raises StartRefused where there is nobody to ask, RoleFailed when the answer is no."""
    import sys

    if is_sure or count == 0:
        return
    if not sys.stdin.isatty():
        raise StartRefused(f"this would {verb} {count:,} jobs; say --yes to do it without being asked")
    if not typer.confirm(f"{verb} {count:,} jobs?", err=True):
        raise RoleFailed("nothing was done")


def each(what: str, job_ids: Sequence[str], act: Callable[[str], Any], *, is_json: bool) -> None:
    """Do something to each job; those it cannot be done to are told at the end. Raises RoleFailed if there are some."""
    from rich.progress import track

    done: list[Any] = []
    failed: list[str] = []
    for job_id in track(job_ids, what, console=screen(is_error=True), transient=True, disable=len(job_ids) < BAR_FROM):
        try:
            job = act(job_id)
        except (NotFound, Conflict) as error:
            failed.append(f"{job_id}: {error}")
        else:
            done.append(as_json(job))
            if not is_json:
                show(f"{job.id}  {_now(job)}")
    if is_json:
        say_json(done)
    if failed:
        raise RoleFailed("; ".join(failed))


def _now(job: Any) -> str:
    return "told to stop" if job.status in ("leased", "running") else str(job.status)
