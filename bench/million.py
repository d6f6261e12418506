"""A million jobs through one worker while the retention drops what is done: the worker's memory and the tables stay as they are.

    python -m bench.million [--weeks 20] [--jobs-a-week 50000] [--json FILE]

Partitions are weeks, so time is moved: each batch of jobs is made as if submitted in a past week of its own, and dropped, when it is
done, by the function the reaper calls. The worker is one process over the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench import process
from bench.contender import NOOP, TENANTS
from bench.ours import IS_DRAINED, Jobqueue
from bench.process import running
from bench.server import Server, serving

STATEMENT_S_MAX: Final = 300.0
POLL_S: Final = 0.2
WEEK_S_MIN: Final = 20.0
"""Autovacuum comes by once a minute, and only its second visit gives the pages back that the indexes grew by before the first: the tables
reach the size they keep after some 150 s. The middle of a run comes after that."""
DROP_TRIES_MAX: Final = 50
RSS_MIB_MAX: Final = 120
FILL: Final = """
WITH made AS MATERIALIZED (
  SELECT n, overlay(md5(random()::text) PLACING left(replace(jobqueue.id_at($1)::text, '-', ''), 12) FROM 1)::uuid AS job_id
  FROM generate_series(1, $2::int) n),
jobs AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, data)
  SELECT 1 + n % $3::int, m.job_id, $4, $5, 2, 3, '{"n": 1}' FROM made m),
history AS (INSERT INTO jobqueue.event (tenant_id, job_id, type) SELECT 1 + n % $3::int, m.job_id, 'submitted' FROM made m),
counted AS (
  INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
  SELECT 1 + n % $3::int, $4, 'queued', count(*), count(*) FROM made GROUP BY 1)
INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes)
SELECT clock_timestamp(), m.job_id, $4, $5, 1 + n % $3::int, 2, 2, 0, 3, 0 FROM made m
"""
SIZES: Final = """
SELECT sum(pg_total_relation_size(c.oid)) / 1048576.0, sum(pg_indexes_size(c.oid)) / 1048576.0
FROM pg_class c
WHERE c.relnamespace = 'jobqueue'::regnamespace AND c.relkind = 'r'
"""


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


async def alone(weeks: int, jobs: int) -> list[dict[str, float]]:
    """Measure on a server of its own."""
    async with serving() as server:
        return await measure(server, weeks, jobs)


async def measure(server: Server, weeks: int, jobs: int) -> list[dict[str, float]]:
    """Run week after week through the worker; after each: its memory, and the size of the tables with their indexes, MiB."""
    ours = Jobqueue()
    dsn = await server.fresh(ours)
    db = await asyncpg.connect(dsn)
    queue = await db.fetchval("INSERT INTO jobqueue.queue (name) VALUES ('default') RETURNING queue_id")
    job_type = await db.fetchval("INSERT INTO jobqueue.job_type (name) VALUES ($1) RETURNING type_id", NOOP)
    found = []
    async with running(ours.worker(dsn), server.directory / "worker.log") as process:
        for number in range(weeks):
            ends_at = asyncio.get_running_loop().time() + WEEK_S_MIN
            at = await db.fetchval("SELECT clock_timestamp() - $1 * interval '7 days'", weeks + 2 - number)
            await db.execute("SELECT jobqueue.make_partitions_v1($1, 1)", at)
            await db.execute(FILL, at, jobs, TENANTS, queue, job_type, timeout=STATEMENT_S_MAX)
            while not await db.fetchval(IS_DRAINED):
                process.check()
                await asyncio.sleep(POLL_S)
            await drop_all(db)
            await asyncio.sleep(max(0.0, ends_at - asyncio.get_running_loop().time()))
            tables_mib, indexes_mib = map(float, await db.fetchrow(SIZES))
            one = {"jobs": (number + 1) * jobs, "rss_mib": rss_mib(process.pid), "tables_mib": tables_mib, "indexes_mib": indexes_mib}
            found.append(one)
            print(
                f"{one['jobs']:>9,} jobs  worker {one['rss_mib']:6.1f} MiB  tables {tables_mib:6.1f} MiB, {indexes_mib:6.1f} of it indexes",
                flush=True,
            )
    await db.close()
    return found


def middle_and_end(found: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Choose what is compared."""
    return found[(len(found) - 1) // 2], found[-1]


async def drop_all(db: Any) -> None:
    """What the reaper does: drop weeks past the retention, fold the counts."""
    for _ in range(DROP_TRIES_MAX):  # it gives way to who uses the week
        if await db.fetchval("SELECT jobqueue.drop_week_v1(60, clock_timestamp() + interval '1 hour')"):
            break
        await asyncio.sleep(POLL_S)
    await db.execute("SELECT jobqueue.fold_tally_v1(100000)")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=20)
    parser.add_argument("--jobs-a-week", type=int, default=50_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = process.run(alone(chosen.weeks, chosen.jobs_a_week))
    middle, end = middle_and_end(found)
    print(f"worker: {max(one['rss_mib'] for one in found):.0f} MiB at most (goal: <= {RSS_MIB_MAX})")
    print(f"tables: {end['tables_mib']:.1f} MiB at the end, {middle['tables_mib']:.1f} MiB in the middle")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
