"""Peers in Node: graphile-worker with its local queue, and pg-boss driven bare. Drains alone, since their ways in are other processes.

`make bench-node` installs them, from bench/node/package-lock.json.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.contender import MANY, Command, Producer

NODE_DIR: Final = Path(__file__).parents[1] / "node"
INSTALL_S_MAX: Final = 60.0
FILL_S_MAX: Final = 60.0
ROWS: Final = 1_000


class NodeMissing(Exception):
    """Node's packages are not installed; `make bench-node` does it."""


def is_there() -> bool:
    """Say whether the packages are installed."""
    return (NODE_DIR / "node_modules").is_dir()


class SqlProducer:
    """Fills by the peer's own SQL."""

    def __init__(self, connection: Any, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    async def submit(self, number: int, *, job_type: str) -> None:
        """Insert one job."""
        await self.submit_many(number, 1, job_type=job_type)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Insert jobs."""
        await self._connection.execute(self._statement, job_type, first, count, timeout=FILL_S_MAX)

    async def load(self, rows: int, *, job_type: str) -> None:
        """Insert rows, a batch at a time."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


class NodePeer:
    """What both have in common."""

    name: str
    script: str
    fill_sql: str
    drain_jobs_max = MANY
    is_drained_sql: str | None = None
    drained_sql: str | None = None
    ended_sql: str | None = None

    async def install(self, dsn: str) -> None:
        """Make its tables. Raises NodeMissing."""
        if not is_there():
            raise NodeMissing("run `make bench-node`")
        process = await asyncio.create_subprocess_exec("node", str(NODE_DIR / self.script), dsn, "install")
        async with asyncio.timeout(INSTALL_S_MAX):
            code = await process.wait()
        assert code == 0, f"{self.script} install ended with {code}"

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open one connection."""
        connection = await asyncpg.connect(dsn)
        try:
            yield SqlProducer(connection, self.fill_sql)
        finally:
            await connection.close()

    def worker(self, dsn: str) -> Command:
        """Its script."""
        return Command(["node", str(NODE_DIR / self.script), dsn, "work"])


class GraphileWorker(NodePeer):
    """graphile-worker 0.17, local queue of 500."""

    name = "graphile-worker"
    script = "graphile.mjs"
    fill_sql = """
        SELECT graphile_worker.add_jobs(array_agg(json_populate_record(
          NULL::graphile_worker.job_spec,
          json_build_object('identifier', $1::text, 'payload', json_build_object('n', n)))))
        FROM generate_series($2::int, $2::int + $3::int - 1) n
    """


class PgBoss(NodePeer):
    """pg-boss 10, fetch and complete by the batch."""

    name = "pg-boss"
    script = "pgboss.mjs"
    fill_sql = """
        INSERT INTO pgboss.job (name, data)
        SELECT $1::text, jsonb_build_object('n', n) FROM generate_series($2::int, $2::int + $3::int - 1) n
    """
