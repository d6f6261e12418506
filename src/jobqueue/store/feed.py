"""Read the history of all jobs in the order of its numbers, and keep the tickets of streams."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.feed import FeedRow
from jobqueue.domain.history import EventRow
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement

NEWEST: Final = statement("feed/newest")
WRITERS: Final = statement("feed/writers")
EVENTS: Final = statement("feed/events")
EVENTS_OF_JOBS: Final = statement("feed/events_of_jobs")
PROGRESS: Final = statement("feed/progress")
PACKED_COLUMNS: Final = 9


async def newest(db: Database) -> int:
    """Read the newest number of the history, committed or not; 0 when there is none."""
    return int(await db.fetch_value(NEWEST))


async def writers(db: Database) -> frozenset[str]:
    """Name the transactions that are writing history now."""
    return frozenset(row[0] for row in await db.fetch(WRITERS))


async def forgotten(db: Database) -> int:
    """Read up to which number history may be gone; 0 when nothing is."""
    return int(await db.fetch_value(statement("feed/forgotten")) or 0)


async def events(db: Database | Transaction, tenant_ids: Sequence[int], *, seq_after: int, seq_last: int, limit: int) -> list[FeedRow]:
    """Read rows of these tenants' jobs with seq_after < seq <= seq_last, in order, the first `limit` of them."""
    return _rows(await db.fetch(EVENTS, tenant_ids=tenant_ids, seq_after=seq_after, seq_last=seq_last, limit=limit))


async def next_seq(transaction: Transaction, *, seq_after: int) -> int | None:
    """Find the first row after a number; None: there is none."""
    seq = await transaction.fetch_value(statement("feed/next"), seq_after=seq_after)
    return None if seq is None else int(seq)


async def events_of_jobs(
    db: Database, tenant_id: int, job_ids: Sequence[UUID], *, seq_after: int, seq_last: int, limit: int
) -> list[FeedRow]:
    """The same of some jobs of one tenant."""
    rows = await db.fetch(EVENTS_OF_JOBS, tenant_id=tenant_id, job_ids=job_ids, seq_after=seq_after, seq_last=seq_last, limit=limit)
    return _rows(rows)


def _rows(rows: list[Record]) -> list[FeedRow]:
    return [FeedRow(row["tenant_id"], row["job_id"], row["queue"], row["job_type"], EventRow(*row[:PACKED_COLUMNS])) for row in rows]


async def progress(db: Database, tenant_ids: Sequence[int], *, within_s: float, limit: int) -> list[Record]:
    """Read what these tenants' running jobs told of their progress within the last seconds."""
    return await db.fetch(PROGRESS, tenant_ids=tenant_ids, within_s=within_s, limit=limit)


async def newest_since(transaction: Transaction, tenant_id: int, *, seq_after: int) -> dict[UUID, int]:
    """Read the newest number of each job that changed after a number, in the transaction's snapshot."""
    rows = await transaction.fetch(statement("feed/newest_since"), tenant_id=tenant_id, seq_after=seq_after)
    return {row["job_id"]: row["seq"] for row in rows}


async def create_ticket(
    db: Database,
    *,
    ticket_sha256: str,
    tenant_id: int,
    kind: str,
    holder_id: str,
    scopes: Sequence[str],
    credential_expires_at: datetime | None,
    lives_s: float,
) -> None:
    """Keep a ticket. kind and holder_id: whom it speaks for; credential_expires_at: when that credential ends, if it does."""
    await db.fetch(
        statement("stream_tickets/create"),
        ticket_sha256=ticket_sha256,
        tenant_id=tenant_id,
        kind=kind,
        holder_id=holder_id,
        scopes=list(scopes),
        credential_expires_at=credential_expires_at,
        lives_s=lives_s,
    )


async def redeem_ticket(db: Database, ticket_sha256: str) -> Any:
    """Use a ticket up; None: there is none such, or no more."""
    return await db.fetch_row(statement("stream_tickets/redeem"), ticket_sha256=ticket_sha256)
