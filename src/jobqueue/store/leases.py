"""Leases in the database: claimed, renewed, settled, found lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from jobqueue.domain.lease import Beat, BeatStatus, Settlement
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.outcome import Failure, Next, Outcome
from jobqueue.domain.rotation import LANES_MAX, Lane, Turn
from jobqueue.domain.wakeup import decode
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement

Value = TypeVar("Value")

CLAIM: Final = statement("leases/claim")
LANES: Final = statement("leases/lanes")
SETTLE: Final = statement("leases/settle")
HEARTBEAT: Final = statement("leases/heartbeat")
LOST: Final = statement("leases/lost")
HELD: Final = statement("leases/held")
ASSIGN: Final = statement("leases/assign")
STANDINGS: Final = statement("leases/standings")
CLAMP: Final = statement("leases/clamp")

FATES: Final = ("kinds", "nexts", "attempts", "crashes", "delays_s", "errors")
"""The parameters of a settle that are null where all succeeded."""

CLAIM_S_MAX: Final = 5.0
SETTLE_S_MAX: Final = 9.5
"""With the wait for a connection: no call of a worker takes 10 s."""
AGING: Final = timedelta(seconds=30)
"""How much longer than a job of the next better priority one must have waited to go first."""


async def lanes(db: Database, *, tenant_id: int | None, queues: list[int] | None, types: list[int]) -> list[tuple[Lane, int]]:
    """List the lanes with due jobs of these types, each with its tenant's weight. tenant_id, queues None: all."""
    rows = await db.fetch(LANES, tenant_id=tenant_id, queues=queues, types=types, limit=LANES_MAX)
    return [((row[2], row[0], row[1], row[3]), row[4]) for row in rows]


async def claim(
    db: Database, turn: Turn, *, worker_id: int, claim_id: UUID | None, lease_s: float, timeout_s: int, grace_s: float, tenant_cap: int
) -> list[Record]:
    """Claim what a turn names; rows as in sql/leases/claim.sql, at the end those that name who is at a limit."""
    return await db.fetch(
        CLAIM,
        deadline_s=CLAIM_S_MAX,
        worker_id=worker_id,
        claim_id=claim_id,
        lease_s=lease_s,
        timeout_s=timeout_s,
        grace_s=grace_s,
        tenant_cap=tenant_cap,
        aging=AGING,
        tenants=turn.tenants,
        takes=turn.takes,
        criticals=turn.criticals,
        lows=turn.lows,
        lane_tenants=[lane[0] for lane in turn.lanes],
        lane_queues=[lane[1] for lane in turn.lanes],
        lane_types=[lane[2] for lane in turn.lanes],
        lane_bands=[lane[3] for lane in turn.lanes],
        lane_floors=turn.floors,
        lane_limits=turn.widths,
    )


async def heartbeat(
    db: Database, beats: Sequence[Beat], *, tenant_id: int | None, deadline_s: float
) -> dict[UUID, tuple[BeatStatus, datetime | None]]:
    """Renew leases, of one tenant or of any; answers each token's status and new expiry."""
    rows = await db.fetch(
        HEARTBEAT,
        deadline_s=deadline_s,
        tenant_id=tenant_id,
        job_ids=[beat.job_id for beat in beats],
        tokens=[beat.token for beat in beats],
        started_ago_s=[beat.started_ago_s for beat in beats],
        progress=[beat.progress for beat in beats],
        messages=[beat.message for beat in beats],
    )
    return {row[1]: (BeatStatus(row[2]), row[3]) for row in rows}


def failure_json(failure: Failure | None) -> str | None:
    """A failure as the `error` users see."""
    if failure is None:
        return None
    return orjson.dumps({"type": failure.type, "message": failure.message, "traceback": failure.traceback}).decode()


async def settle(
    db: Database | Transaction, settlements: Sequence[Settlement], nexts: Sequence[Next], *, is_reaper: bool
) -> tuple[dict[UUID, tuple[str, str | None]], list[Lane]]:
    """Settle a batch; answers only what differs from what was asked, token -> (status, next status), and the lanes that got due jobs."""
    outcomes = [settlement.outcome for settlement in settlements]
    keys = sorted({settlement.key_id for settlement in settlements if settlement.key_id is not None})
    have_all_succeeded = all(following.status is Status.SUCCEEDED for following in nexts)
    values = {
        "is_reaper": is_reaper,
        "job_ids": [settlement.job_id for settlement in settlements],
        "tokens": [settlement.token for settlement in settlements],
        "ran_s": _unless_empty([outcome.ran_s for outcome in outcomes]),
        "results": _unless_empty([outcome.result_json for outcome in outcomes]),
        "result_refs": _unless_empty([outcome.result_ref for outcome in outcomes]),
        "key_ids": keys or None,
    }
    values |= dict.fromkeys(FATES) if have_all_succeeded else _fates(outcomes, nexts)
    rows = await (db.fetch(SETTLE, deadline_s=SETTLE_S_MAX, **values) if isinstance(db, Database) else db.fetch(SETTLE, **values))
    due = [lane for row in rows if row[1] is None for lane in decode(row[3]) or ()]
    return {row[1]: (row[2], row[3]) for row in rows if row[1] is not None}, due


def _unless_empty(values: list[Value | None]) -> list[Value | None] | None:
    """None for a list of nothing but None: the driver looks at each element of an array it sends."""
    return values if values.count(None) < len(values) else None


def _fates(outcomes: Sequence[Outcome], nexts: Sequence[Next]) -> dict[str, list[Any] | None]:
    """What a settle says beside who succeeded (FATES)."""
    return {
        "kinds": [outcome.kind.value for outcome in outcomes],
        "nexts": [following.status.value for following in nexts],
        "attempts": [following.attempt for following in nexts],
        "crashes": [following.crashes for following in nexts],
        "delays_s": [following.delay_s for following in nexts],
        "errors": _unless_empty([failure_json(outcome.failure) for outcome in outcomes]),
    }


async def held(db: Database, tenant_id: int, *, worker_id: int, claim_id: UUID, limit: int) -> list[Record]:
    """List what a worker still holds of one claim; rows as in sql/leases/held.sql."""
    return await db.fetch(HELD, tenant_id=tenant_id, worker_id=worker_id, claim_id=claim_id, limit=limit)


async def assign(db: Database, tenant_id: int, shares: Sequence[tuple[UUID, UUID, int, UUID | None, float]]) -> None:
    """Give leases (job, token) of one claim to others: (worker, claim, lease length in seconds)."""
    job_ids, tokens, worker_ids, claim_ids, leases_s = zip(*shares, strict=True)
    rows = await db.fetch(
        ASSIGN,
        tenant_id=tenant_id,
        job_ids=list(job_ids),
        tokens=list(tokens),
        worker_ids=list(worker_ids),
        claim_ids=list(claim_ids),
        leases_s=list(leases_s),
    )
    assert len(rows) <= len(shares)


async def standings(db: Database, tenant_id: int, told: Sequence[tuple[UUID, UUID, str]]) -> list[Record]:
    """Say where leases (job, token, what is told of it) stand, in order; rows as in sql/leases/standings.sql."""
    job_ids, tokens, kinds = zip(*told, strict=True)
    return await db.fetch(STANDINGS, tenant_id=tenant_id, job_ids=list(job_ids), tokens=list(tokens), kinds=list(kinds))


async def lost(transaction: Transaction, *, limit: int, resumed_for_s: float, now: datetime | None) -> list[Record]:
    """Lock leases whose time is over; rows as in sql/leases/lost.sql."""
    return await transaction.fetch(LOST, limit=limit, resumed_for_s=resumed_for_s, now=now)


async def clamp(db: Database, *, limit: int) -> int:
    """Bring leases back that a backward step of the clock left far ahead; answers how many."""
    return len(await db.fetch(CLAMP, limit=limit))
