"""What endpoints are told: made, taken to be sent, recorded, shown, sent again, swept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.history import SLOTS
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement

SEQ_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One event with the endpoints that want it: (webhook_id, the status the delivery starts in)."""

    seq: int
    tenant_id: int
    job_id: UUID
    type: str
    event_at: datetime
    body: str
    wanted: Sequence[tuple[UUID, str]]


async def insert(transaction: Transaction, made: Sequence[NewDelivery], *, now: datetime | None) -> int:
    """Make deliveries; answers how many are new."""
    pairs = [(place, webhook_id, status) for place, one in enumerate(made, 1) for webhook_id, status in one.wanted]
    rows = await transaction.fetch(
        statement("webhook_deliveries/insert"),
        seqs=[one.seq for one in made],
        tenant_ids=[one.tenant_id for one in made],
        job_ids=[one.job_id for one in made],
        types=[one.type for one in made],
        event_ats=[one.event_at for one in made],
        bodies=[one.body for one in made],
        places=[pair[0] for pair in pairs],
        webhook_ids=[pair[1] for pair in pairs],
        statuses=[pair[2] for pair in pairs],
        now=now,
    )
    return len(rows)


async def test(db: Database | Transaction, tenant_id: int, webhook_id: UUID, *, tenant: str, kind: str) -> Record | None:
    """Make a delivery that is of no job; None: there is no such endpoint, or it is disabled."""
    return await db.fetch_row(
        statement("webhook_deliveries/test"), tenant_id=tenant_id, webhook_id=webhook_id, tenant=tenant, type=kind, slots=SLOTS
    )


async def claim(
    db: Database, busy: Mapping[UUID, int], *, endpoint_max: int, probed_after: int, limit: int, claim_s: float, now: datetime | None
) -> list[Record]:
    """Take deliveries that are due; columns as in sql/webhook_deliveries/claim.sql. busy: how many of an endpoint are being sent."""
    return await db.fetch(
        statement("webhook_deliveries/claim"),
        busy_ids=list(busy.keys()),
        busy_counts=list(busy.values()),
        endpoint_max=endpoint_max,
        probed_after=probed_after,
        limit=limit,
        claim_s=claim_s,
        now=now,
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a try, as it is stored; attempt fences it."""

    webhook_id: UUID
    seq: int
    attempt: int
    status: str
    delay_s: float
    answer_status: int | None
    error: str | None
    excerpt: str
    answer_s: float
    is_gone: bool


async def record(
    db: Database, tries: Sequence[Recorded], *, paused_after: int, pause_s_max: float, failing_s_max: float, now: datetime | None
) -> list[Record]:
    """Record tries; answers the endpoints whose standing changed, with whether they were disabled now."""
    return await db.fetch(
        statement("webhook_deliveries/record"),
        webhook_ids=[one.webhook_id for one in tries],
        seqs=[one.seq for one in tries],
        attempts=[one.attempt for one in tries],
        statuses=[one.status for one in tries],
        delays_s=[one.delay_s for one in tries],
        answer_statuses=[one.answer_status for one in tries],
        errors=[one.error for one in tries],
        excerpts=[one.excerpt for one in tries],
        answers_s=[one.answer_s for one in tries],
        gone=[one.is_gone for one in tries],
        paused_after=paused_after,
        pause_s_max=pause_s_max,
        failing_s_max=failing_s_max,
        now=now,
    )


async def page(
    db: Database, tenant_id: int, webhook_id: UUID, *, before_seq: int | None, rows_max: int, limit: int, filters: Mapping[str, Any]
) -> tuple[list[Record], int | None]:
    """List deliveries, newest first; answers also the number to go on before, None at the end.

    filters: statuses, types, job_id, after, until; None each: any. At most rows_max rows are looked at, so a page may be short.
    """
    before = SEQ_MAX if before_seq is None else before_seq
    place: dict[str, Any] = {"tenant_id": tenant_id, "webhook_id": webhook_id, "before_seq": before, "rows_max": rows_max}
    found = await db.fetch(statement("webhook_deliveries/list"), **place, limit=limit + 1, **filters)
    if len(found) > limit:
        return found[:limit], found[limit - 1]["seq"]
    return found, await _looked_to(db, place)


async def _looked_to(db: Database | Transaction, place: Mapping[str, Any]) -> int | None:
    """Say where a look at rows_max rows ended; None: there are no more."""
    row = await db.fetch_row(statement("webhook_deliveries/look"), **place)
    return row["seq_last"] if row is not None and row["rows"] == place["rows_max"] else None


async def get(db: Database, tenant_id: int, webhook_id: UUID, seq: int) -> Record | None:
    """Read a delivery with its body."""
    return await db.fetch_row(statement("webhook_deliveries/get"), tenant_id=tenant_id, webhook_id=webhook_id, seq=seq)


async def replay(db: Database | Transaction, tenant_id: int, webhook_id: UUID, seq: int, *, now: datetime | None) -> Record | None:
    """Send a delivery again; None: there is none such."""
    return await db.fetch_row(statement("webhook_deliveries/replay"), tenant_id=tenant_id, webhook_id=webhook_id, seq=seq, now=now)


async def replay_all(
    db: Database | Transaction,
    tenant_id: int,
    webhook_id: UUID,
    *,
    statuses: Sequence[str],
    after: datetime | None,
    until: datetime | None,
    before_seq: int | None,
    rows_max: int,
    now: datetime | None,
) -> tuple[int, int | None]:
    """Send again what fits within rows_max rows; answers how many, and the number to go on before, None at the end."""
    before = SEQ_MAX if before_seq is None else before_seq
    place: dict[str, Any] = {"tenant_id": tenant_id, "webhook_id": webhook_id, "before_seq": before, "rows_max": rows_max}
    rows = await db.fetch(statement("webhook_deliveries/replay_all"), **place, statuses=statuses, after=after, until=until, now=now)
    return len(rows), await _looked_to(db, place)


async def sweep(
    db: Database, *, after: tuple[UUID, int], kept_s: float, limit: int, now: datetime | None
) -> tuple[tuple[UUID, int], int] | None:
    """Forget a page of a walk; answers where it ended and how many went, None at the end of the walk."""
    row = await db.fetch_row(
        statement("webhook_deliveries/sweep"), after_id=after[0], after_seq=after[1], kept_s=kept_s, limit=limit, now=now
    )
    return None if row is None else ((row["webhook_id"], row["seq"]), row["swept"])


async def lag_s(db: Database) -> float:
    """Say for how long the delivery that is due the longest has been; 0: none is."""
    return float(await db.fetch_value(statement("webhook_deliveries/lag")) or 0.0)
