"""How fast one worker process works off no-op jobs that wait already.

From the first claim to the last settle, by the times the database wrote into the rows, so that it is the same for all and the start of the
process does not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import asyncpg

from bench import plots, progress
from bench.contender import NOOP, Contender
from bench.cpu import cpu_s, server_cpu_s
from bench.process import Running, running
from bench.server import Server, fetch

FILL_BATCH: Final = 1_000
POLL_S: Final = 0.25
SAMPLE_S: Final = 0.02
DRAIN_S_MAX: Final = 120.0
NAME: Final = "drain, jobs/s"
WORKER_CPU: Final = "drain: CPU of the worker, us a job"
DATABASE_CPU: Final = "drain: CPU of the database, us a job"
Sample = tuple[float, float, float]
"""When (epoch), and the CPU seconds the worker and the database have used by then."""


async def drain(server: Server, contender: Contender, *, jobs: int, over_time: dict[str, list[tuple[float, float]]]) -> Mapping[str, float]:
    """Measure one drain: jobs per second, and the CPU that a job costs on both sides, between the first claim and the last settle.

    over_time keeps of each contender how fast its last drain went.
    """
    jobs = min(jobs, contender.drain_jobs_max)
    dsn = await server.fresh(contender)
    await fill(contender, dsn, jobs)
    await server.settle_down(dsn)
    samples: list[Sample] = []
    told = server.directory / "progress"
    told.unlink(missing_ok=True)
    await work_off(server, contender, dsn, samples, jobs=jobs)
    if contender.drained_sql is None:
        succeeded, began_at, ended_at = progress.read(told)
    else:
        row = (await fetch(dsn, contender.drained_sql))[0]
        succeeded, began_at, ended_at = row[0], float(row[1]), float(row[2])
    assert succeeded == jobs, f"{contender.name}: {succeeded} of {jobs} jobs succeeded"
    (worker_before, database_before), (worker, database) = cpu_at(samples, began_at), cpu_at(samples, ended_at)
    if contender.ended_sql is not None:
        over_time[contender.name] = plots.rates([(row[0], row[1]) for row in await fetch(dsn, contender.ended_sql)])
    return {
        NAME: jobs / (ended_at - began_at),
        WORKER_CPU: (worker - worker_before) / jobs * 1e6,
        DATABASE_CPU: (database - database_before) / jobs * 1e6,
    }


async def fill(contender: Contender, dsn: str, jobs: int) -> None:
    """Let so many jobs wait."""
    async with contender.producer(dsn) as producer:
        for first in range(0, jobs, FILL_BATCH):
            await producer.submit_many(first, min(FILL_BATCH, jobs - first), job_type=NOOP)


async def work_off(server: Server, contender: Contender, dsn: str, samples: list[Sample], *, jobs: int) -> None:
    """Run the worker until nothing is left, and note the CPU used on the way."""
    connection = await asyncpg.connect(dsn)
    told = server.directory / "progress"
    command = contender.worker(dsn)
    command = replace(command, environment={**command.environment, progress.VARIABLE: str(told)})

    async def is_drained() -> bool:
        if contender.is_drained_sql is None:
            return progress.read(told)[0] >= jobs
        return bool(await connection.fetchval(contender.is_drained_sql))

    ends_at = time.monotonic() + DRAIN_S_MAX
    try:
        async with running(command, server.directory / "worker.log") as process, sampling(server, process, samples):
            while not await is_drained():
                process.check()
                if time.monotonic() > ends_at:
                    raise TimeoutError(f"{contender.name}: not drained within {DRAIN_S_MAX:g} s; its last words: {process.last_words()}")
                await asyncio.sleep(POLL_S)
    finally:
        await connection.close()


@asynccontextmanager
async def sampling(server: Server, process: Running, samples: list[Sample]) -> AsyncIterator[None]:
    """Note the CPU used while the block runs."""

    async def sample() -> None:
        while True:
            samples.append((time.time(), cpu_s([process.pid]), server_cpu_s(server.postmaster)))
            await asyncio.sleep(SAMPLE_S)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def cpu_at(samples: list[Sample], at: float) -> tuple[float, float]:
    """CPU seconds of the worker and of the database at a moment: as the last sample before it says."""
    return max((sample for sample in samples if sample[0] <= at), default=samples[0])[1:]
