"""The rows a job of ours is, inserted by bare arrays: no way in, no checks, no look at keys, nothing but the rows and their indexes.

It says what a way in costs beside the rows themselves: the same tables, the same 1,000 jobs a statement, one connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from bench.contender import TENANTS, Producer
from bench.ours import Jobqueue

ROWS: Final = 1_000
NUMBER: Final = """
WITH queues AS (INSERT INTO jobqueue.queue (name) VALUES ('default') RETURNING queue_id)
INSERT INTO jobqueue.job_type (name) VALUES ($1) RETURNING type_id, (SELECT queue_id FROM queues)
"""
INSERT: Final = """
WITH asked AS MATERIALIZED (
  SELECT u.*, jobqueue.new_id() AS id, clock_timestamp() AS at
  FROM unnest($1::int[], $2::json[], $3::uuid[], $4::uuid[], $5::text[]) u(tenant_id, data, key_hash, request_hash, idempotency_key)),
keys AS (
  INSERT INTO jobqueue.idempotency (tenant_id, key_hash, request_hash, job_id)
  SELECT a.tenant_id, a.key_hash, a.request_hash, a.id FROM asked a),
jobs AS (
  INSERT INTO jobqueue.job (tenant_id, job_id, queue_id, type_id, priority, max_attempts, idempotency_key, data)
  SELECT a.tenant_id, a.id, $6, $7, 2, 3, a.idempotency_key, a.data FROM asked a),
places AS (
  INSERT INTO jobqueue.ready (sort_at, job_id, queue_id, type_id, tenant_id, band, priority, attempt, attempts_max, crashes)
  SELECT a.at, a.id, $6, $7, a.tenant_id, 2, 2, 0, 3, 0 FROM asked a),
history AS (INSERT INTO jobqueue.event (tenant_id, job_id, type, at) SELECT a.tenant_id, a.id, 'submitted', a.at FROM asked a),
counts AS (
  INSERT INTO jobqueue.tally (tenant_id, queue_id, status, n, entered)
  SELECT a.tenant_id, $6, 'queued', count(*), count(*) FROM asked a GROUP BY 1)
SELECT a.id FROM asked a
"""


class BareRowsProducer:
    """Inserts."""

    def __init__(self, connection: Any, tenant_ids: list[int]) -> None:
        self._connection = connection
        self._tenant_ids = tenant_ids
        self._numbers: tuple[int, int] | None = None

    async def submit(self, number: int, *, job_type: str) -> None:
        """Insert the rows of one job."""
        await self.submit_many(number, 1, job_type=job_type)

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Insert the rows of many jobs with one statement."""
        if self._numbers is None:
            self._numbers = tuple(await self._connection.fetchrow(NUMBER, job_type))
        type_id, queue_id = self._numbers
        numbers = range(first, first + count)
        keys = [str(uuid4()) for _ in numbers]
        data = [f'{{"n":{number}}}' for number in numbers]
        await self._connection.fetch(
            INSERT,
            [self._tenant_ids[number % TENANTS] for number in numbers],
            data,
            [_hash(key) for key in keys],
            [_hash(text) for text in data],
            keys,
            queue_id,
            type_id,
        )

    async def load(self, rows: int, *, job_type: str) -> None:
        """Insert rows, 1,000 a statement."""
        for first in range(0, rows, ROWS):
            await self.submit_many(first, min(ROWS, rows - first), job_type=job_type)


def _hash(text: str) -> UUID:
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


class BareRows(Jobqueue):
    """Our tables without us."""

    name = "bare arrays, same rows"

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        """Open one connection."""
        connection = await asyncpg.connect(dsn)
        tenant_ids = [row[0] for row in await connection.fetch("SELECT tenant_id FROM jobqueue.tenant ORDER BY name")]
        try:
            yield BareRowsProducer(connection, tenant_ids)
        finally:
            await connection.close()
