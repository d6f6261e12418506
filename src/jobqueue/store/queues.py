"""A tenant's queues: settings and figures."""

from __future__ import annotations

from collections.abc import Sequence

from jobqueue.domain.rotation import Lane
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def get(db: Database | Transaction, tenant_id: int, name: str) -> Record | None:
    """Read the settings of a queue the tenant used or set; columns as in sql/queues/get.sql."""
    return await db.fetch_row(statement("queues/get"), tenant_id=tenant_id, name=name)


async def page(db: Database, tenant_id: int, *, after: str, limit: int) -> list[Record]:
    """List the queues a tenant used or set, by name; columns as in sql/queues/list.sql."""
    return await db.fetch(statement("queues/list"), tenant_id=tenant_id, after=after, limit=limit)


async def change(transaction: Transaction, tenant_id: int, queue_id: int, *, changes_json: str) -> Record:
    """Change settings; changes_json: an object of column -> value. Answers all settings."""
    row = await transaction.fetch_row(statement("queues/set"), tenant_id=tenant_id, queue_id=queue_id, changes=changes_json)
    assert row is not None
    return row


async def lanes(db: Database, tenant_id: int, queue_id: int, *, limit: int) -> list[Lane]:
    """List the lanes of a tenant's queue that have due jobs."""
    rows = await db.fetch(statement("queues/lanes"), tenant_id=tenant_id, queue_id=queue_id, limit=limit)
    return [(tenant_id, queue_id, row["type_id"], row["band"]) for row in rows]


async def stats(db: Database, tenant_id: int, *, names: Sequence[str], window_s: float) -> list[Record]:
    """Read the figures of queues, of all the tenant used when names is empty; columns as in sql/queues/stats.sql."""
    return await db.fetch(statement("queues/stats"), tenant_id=tenant_id, names=list(names), window_s=window_s)


async def worker_concurrency(db: Database, tenant_id: int, *, names: Sequence[str], worker_alive_s: float) -> dict[str, float]:
    """Answer how many jobs at once a living worker of each queue runs, on average."""
    rows = await db.fetch(statement("queues/workers"), tenant_id=tenant_id, names=list(names), worker_alive_s=worker_alive_s)
    return {row["name"]: row["concurrency"] for row in rows}


async def sample(db: Database, *, window_s: float, kept_s: float) -> int:
    """Write down the figures of queues that moved; answers how many."""
    return int(await db.fetch_value(statement("queues/sample"), window_s=window_s, kept_s=kept_s))
