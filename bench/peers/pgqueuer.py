"""PgQueuer, at the best settings found for it on this kind of run (README.md, "Settings").

    python -m bench.peers.pgqueuer DSN [BATCH_SIZE [CONNECTIONS]]        its worker, until SIGTERM

Installed as `pgq install` does it (all tables logged). No concurrency limits, no dedupe keys, no tracing; uvloop.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from bench import stamps
from bench.contender import CLIENTS, MANY, NOOP, STAMP, Command, Producer

BATCH_SIZE: Final = 500
ROWS: Final = 1_000
CONNECTIONS: Final = 5
"""PgQueuer's own default for a pool; one claims while another logs."""


class PgQueuerProducer:
    """Its enqueue, in this process."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def submit(self, number: int, *, job_type: str) -> None:
        """Enqueue one job."""
        await self._queries.enqueue(job_type, b'{"n":%d}' % number)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Enqueue a batch."""
        await self._queries.enqueue([job_type] * count, [b'{"n":%d}' % number for number in range(first, first + count)], [0] * count)

    async def load(self, rows: int, *, job_type: str) -> None:
        """Enqueue rows, a batch at a time."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


class PgQueuer:
    """PgQueuer 1.6."""

    name = "PgQueuer"
    drain_jobs_max = MANY
    is_drained_sql: str | None = "SELECT NOT EXISTS (SELECT FROM pgqueuer)"
    drained_sql: str | None = """
        SELECT count(*) FILTER (WHERE status = 'successful'),
          extract(epoch FROM min(created) FILTER (WHERE status = 'picked')),
          extract(epoch FROM max(created) FILTER (WHERE status = 'successful'))
        FROM pgqueuer_log
    """

    ended_sql: str | None = """
        SELECT floor(extract(epoch FROM created) * 10)::bigint, count(*) FROM pgqueuer_log WHERE status = 'successful' GROUP BY 1
    """

    async def install(self, dsn: str) -> None:
        """Make its tables, functions and triggers."""
        connection = await asyncpg.connect(dsn)
        await Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open a connection for each client."""
        async with asyncpg.create_pool(dsn, min_size=CLIENTS, max_size=CLIENTS) as pool:
            yield PgQueuerProducer(Queries.from_asyncpg_pool(pool))

    def worker(self, dsn: str) -> Command:
        """This module."""
        return Command([sys.executable, "-m", "bench.peers.pgqueuer", dsn])


async def _work(dsn: str, batch_size: int = BATCH_SIZE, connections: int = CONNECTIONS) -> None:
    async with asyncpg.create_pool(dsn, min_size=connections, max_size=connections) as pool:
        manager = QueueManager(Queries(AsyncpgPoolDriver(pool)))

        @manager.entrypoint(NOOP)
        async def noop(job: Job) -> None:
            pass

        @manager.entrypoint(STAMP)
        async def stamp(job: Job) -> None:
            assert job.payload is not None
            stamps.send(json.loads(job.payload)["n"])

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, manager.shutdown.set)
        await manager.run(batch_size=batch_size)


if __name__ == "__main__":
    uvloop.run(_work(sys.argv[1], *map(int, sys.argv[2:])))
