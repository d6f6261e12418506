"""Fill one tenant with millions of jobs, then time what a user asks of it: one job, a page by each filter, the counts.

    python -m bench.big_tenant --dsn DSN --finished 5000000 --ready 1000000

Rows are written by SQL straight into the tables, as submit and settle would have left them: ids rise with their time over six days,
twenty types of which one is rare, four queues, three priorities, tags on every tenth job; of the finished 97 % succeeded, 2 % are in the
dead letter queue, 1 % cancelled. Timed over `operations`, as the HTTP door calls them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import process
from jobqueue.domain.job_filter import JobFilter
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import job_lists, jobs, tenants
from jobqueue.operations.database import Database, open_database

CHUNK: Final = 100_000
SPAN: Final = timedelta(days=6)
SAMPLES: Final = 100
TENANT: Final = "big"
PAGE: Final = 50

FILL: Final = """
WITH
g AS MATERIALIZED (
  SELECT i, jobqueue.id_at($2::timestamptz + ($3::timestamptz - $2::timestamptz) * ((i - $4::int)::float8 / $5::int))::text AS at
  FROM generate_series($4::int, $4::int + $5::int - 1) i),
n AS MATERIALIZED (
  SELECT i, overlay(at PLACING substr(md5(i::text), 1, 12) FROM 25)::uuid AS id,
    CASE WHEN i % 100000 = 7 THEN ($6::int[])[20] ELSE ($6::int[])[1 + i % 19] END AS typ, ($7::int[])[1 + (i / 7) % 4] AS qid,
    (1 + i % 3)::smallint AS priority,
    CASE WHEN NOT $8::boolean THEN NULL WHEN i % 100 < 97 THEN 'succeeded' WHEN i % 100 < 99 THEN 'dlq' ELSE 'cancelled' END AS state
  FROM g),
j AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, idempotency_key, correlation_id, tags, data)
  SELECT $1::int, id, qid, typ, priority, 3, 'key-' || i, 'request-' || (i / 10),
    CASE WHEN i % 10 = 0 THEN ARRAY['nightly', 'batch-' || (i % 50)] END, json_build_object('number', i, 'text', repeat('x', 100))
  FROM n),
r AS (
  INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes)
  SELECT jobqueue.id_time(id), id, qid, typ, $1::int, priority, priority, 0, 3, 0 FROM n WHERE state IS NULL),
o AS (
  INSERT INTO jobqueue.outcome (tenant_id, job_id, state, attempt, started_at, finished_at, result)
  SELECT $1::int, id, state, 1, jobqueue.id_time(id), jobqueue.id_time(id) + interval '1 second',
    CASE state WHEN 'succeeded' THEN '{"ok":true}'::json END
  FROM n WHERE state IS NOT NULL),
e AS (
  INSERT INTO jobqueue.ended (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes, status)
  SELECT jobqueue.id_time(id), id, qid, typ, $1::int, priority, priority, 1, 3, 0, state FROM n WHERE state IN ('dlq', 'cancelled')),
v AS (
  INSERT INTO jobqueue.event (tenant_id, job_id, type) SELECT $1::int, id, 'submitted' FROM n),
t AS (
  INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
  SELECT $1::int, qid, coalesce(state, 'queued'), count(*), count(*) FROM n GROUP BY 2, 3)
SELECT count(*) FROM n
"""


def chunks(finished: int, ready: int) -> Iterator[tuple[int, int, bool]]:
    """Cut the jobs into statements: (first number, how many, whether they have ended); the oldest ones have."""
    for first, count, is_finished in ((0, finished, True), (finished, ready, False)):
        for start in range(first, first + count, CHUNK):
            yield start, min(CHUNK, first + count - start), is_finished


async def fill(dsn: str, *, finished: int, ready: int, console: Console) -> None:
    """Write the jobs; skipped when the tenant has them already."""
    db = await open_database(dsn, size=2, application_name="bench")
    connection = await asyncpg.connect(dsn)
    try:
        tenant_id = await tenants.create(db, TENANT, max_concurrent=0)
        types = [await number(connection, "job_type", "type_id", f"type-{n}") for n in range(20)]
        queues = [await number(connection, "queue", "queue_id", f"queue-{n}") for n in range(4)]
        now = datetime.now(UTC)
        with Progress(console=console) as progress:
            task = progress.add_task("filling", total=finished + ready)
            for start, size, is_finished in chunks(finished, ready):
                since = now - SPAN + SPAN * (start / (finished + ready))
                until = now - SPAN + SPAN * ((start + size) / (finished + ready))
                await connection.fetchval(FILL, tenant_id, since, until, start, size, types, queues, is_finished, timeout=120)
                progress.advance(task, size)
        console.print("vacuum analyze ...")
        await connection.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await connection.close()
        await db.close()


async def number(connection: Any, table: str, column: str, name: str) -> int:
    """Give a name a number."""
    return int(await connection.fetchval(f"INSERT INTO jobqueue.{table} (name) VALUES ($1) RETURNING {column}", name))


async def timed(act: Callable[[], Awaitable[Any]], *, samples: int = SAMPLES) -> tuple[float, float, Any]:
    """Median and 95th percentile in ms, and the last answer."""
    times = []
    answer = None
    for _ in range(samples):
        began = time.perf_counter()
        answer = await act()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), statistics.quantiles(times, n=20)[18], answer


def filters() -> dict[str, JobFilter]:
    """One of each kind a user may ask for, and some together."""
    yesterday = datetime.now(UTC) - timedelta(days=3)
    return {
        "no filter": JobFilter(),
        **{f"status={status}": JobFilter(statuses=(status,)) for status in Status},
        "status=succeeded&status=queued": JobFilter(statuses=(Status.SUCCEEDED, Status.QUEUED)),
        "queue": JobFilter(queues=("queue-1",)),
        "job_type": JobFilter(job_types=("type-3",)),
        "job_type, rare": JobFilter(job_types=("type-19",)),
        "job_type, rare, succeeded": JobFilter(job_types=("type-19",), statuses=(Status.SUCCEEDED,)),
        "job_type, succeeded": JobFilter(job_types=("type-3",), statuses=(Status.SUCCEEDED,)),
        "job_type, dlq": JobFilter(job_types=("type-18",), statuses=(Status.DLQ,)),
        "priority=low": JobFilter(priorities=(3,)),
        "priority=critical (none)": JobFilter(priorities=(0,)),
        "tag": JobFilter(tags=("nightly",)),
        "two tags": JobFilter(tags=("nightly", "batch-10")),
        "correlation_id, old": JobFilter(correlation_ids=("request-1000",)),
        "created_before": JobFilter(created_before=yesterday),
        "created_after, created_before": JobFilter(created_after=yesterday - timedelta(hours=1), created_before=yesterday),
        "queue, failed (none)": JobFilter(queues=("queue-2",), statuses=(Status.FAILED,)),
        "queue, dlq, tag": JobFilter(queues=("queue-2",), statuses=(Status.DLQ,), tags=("nightly",)),
    }


async def measure(db: Database, console: Console) -> None:
    """Time each question and print a table."""
    caller = jobs.Caller(await tenants.find(db, TENANT), TENANT)
    table = Table("question", "rows", "p50 ms", "p95 ms", "more")
    some: list[UUID] = []
    for name, job_filter in filters().items():

        async def page(job_filter: JobFilter = job_filter, before: UUID | None = None) -> job_lists.JobPage:
            return await job_lists.page(db, caller, job_filter, before=before, limit=PAGE, tenant_cap=0)

        p50, p95, found = await timed(page)
        table.add_row(f"page: {name}", str(len(found.jobs)), f"{p50:.1f}", f"{p95:.1f}", "yes" if found.next_before else "")
        some += [view.job_id for view in found.jobs]
    middle = UUID(int=sorted(job_id.int for job_id in some)[len(some) // 2])
    p50, p95, deep = await timed(lambda: job_lists.page(db, caller, JobFilter(), before=middle, limit=PAGE, tenant_cap=0))
    table.add_row("page: deep cursor", str(len(deep.jobs)), f"{p50:.1f}", f"{p95:.1f}", "yes")
    p50, p95, _ = await timed(lambda: jobs.get(db, caller, random.choice(some), tenant_cap=0))
    table.add_row("one job", "1", f"{p50:.1f}", f"{p95:.1f}", "")
    p50, p95, counts = await timed(lambda: jobs.count(db, caller))
    table.add_row("counts by status", str(sum(counts.by_status.values())), f"{p50:.1f}", f"{p95:.1f}", "")
    console.print(table)


async def run() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsn", required=True, help="a migrated database; the tenant is made in it")
    parser.add_argument("--finished", type=int, default=5_000_000)
    parser.add_argument("--ready", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="the tenant is filled already")
    options = parser.parse_args()
    console = Console(width=120)
    if not options.keep:
        await fill(options.dsn, finished=options.finished, ready=options.ready, console=console)
    db = await open_database(options.dsn, size=2, application_name="bench")
    try:
        await measure(db, console)
    finally:
        await db.close()


if __name__ == "__main__":
    process.run(run())
