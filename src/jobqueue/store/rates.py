"""Tenants' rate buckets in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jobqueue.domain.rate import Ask, Drawn
from jobqueue.store.pool import Database
from jobqueue.store.statements import statement

DRAW: Final = statement("rates/draw")


async def draw(
    db: Database, asks: Sequence[Ask], *, holder: UUID, default_per_minute: int, held_s: float, deadline_s: float
) -> dict[int, Drawn]:
    """Draw for one process, holder; answers by tenant. default_per_minute 0: tenants without a rate have no limit."""
    rows = await db.fetch(
        DRAW,
        deadline_s=deadline_s,
        holder=holder,
        default_per_minute=default_per_minute,
        held_s=held_s,
        tenants=[ask.tenant_id for ask in asks],
        hands=[ask.hand for ask in asks],
        backs=[ask.back for ask in asks],
        needs=[ask.need for ask in asks],
        wants=[ask.want for ask in asks],
    )
    return {row[0]: Drawn(row[1], row[2], row[3], row[4]) for row in rows}
