"""Show jobs: a list as a table, one job as a page, its history as lines."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jobqueue.cli.looks import ago, duration, plain, screen, show, status_text, table

NARROW: Final = 110
"""Columns of a terminal below which a list leaves out what matters least."""

ERROR_CHARS_MAX: Final = 200


def show_jobs(jobs: Sequence[Any]) -> None:
    """Print a list of jobs; says so when it is empty."""
    if not jobs:
        show("no jobs")
        return
    is_wide = screen().width >= NARROW
    columns = ["id", "status", "type", "queue", "attempt", "submitted", *(["took", "says"] if is_wide else [])]
    now = datetime.now(UTC)
    show(table(columns, (_row(job, now=now, is_wide=is_wide) for job in jobs), right=("took",)))


def _row(job: Any, *, now: datetime, is_wide: bool) -> list[Any]:
    cells = [
        str(job.id),
        status_text(job.status, job.waiting_reason if is_wide else None),
        job.job_type,
        job.queue,
        f"{job.attempt}/{job.max_attempts}",
        ago(job.created_at, now=now),
    ]
    return [*cells, duration(took_s(job, now=now)), says(job)] if is_wide else cells


def took_s(job: Any, *, now: datetime) -> float | None:
    """How long the last run took, or takes so far."""
    if job.started_at is None or (job.finished_at is None and job.status != "running"):
        return None
    return float(((job.finished_at or now) - job.started_at).total_seconds())


def says(job: Any) -> str:
    """Say in a few words how it goes: its progress, or what went wrong."""
    if getattr(job, "error", None) is not None:
        text = f"{job.error.type}: {job.error.message}"
        return text if len(text) <= ERROR_CHARS_MAX else f"{text[: ERROR_CHARS_MAX - 1]}…"
    if job.status in ("leased", "running") and job.progress is not None:
        return f"{job.progress:.0f}% {job.progress_message or ''}".rstrip()
    return ""


def show_job(job: Any, *, result: Any = None, has_result: bool = False, events: Iterable[Any] = ()) -> None:
    """Print all there is to know about one job."""
    from rich.table import Table

    now = datetime.now(UTC)
    page = Table(box=None, show_header=False, pad_edge=False)
    page.add_column(style="bold")
    page.add_column(overflow="fold")
    for name, value in _facts(job, now):
        if value not in (None, "", [], {}):
            page.add_row(name, plain(value) if isinstance(value, str) else value)
    if has_result:
        page.add_row("result", plain(pretty(result)))
    show(page)
    if job.error is not None and job.error.traceback:
        show("", "traceback:", job.error.traceback.rstrip())
    lines = [event_line(event) for event in events]
    if lines:
        show("", "history:", *lines)


def _facts(job: Any, now: datetime) -> list[tuple[str, Any]]:
    from rich.text import Text

    progress = None if job.progress is None else f"{job.progress:.0f}% {job.progress_message or ''}".rstrip()
    error = None if job.error is None else Text(plain(f"{job.error.type}: {job.error.message}").plain, "red")
    return [
        ("id", str(job.id)),
        ("status", status_text(job.status, job.waiting_reason)),
        ("type", job.job_type),
        ("queue", f"{job.queue} ({job.priority})"),
        ("attempt", f"{job.attempt} of {job.max_attempts}"),
        ("progress", progress),
        ("error", error),
        ("submitted", _when(job.created_at, now)),
        ("scheduled", _when(job.scheduled_at, now) if job.scheduled_at else None),
        ("started", _when(job.started_at, now) if job.started_at else None),
        ("finished", _when(job.finished_at, now) if job.finished_at else None),
        ("took", duration(took_s(job, now=now)) if took_s(job, now=now) is not None else None),
        ("worker", job.lease_owner),
        ("key", job.idempotency_key),
        ("concurrency key", job.concurrency_key),
        ("tags", ", ".join(job.tags)),
        ("metadata", pretty(job.metadata) if job.metadata else None),
        ("correlation", job.correlation_id),
        ("result at", job.result_ref),
        ("data", pretty(job.payload.data)),
    ]


def _when(at: datetime, now: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {ago(at, now=now)}"


def pretty(value: Any) -> str:
    """Write JSON for people to read."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def event_line(event: Any) -> str:
    """Write one event of a history."""
    attempt = "" if event.attempt is None else f"  attempt {event.attempt}"
    worker = "" if event.worker_id is None else f"  {event.worker_id}"
    data = "" if event.data in (None, {}) else f"  {json.dumps(event.data, ensure_ascii=False)}"
    return f"{event.at.astimezone(UTC):%H:%M:%S.%f}"[:-3] + f"  {event.type:<20}{attempt}{worker}{data}"


def as_json(thing: Any) -> Any:
    """Make plain data of what the client answers."""
    return thing.model_dump(mode="json") if hasattr(thing, "model_dump") else thing
