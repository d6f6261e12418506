"""What a database is asked once, after it was restored from a backup."""

from __future__ import annotations

from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def sessions(db: Database) -> dict[str, int]:
    """Count the sessions of our roles, by name, without the caller's own."""
    return {row["name"]: row["sessions"] for row in await db.fetch(statement("restored/sessions"))}


async def leases(transaction: Transaction, *, limit: int) -> list[Record]:
    """Lock leases, over or not; rows as in sql/restored/leases.sql."""
    return await transaction.fetch(statement("restored/leases"), limit=limit)


async def skip_events(transaction: Transaction, *, skipped: int) -> int:
    """Go on numbering events so much further; answers from where on."""
    return int(await transaction.fetch_value(statement("restored/skip_events"), skipped=skipped))


async def hold(transaction: Transaction) -> list[Record]:
    """Pause every queue that has open jobs; columns as in sql/restored/hold.sql."""
    return await transaction.fetch(statement("restored/hold"))


async def standing(db: Database, *, deadline_s: float) -> Record:
    """Count what is open; columns as in sql/restored/standing.sql."""
    row = await db.fetch_row(statement("restored/standing"), deadline_s=deadline_s)
    assert row is not None
    return row
