"""Workers made known, and kept known."""

from __future__ import annotations

from collections.abc import Sequence

from jobqueue.store import workers as store
from jobqueue.store.pool import Database


async def register(
    db: Database, *, name: str, queues: Sequence[str] | None, job_types: Sequence[str], concurrency: int, version: str
) -> int:
    """Make a database worker known, one that serves all tenants; answers its number. queues None: all."""
    return await store.register(
        db,
        tenant_id=None,
        name=name,
        queues=["*"] if queues is None else list(queues),
        job_types=job_types,
        concurrency=concurrency,
        version=version,
    )


async def beat(db: Database, worker_id: int, *, state: str = "running") -> str | None:
    """Say a worker is alive; answers run, quiet or terminate, None when it must register again."""
    return await store.beat(db, worker_id, state=state)


async def sweep(db: Database, *, silent_s: float) -> int:
    """Forget workers silent for so long; answers how many."""
    return await store.sweep(db, silent_s=silent_s)
