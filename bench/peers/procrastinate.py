"""procrastinate, with its psycopg connector, all settings as they come but for the concurrency, which is 100 as ours.

python -m bench.peers.procrastinate DSN        its worker, until SIGTERM
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import procrastinate

from bench import stamps
from bench.contender import CLIENTS, NOOP, STAMP, Command, Producer

CONCURRENCY: Final = 100
ROWS: Final = 1_000


def make_app(dsn: str, *, connections: int) -> procrastinate.App:
    """Make the app with the two tasks."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=connections, max_size=connections))
    app.task(name=NOOP)(noop)
    app.task(name=STAMP)(stamp)
    return app


async def noop(n: int) -> None:
    """Do nothing."""


async def stamp(n: int) -> None:
    """Tell that it has started."""
    stamps.send(n)


class ProcrastinateProducer:
    """Its defer, in this process."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

    async def submit(self, number: int, *, job_type: str) -> None:
        """Defer one job."""
        await self._app.configure_task(job_type).defer_async(n=number)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Defer a batch."""
        jobs: list[dict[str, Any]] = [{"n": number} for number in range(first, first + count)]
        await self._app.configure_task(job_type).batch_defer_async(*jobs)

    async def load(self, rows: int, *, job_type: str) -> None:
        """Defer rows, a batch at a time."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


class Procrastinate:
    """procrastinate 3."""

    name = "procrastinate"
    drain_jobs_max = 2_000
    is_drained_sql: str | None = "SELECT NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))"
    drained_sql: str | None = """
        SELECT count(*) FILTER (WHERE type = 'succeeded'), extract(epoch FROM min(at) FILTER (WHERE type = 'started')),
          extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded'))
        FROM procrastinate_events
    """
    ended_sql: str | None = (
        "SELECT floor(extract(epoch FROM at) * 10)::bigint, count(*) FROM procrastinate_events WHERE type = 'succeeded' GROUP BY 1"
    )

    async def install(self, dsn: str) -> None:
        """Make its tables, functions and triggers."""
        async with make_app(dsn, connections=1).open_async() as app:
            await app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open a connection for each client."""
        async with make_app(dsn, connections=CLIENTS).open_async() as app:
            yield ProcrastinateProducer(app)

    def worker(self, dsn: str) -> Command:
        """This module."""
        return Command([sys.executable, "-m", "bench.peers.procrastinate", dsn])


async def _work(dsn: str) -> None:
    async with make_app(dsn, connections=10).open_async() as app:
        await app.run_worker_async(concurrency=CONCURRENCY)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
