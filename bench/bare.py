"""Bare SQL: no queue at all, only the statements a queue cannot do without. It bounds what Postgres and the driver allow.

    python -m bench.bare DSN        the claim and ack loop, until SIGTERM

The rows hold what ours hold and have a unique key, but nobody looks at tenants, types or priorities, no lease ends, nothing is retried, no
handler is called: a row is claimed, then replaced by a row that says when.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
import uvloop

from bench.contender import CLIENTS, MANY, TENANTS, Command, Producer

CLAIM_MAX: Final = 500
ROWS: Final = 1_000
LOOPS: Final = 2
"""One claims while another acks."""
IDLE_S: Final = 0.01

TABLES: Final = """
    CREATE TABLE task (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int NOT NULL, queue_id int NOT NULL,
      type text NOT NULL, priority smallint NOT NULL, attempts_max smallint NOT NULL, idempotency_key text NOT NULL, data json NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(), claimed_at timestamptz, UNIQUE (tenant_id, idempotency_key));
    CREATE INDEX task_waiting ON task (id) WHERE claimed_at IS NULL;
    CREATE TABLE ended (id bigint NOT NULL, claimed_at timestamptz NOT NULL, ended_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
SUBMIT: Final = """
    INSERT INTO task (tenant_id, queue_id, type, priority, attempts_max, idempotency_key, data)
    VALUES ($1, 1, $2, 2, 3, $3, $4) RETURNING id
"""
SUBMIT_MANY: Final = """
    INSERT INTO task (tenant_id, queue_id, type, priority, attempts_max, idempotency_key, data)
    SELECT u.tenant_id, 1, u.type, 2, 3, u.idempotency_key, u.data
    FROM unnest($1::int[], $2::text[], $3::text[], $4::json[]) u(tenant_id, type, idempotency_key, data) RETURNING id
"""
CLAIM: Final = """
    UPDATE task SET claimed_at = clock_timestamp()
    WHERE id = ANY (ARRAY(SELECT id FROM task WHERE claimed_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING id, type, data
"""
ACK: Final = """
    WITH gone AS (DELETE FROM task WHERE id = ANY ($1::bigint[]) RETURNING id, claimed_at)
    INSERT INTO ended (id, claimed_at) SELECT id, claimed_at FROM gone
"""


class BareProducer:
    """Inserts."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def submit(self, number: int, *, job_type: str) -> None:
        """Insert one row."""
        await self._pool.fetch(SUBMIT, number % TENANTS, job_type, str(uuid4()), f'{{"n":{number}}}')

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Insert rows with one statement."""
        numbers = range(first, first + count)
        tenants, keys = [number % TENANTS for number in numbers], [str(uuid4()) for _ in numbers]
        await self._pool.fetch(SUBMIT_MANY, tenants, [job_type] * count, keys, [f'{{"n":{number}}}' for number in numbers])

    async def load(self, rows: int, *, job_type: str) -> None:
        """Insert rows, 1,000 a statement."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


class BareSql:
    """No queue."""

    name = "bare SQL"
    drain_jobs_max = MANY
    is_drained_sql: str | None = "SELECT NOT EXISTS (SELECT FROM task)"
    drained_sql: str | None = "SELECT count(*), extract(epoch FROM min(claimed_at)), extract(epoch FROM max(ended_at)) FROM ended"

    ended_sql: str | None = "SELECT floor(extract(epoch FROM ended_at) * 10)::bigint, count(*) FROM ended GROUP BY 1"

    async def install(self, dsn: str) -> None:
        """Make the two tables."""
        connection = await asyncpg.connect(dsn)
        await connection.execute(TABLES)
        await connection.close()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open a connection for each client."""
        async with asyncpg.create_pool(dsn, min_size=CLIENTS, max_size=CLIENTS) as pool:
            yield BareProducer(pool)

    def worker(self, dsn: str) -> Command:
        """This module."""
        return Command([sys.executable, "-m", "bench.bare", dsn])


async def _work(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=LOOPS, max_size=LOOPS) as pool, asyncio.TaskGroup() as group:
        for _ in range(LOOPS):
            group.create_task(_claim_and_ack(pool))


async def _claim_and_ack(pool: Any) -> None:
    while True:
        rows = await pool.fetch(CLAIM, CLAIM_MAX)
        if rows:
            await pool.execute(ACK, [row[0] for row in rows])
        else:
            await asyncio.sleep(IDLE_S)


if __name__ == "__main__":
    uvloop.run(_work(sys.argv[1]))
