"""awa-pg: an engine in Rust with handlers in Python, queue storage as `awa migrate` makes it, 100 handlers at once as ours.

python -m bench.peers.awa_pg DSN        its worker, until SIGTERM
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import awa

from bench import stamps
from bench.contender import STAMP, Command, Producer
from bench.progress import Progress

QUEUE: Final = "bench"
CONCURRENCY: Final = 100
ROWS: Final = 1_000


@dataclass
class Noop:
    """A job that does nothing."""

    n: int


@dataclass
class Stamp:
    """A job that tells when it has started."""

    n: int


class AwaProducer:
    """Its insert, in this process."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def submit(self, number: int, *, job_type: str) -> None:
        """Insert one job."""
        await self._client.insert(_job(job_type, number), queue=QUEUE)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Insert a batch by its COPY way."""
        await self._client.insert_many_copy([_job(job_type, number) for number in range(first, first + count)], queue=QUEUE)

    async def load(self, rows: int, *, job_type: str) -> None:
        """Insert rows, a batch at a time."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


def _job(job_type: str, number: int) -> Noop | Stamp:
    return Stamp(number) if job_type == STAMP else Noop(number)


class AwaPg:
    """awa-pg 0.6."""

    name = "awa-pg"
    is_drained_sql: str | None = None
    drained_sql: str | None = None
    ended_sql: str | None = None
    drain_jobs_max = 20_000

    async def install(self, dsn: str) -> None:
        """Make its tables."""
        await awa.AsyncClient(dsn).migrate()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open its own pool."""
        client = awa.AsyncClient(dsn)
        try:
            yield AwaProducer(client)
        finally:
            await client.close()

    def worker(self, dsn: str) -> Command:
        """This module."""
        return Command([sys.executable, "-m", "bench.peers.awa_pg", dsn])


async def _work(dsn: str) -> None:
    client, progress, stop = awa.AsyncClient(dsn), Progress(), asyncio.Event()

    @client.task(Noop, queue=QUEUE)
    async def noop(_: Any) -> None:
        progress.note()

    @client.task(Stamp, queue=QUEUE)
    async def stamp(job: Any) -> None:
        stamps.send(job.args.n)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await client.start([(QUEUE, CONCURRENCY)])
    keeping = asyncio.create_task(progress.keep())
    await stop.wait()
    keeping.cancel()
    await client.shutdown()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
