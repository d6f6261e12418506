"""Figures of the whole queue, for metrics."""

from __future__ import annotations

from jobqueue.store.pool import Database, Record
from jobqueue.store.statements import statement

COUNTS = statement("measures/counts")
OLDEST = statement("measures/oldest")
DEPTH = statement("measures/depth")


async def counts(db: Database, *, tenants_max: int, worker_alive_s: float) -> list[Record]:
    """Count due jobs by tenant, kept jobs by status, live workers by state: rows (kind, name, n); of tenants not named, name is None."""
    return await db.fetch(COUNTS, tenants_max=tenants_max, worker_alive_s=worker_alive_s)


async def oldest(db: Database, *, lanes_max: int) -> list[Record]:
    """Say for how long the oldest due job of each queue has been due: rows (name, age_s)."""
    return await db.fetch(OLDEST, lanes_max=lanes_max)


async def depth(db: Database, tenant_id: int) -> int:
    """Count a tenant's due jobs."""
    return int(await db.fetch_value(DEPTH, tenant_id=tenant_id))
