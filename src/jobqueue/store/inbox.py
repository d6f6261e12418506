"""Jobs submitted inside callers' own transactions, until they are moved on."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from jobqueue.domain.rotation import Lane
from jobqueue.store.pool import Database
from jobqueue.store.statements import statement

RECEIVE: Final = statement("inbox/receive")


async def receive(
    db: Database,
    *,
    limit: int,
    job: tuple[int, UUID] | None,
    default_max_attempts: int,
    default_expires_in_s: float | None,
) -> dict[Lane, tuple[int, int]]:
    """Move jobs on, or the one (tenant, job); answers of each lane how many came and how many of them are due."""
    rows = await db.fetch(
        RECEIVE,
        limit=limit,
        tenant_id=None if job is None else job[0],
        job_id=None if job is None else job[1],
        default_attempts_max=default_max_attempts,
        default_expires_in_s=default_expires_in_s,
    )
    return {(row["tenant_id"], row["queue_id"], row["type_id"], row["band"]): (row["jobs"], row["due"]) for row in rows}
