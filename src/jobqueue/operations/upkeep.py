"""What time does to jobs, and what keeps the tables in order; each one bounded, and right when several do it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from jobqueue.domain.rotation import Lane
from jobqueue.store import audit, jobs, leases, upkeep
from jobqueue.store.pool import Database

PROMOTED_MAX: Final = 1_000
EXPIRED_MAX: Final = 500
FOLDED_MAX: Final = 20_000
KEYS_SWEPT_MAX: Final = 200
CLAMPED_MAX: Final = 1_000
IDEMPOTENCY_PAGE: Final = 1_000
IDEMPOTENCY_KEPT_S: Final = 24 * 3600.0
"""How long a key outlives its job."""
PARTITION_WEEKS_AHEAD: Final = 6
AUDIT_MONTHS: Final = 4
"""This month and the next ones; whoever has no reaper for longer writes into the default partition."""
DROP_S_MAX: Final = 60.0


async def promote(db: Database, *, limit: int = PROMOTED_MAX, now: datetime | None = None) -> dict[Lane, int]:
    """Make due what waited for its time; answers how many jobs each lane got."""
    return await jobs.promote(db, limit=limit, now=now)


async def expire(
    db: Database, *, limit: int = EXPIRED_MAX, now: datetime | None = None, told: Callable[[str, int], None] | None = None
) -> int:
    """End jobs that were not started in time; answers how many. told is given each tenant's share, after the commit."""
    found = await jobs.expire(db, limit=limit, now=now)
    if told is not None:
        for tenant, count in found.items():
            told(tenant, count)
    return sum(found.values())


async def clamp_leases(db: Database) -> int:
    """Bring leases back that a backward step of the clock left far ahead; answers how many."""
    return await leases.clamp(db, limit=CLAMPED_MAX)


async def clock_s(db: Database) -> float:
    """Read the database's clock."""
    return await upkeep.clock_s(db)


async def fold_tally(db: Database) -> int:
    """Fold counts into sums; answers how many rows were folded."""
    return await upkeep.fold_tally(db, limit=FOLDED_MAX)


async def sweep_concurrency_keys(db: Database) -> int:
    """Let parked jobs of keys with free slots in; answers how many."""
    return await upkeep.sweep_keys(db, limit=KEYS_SWEPT_MAX)


@dataclass(frozen=True, slots=True)
class SweepPage:
    """Where a walk over the idempotency keys stands; position None: it is over."""

    position: tuple[int, UUID] | None
    swept: int


WALK_START: Final = (0, UUID(int=0))


async def sweep_idempotency(db: Database, *, after: tuple[int, UUID] = WALK_START, kept_s: float = IDEMPOTENCY_KEPT_S) -> SweepPage:
    """Forget the keys of jobs that ended long enough ago, a page of the walk."""
    page = await upkeep.sweep_idempotency(db, after=after, kept_s=kept_s, limit=IDEMPOTENCY_PAGE)
    return SweepPage(None, 0) if page is None else SweepPage(*page)


async def make_partitions(db: Database) -> int:
    """Make the partitions of the weeks ahead; answers how many were missing."""
    return await upkeep.make_partitions(db, weeks=PARTITION_WEEKS_AHEAD)


async def drop_oldest_partition(db: Database, *, kept_s: float, now: datetime | None = None) -> str | None:
    """Drop the oldest week of jobs nobody needs; answers its first day as YYYYMMDD, None when there is none."""
    return await upkeep.drop_oldest_partition(db, kept_s=kept_s, now=now, deadline_s=DROP_S_MAX)


async def make_audit_months(db: Database) -> int:
    """Make the months ahead of the audit trail; answers how many were missing."""
    return await audit.make_months(db, months=AUDIT_MONTHS)


async def drop_oldest_audit_month(db: Database, *, kept_s: float, now: datetime | None = None) -> str | None:
    """Drop the oldest month of the audit trail that is over for longer than kept_s; answers its name, None when there is none."""
    return await audit.drop_month(db, kept_s=kept_s, now=now, deadline_s=DROP_S_MAX)


async def elect(db: Database, *, role: str, holder: UUID, term: int | None, term_s: float) -> int | None:
    """Become or stay the leader of a role; answers the term, None when somebody else leads."""
    return await upkeep.elect(db, role=role, holder=holder, term=term, term_s=term_s)


async def resign(db: Database, *, role: str, holder: UUID, term: int) -> None:
    """Let the next one lead at once."""
    await upkeep.resign(db, role=role, holder=holder, term=term)
