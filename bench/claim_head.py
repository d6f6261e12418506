"""What a claim of 100 costs with many rows of other types before them, against an empty head.

    python -m bench.claim_head [--foreign 500000] [--rounds 40] [--json FILE]

The goal is <= 1.5x (issue 2). Both are measured in one run on one embedded server, alternating round by round; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from bench import process
from jobqueue.aio.clock import SystemClock
from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.operations import migrations, workers
from jobqueue.operations.database import open_database
from jobqueue.operations.leases import Claimer, LeaseTerms
from jobqueue.operations.naming import NameBook

CLAIMED = 100
TERMS = LeaseTerms(
    lease_s=3600, timeout_s=3600, cancel_grace_s=30, tenant_cap=0, crashes_max=3, retry_delay_s_base=5, retry_delay_s_max=3600
)
FILL = """
WITH made AS MATERIALIZED (SELECT jobqueue.new_id() AS job_id FROM generate_series(1, $3::int)),
jobs AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, data)
  SELECT 1, m.job_id, $1, $2, 2, 3, '{}' FROM made m)
INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes)
SELECT clock_timestamp() - $4::float8 * interval '1 second', m.job_id, $1, $2, 1, 2, 2, 0, 3, 0 FROM made m
"""


async def fill(connection: Any, *, queue: int, job_type: int, jobs: int, age_s: float) -> None:
    """Make due jobs of one type."""
    await connection.execute(FILL, queue, job_type, jobs, age_s)


async def measure(dsn: str, *, foreign: int, rounds: int) -> dict[str, Any]:
    """Time claims from a queue with foreign rows at its head and from one without, in turns."""
    await migrations.upgrade(dsn)
    connection = await asyncpg.connect(dsn)
    db = await open_database(dsn, size=2, application_name="bench")
    await connection.execute("INSERT INTO jobqueue.tenant (name) VALUES ('bench')")
    await connection.execute("INSERT INTO jobqueue.queue (name) VALUES ('full'), ('empty')")
    await connection.execute("INSERT INTO jobqueue.job_type (name) SELECT 'other-' || n FROM generate_series(1, 10) n")
    names = NameBook(db)
    mine = (await names.type_ids(["mine"]))["mine"]
    queues = await names.queue_ids(["full", "empty"])
    for number in range(10):
        await fill(connection, queue=queues["full"], job_type=1 + number, jobs=foreign // 10, age_s=3600.0)
    for queue in queues.values():
        await fill(connection, queue=queue, job_type=mine, jobs=CLAIMED * (rounds + 5), age_s=0.0)
    await connection.execute("VACUUM ANALYZE")
    worker_id = await workers.register(db, name="bench", queues=None, job_types=["mine"], concurrency=CLAIMED, version="bench")
    claimers = {
        name: Claimer(db, names, TERMS, worker_id=worker_id, queues=[name], job_types=["mine"], clock=SystemClock()) for name in queues
    }
    taken: dict[str, list[float]] = {name: [] for name in queues}
    for round_number in range(rounds):
        for name, claimer in claimers.items():
            claimer.forget()  # so that each claim looks for its lanes, too: the head is what discovery would walk
            started = time.perf_counter()
            found = await claimer.claim(jobs_max=CLAIMED)
            if round_number >= 3:  # the first ones prepare the statements
                taken[name].append((time.perf_counter() - started) * 1000)
            assert len(found) == CLAIMED, len(found)
    await connection.close()
    await db.close()
    full_ms, empty_ms = statistics.median(taken["full"]), statistics.median(taken["empty"])
    return {
        "foreign": foreign,
        "full_head_ms": round(full_ms, 2),
        "empty_head_ms": round(empty_ms, 2),
        "ratio": round(full_ms / empty_ms, 2),
    }


async def run(foreign: int, rounds: int) -> dict[str, Any]:
    """Measure on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as directory:
        server = EmbeddedServer(Path(directory), options={"shared_buffers": "1GB"})
        await server.start()
        try:
            return await measure(server.dsn(), foreign=foreign, rounds=rounds)
        finally:
            await server.stop()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foreign", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    figures = process.run(run(chosen.foreign, chosen.rounds))
    print(f"claim of {CLAIMED}, {figures['foreign']} rows of other types before them: {figures['full_head_ms']} ms (median)")
    print(f"claim of {CLAIMED}, empty head: {figures['empty_head_ms']} ms (median)")
    print(f"ratio: {figures['ratio']} (goal: <= 1.5)")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
