"""Tell a tenant about its own jobs of a period: every job as CSV, the figures as an HTML page, a chart as PNG."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, BinaryIO, Final, Literal

from pydantic import AwareDatetime, Field

from jobqueue.worker.handler import ArgumentError, Context, Discard
from jobqueue.worker.handlers.report_figures import Figures, ran_s, waited_s
from jobqueue.worker.surroundings import JobRow, JobsNotReachable

JOBS_MAX: Final = 1_000_000
PERIOD_DAYS_MAX: Final = 3_660
PERIOD_DEFAULT: Final = timedelta(days=7)
PROGRESS_JOBS: Final = 500
COLUMNS: Final = (
    "id", "queue", "job_type", "status", "priority", "attempt", "created_at", "started_at", "finished_at", "waited_s", "ran_s"
)  # fmt: skip

Format = Literal["csv", "html", "png"]


async def report(
    ctx: Context,
    output: Annotated[str, Field(min_length=1)] = "report",
    after: AwareDatetime | None = None,
    before: AwareDatetime | None = None,
    formats: Annotated[list[Format], Field(min_length=1, max_length=3)] = ["csv", "html", "png"],  # noqa: B006 - never changed
) -> dict[str, Any]:
    """Write `output`.csv, .html and .png about the jobs submitted from `after` to `before`; without them the last seven days.

    One that would be about more than JOBS_MAX jobs is discarded: ask for a shorter period. Raises FileRefused, Discard.
    """
    until = before or ctx.job.created_at
    since = after or until - PERIOD_DEFAULT
    if not timedelta(0) < until - since <= timedelta(days=PERIOD_DAYS_MAX):
        raise ArgumentError(f"arguments 'after' and 'before' name a period of up to {PERIOD_DAYS_MAX} days")
    figures = Figures(since.astimezone(UTC), until.astimezone(UTC))
    files: dict[str, str] = {}
    try:
        if "csv" in formats:
            files["csv"] = f"{output}.csv"
            with ctx.files.write(files["csv"]) as file:
                await _gather(ctx, figures, file)
        else:
            await _gather(ctx, figures, None)
    except JobsNotReachable as error:
        raise Discard(str(error)) from None
    ctx.progress(95, "drawing")
    chart, page = await asyncio.to_thread(_draw, ctx, figures)
    for name, data in (("html", page), ("png", chart)):
        if name in formats:
            files[name] = f"{output}.{name}"
            with ctx.files.write(files[name]) as file:
                file.write(data)
    return {"files": files, "jobs": figures.total, "by_status": dict(sorted(figures.by_status.items()))}


async def _gather(ctx: Context, figures: Figures, file: BinaryIO | None) -> None:
    """Read every job of the period, newest first, into the figures and the CSV."""
    period = (figures.before - figures.after).total_seconds()
    text = None if file is None else io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = None if text is None else csv.writer(text, lineterminator="\n")
    if writer is not None:
        writer.writerow(COLUMNS)
    async for row in ctx.jobs.iterate(created_after=figures.after, created_before=figures.before):
        figures.add(row)
        if figures.total > JOBS_MAX:
            raise Discard(f"more than {JOBS_MAX:,} jobs were submitted in this period: ask for a shorter one")
        if writer is not None:
            writer.writerow(_cells(row))
        if figures.total % PROGRESS_JOBS == 0:
            done = (figures.before - row.created_at).total_seconds() / period
            ctx.progress(min(90.0, max(0.0, 90 * done)), f"{figures.total:,} jobs")
    if text is not None:
        text.flush()
        text.detach()


def _cells(row: JobRow) -> list[object]:
    times = [None if at is None else at.isoformat() for at in (row.created_at, row.started_at, row.finished_at)]
    durations = [None if seconds is None else round(seconds, 3) for seconds in (waited_s(row), ran_s(row))]
    return [row.id, row.queue, row.job_type, row.status, row.priority, row.attempt, *times, *durations]


def _draw(ctx: Context, figures: Figures) -> tuple[bytes, bytes]:
    """Make the chart and the page; some 0.1 s of work, off the event loop."""
    from jobqueue.worker.handlers import report_chart, report_page

    tenant = ctx.job.tenant_id
    chart = report_chart.draw(figures, f"Jobs of {tenant}")
    page = report_page.write(figures, tenant=tenant, chart=chart, made_at=datetime.now(UTC))
    return chart, page.encode()
