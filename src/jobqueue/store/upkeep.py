"""What the reaper keeps in order: leadership, partitions, counts, old keys; and what the server is."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from jobqueue.store.pool import Database, Record
from jobqueue.store.statements import statement


async def elect(db: Database, *, role: str, holder: UUID, term: int | None, term_s: float) -> int | None:
    """Become or stay the leader; answers the term, None when somebody else leads."""
    number: int | None = await db.fetch_value(statement("leader/elect"), role=role, holder=holder, term=term, term_s=term_s)
    return number


async def resign(db: Database, *, role: str, holder: UUID, term: int) -> None:
    """Let the next one lead at once."""
    await db.fetch(statement("leader/resign"), role=role, holder=holder, term=term)


async def make_partitions(db: Database, *, weeks: int) -> int:
    """Make the partitions of last week and the next ones; answers how many were missing."""
    return int(await db.fetch_value(statement("partitions/make"), weeks=weeks))


async def drop_oldest_partition(db: Database, *, kept_s: float, now: datetime | None, deadline_s: float) -> str | None:
    """Drop the oldest week nobody needs; answers its first day, None when there is none."""
    week: str | None = await db.fetch_value(statement("partitions/drop_oldest"), deadline_s=deadline_s, kept_s=kept_s, now=now)
    return week


async def fold_tally(db: Database, *, limit: int) -> int:
    """Fold count rows; answers how many were folded."""
    return int(await db.fetch_value(statement("tally/fold"), limit=limit))


async def sweep_keys(db: Database, *, limit: int) -> int:
    """Let parked jobs of keys with free slots in; answers how many."""
    return int(await db.fetch_value(statement("concurrency_keys/sweep"), limit=limit))


async def sweep_idempotency(db: Database, *, after: tuple[int, UUID], kept_s: float, limit: int) -> tuple[tuple[int, UUID], int] | None:
    """Sweep one page of idempotency keys; answers where it ended and how many went, None when the walk is over."""
    row = await db.fetch_row(statement("idempotency/sweep"), after_tenant_id=after[0], after_key_hash=after[1], kept_s=kept_s, limit=limit)
    return None if row is None else ((row["tenant_id"], row["key_hash"]), row["swept"])


async def server_settings(db: Database) -> Record:
    """Read fsync, full_page_writes, synchronous_commit ('on'/'off'...) and the version number."""
    row = await db.fetch_row(statement("server/settings"))
    assert row is not None
    return row


async def schema_version(db: Database) -> str | None:
    """Read the migration the schema stands at, None: none."""
    if not await db.fetch_value(statement("server/schema_version")):
        return None
    version: str | None = await db.fetch_value(statement("server/schema_revision"))
    return version


async def clock_s(db: Database) -> float:
    """Read the database's clock, in seconds since 1970."""
    return float(await db.fetch_value(statement("server/clock")))


async def notify(db: Database, payload: str) -> None:
    """Wake listeners; payload under 8,000 bytes."""
    await db.fetch(statement("wakeups/notify"), payload=payload)


async def health(db: Database) -> Record:
    """Read oldest_transaction_s, notify_queue_ratio, table_bytes, index_bytes and dead_rows (JSON, by table)."""
    row = await db.fetch_row(statement("server/health"))
    assert row is not None
    return row


async def has_wall(db: Database) -> bool:
    """Say whether row-level security binds the role of single-tenant statements, and this login may become it."""
    return bool(await db.fetch_value(statement("server/wall")))
