"""Follow one job to its end: with a progress bar for people, event by event for `watch`."""

import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.apps.refusals import RoleFailed
from jobqueue.cli.job_views import as_json, event_line, pretty, says
from jobqueue.cli.looks import duration, plain, screen, show
from jobqueue.cli.output import say, say_json

if TYPE_CHECKING:
    from jobqueue.client.blocking_client import Client

FINAL: Final = frozenset({"succeeded", "cancelled", "expired", "dlq"})
POLL_S: Final = 1.0
"""Each look is a request of the tenant's rate; waiting itself is the server's (long polls)."""


def wait_for_end(client: "Client", job: Any, *, timeout_s: float | None, is_json: bool) -> None:
    """Wait, showing progress on stderr, and print the result. Raises RoleFailed when the job ends otherwise, or has not in time."""
    ended = _watch_bar(client, job, timeout_s)
    if ended.status not in FINAL:
        raise RoleFailed(f"job {ended.id} is {ended.status} after {duration(timeout_s)}; it goes on: `jobqueue jobs watch {ended.id}`")
    result = client.ended(ended.id).result if ended.status == "succeeded" else None
    if is_json:
        say_json({**as_json(ended), "result": result})
    elif ended.status == "succeeded":
        show(pretty(result))
    if ended.status != "succeeded":
        raise RoleFailed(f"job {ended.id} is {ended.status}" + (f": {says(ended)}" if ended.error else ""))


def _watch_bar(client: "Client", job: Any, timeout_s: float | None) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    started_s = time.monotonic()
    console = screen(is_error=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(job.status, total=100)
        while job.status not in FINAL and (timeout_s is None or time.monotonic() - started_s < timeout_s):
            left_s = POLL_S if timeout_s is None else min(POLL_S, timeout_s - (time.monotonic() - started_s))
            job = client.get(job.id, wait=1) if left_s >= POLL_S else _after(client, job, left_s)
            words = f"{job.status} {plain(job.progress_message or '').plain}".strip()
            progress.update(bar, description=words.replace("[", "\\["), completed=job.progress or 0)
    return job


def _after(client: "Client", job: Any, seconds: float) -> Any:
    time.sleep(max(0.0, seconds))
    return client.get(job.id)


def follow(client: "Client", job_id: str, *, is_json: bool) -> None:
    """Print each event of a job's history as it comes, and its progress, until it ends. Raises RoleFailed unless it succeeded."""
    seen = _tell_events(client, job_id, -1, is_json=is_json)
    job = client.get(job_id)  # after its events: what is not final now ends behind them
    if job.status in FINAL:
        _tell_events(client, job_id, seen, is_json=is_json)
    else:
        for told in client.watch(job_id=str(job_id), after=str(max(0, seen))):
            if told.type == "job.progress" and not is_json:
                show(f"              {told.job.progress:.0f}% {told.job.progress_message or ''}")
            elif told.type != "job.progress":
                seen = _tell_events(client, job_id, seen, is_json=is_json)
                if hasattr(told, "job") and told.job.status in FINAL:
                    break
        job = client.get(job_id)
    if job.status != "succeeded":
        raise RoleFailed(f"job {job_id} is {job.status}" + (f": {says(job)}" if job.error else ""))


def _tell_events(client: "Client", job_id: str, seen: int, *, is_json: bool) -> int:
    """Print the events of a history behind one; answers the last one's seq."""
    for event in client.events(job_id):
        if event.seq > seen:
            seen = event.seq
            say(_line(event)) if is_json else show(event_line(event))
    return seen


def _line(event: Any) -> str:
    return " ".join(pretty(as_json(event)).split())
