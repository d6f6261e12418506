"""How fast one worker process works off no-op jobs that wait already.

From the first claim to the last settle, by the times the database wrote into the rows, so that it is the same for all and the start of the
process does not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import asyncpg

from bench.contender import NOOP, Contender
from bench.process import running
from bench.server import Server, fetch

FILL_BATCH: Final = 1_000
POLL_S: Final = 0.25
DRAIN_S_MAX: Final = 120.0
NAME: Final = "drain, jobs/s"


async def drain(server: Server, contender: Contender, *, jobs: int) -> Mapping[str, float]:
    """Measure one drain, in jobs per second."""
    dsn = await server.fresh(contender)
    async with contender.producer(dsn) as producer:
        for first in range(0, jobs, FILL_BATCH):
            await producer.submit_many(first, min(FILL_BATCH, jobs - first), job_type=NOOP)
    await server.settle_down(dsn)
    await work_off(server, contender, dsn)
    succeeded, seconds = (await fetch(dsn, contender.drained_sql))[0]
    assert succeeded == jobs, f"{contender.name}: {succeeded} of {jobs} jobs succeeded"
    return {NAME: jobs / float(seconds)}


async def work_off(server: Server, contender: Contender, dsn: str) -> None:
    """Run the worker until nothing is left."""
    connection = await asyncpg.connect(dsn)
    ends_at = time.monotonic() + DRAIN_S_MAX
    try:
        async with running(contender.worker(dsn), server.directory / "worker.log") as process:
            while not await connection.fetchval(contender.is_drained_sql):
                process.check()
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"{contender.name}: not drained within {DRAIN_S_MAX:g} s; its last words: {process.last_words()}")
                await asyncio.sleep(POLL_S)
    finally:
        await connection.close()
