"""Workers as the database knows them."""

from __future__ import annotations

from collections.abc import Sequence

from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def register(
    db: Database,
    *,
    tenant_id: int | None,
    name: str,
    queues: Sequence[str],
    job_types: Sequence[str],
    concurrency: int,
    version: str | None,
) -> int:
    """Make a worker known; answers its number."""
    return int(
        await db.fetch_value(
            statement("workers/register"),
            tenant_id=tenant_id,
            name=name,
            queues=list(queues),
            job_types=list(job_types),
            concurrency=concurrency,
            version=version,
        )
    )


async def beat(db: Database, worker_id: int, *, state: str) -> str | None:
    """Say a worker is alive; answers its directive, None when it is not known any more."""
    directive: str | None = await db.fetch_value(statement("workers/beat"), worker_id=worker_id, state=state)
    return directive


async def find(db: Database, tenant_id: int, name: str, *, state: str | None = None) -> tuple[int, str] | None:
    """Say a tenant's worker is alive; answers its number and its directive, None when it is not known. state None: as it was."""
    row = await db.fetch_row(statement("workers/find"), tenant_id=tenant_id, name=name, state=state)
    return None if row is None else (row["worker_id"], row["directive"])


async def keep(db: Database, worker_ids: Sequence[int]) -> list[int]:
    """Say workers are alive; answers those that shall take no more jobs."""
    return [row[0] for row in await db.fetch(statement("workers/keep"), worker_ids=worker_ids)]


async def direct(db: Database | Transaction, tenant_id: int, name: str, *, directive: str) -> bool:
    """Tell a worker what to do; False: there is none of that name."""
    return await db.fetch_value(statement("workers/direct"), tenant_id=tenant_id, name=name, directive=directive) is not None


async def page(db: Database, tenant_id: int, *, name: str | None, after: str, worker_alive_s: float, limit: int) -> list[Record]:
    """List who is alive for a tenant, or the workers of one name; columns as in sql/workers/list.sql."""
    return await db.fetch(
        statement("workers/list"), tenant_id=tenant_id, name=name, after=after, worker_alive_s=worker_alive_s, limit=limit
    )


async def sweep(db: Database, *, silent_s: float) -> int:
    """Forget workers silent for so long; answers how many."""
    return len(await db.fetch(statement("workers/sweep"), silent_s=silent_s))
