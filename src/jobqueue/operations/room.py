"""How many more jobs a tenant may store: known from a count that is looked up again before it could be used up.

So `max_queued` costs no query a submit, and is exact within WAITING_COUNT_S_MAX near the limit. Who is refused is told when there should be
room, from the pace at which the tenant's jobs stopped waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import JobQueueError, QueueFull
from jobqueue.domain.quota import RETRY_S_MIN, DrainRate, effective_limit, room_for_waiting
from jobqueue.store import jobs as store
from jobqueue.store.pool import Database

WAITING_COUNT_S_MAX: Final = 0.25
"""At its limit a tenant's waiting count is looked up again after this."""
WAITING_COUNT_S_MIN: Final = 0.05
"""And after this while there is little room: all processes together cannot store more than 2,000 jobs in it (FILL_RATE_MAX)."""
FILL_RATE_MAX: Final = 40_000
"""Jobs a second that all processes together cannot store: a count stands until that rate could have used up the room it left."""
TRUSTED_S_MAX: Final = 10.0
"""And no longer than this, so that a lowered limit is seen."""

DRAIN_WATCHED: Final = 0.1
"""With this part of its limit left, the pace at which a tenant's jobs stop waiting is measured."""
AMPLE: Final = 10_000
"""With less room than this a batch is looked over first, so that jobs that are there already take none."""


@dataclass(slots=True)
class WaitingCount:
    """How many more jobs a tenant may store, as of a monotonic time."""

    room: float
    as_of_s: float


class Room:
    """A process's memory of the tenants' waiting counts."""

    def __init__(self, db: Database, *, max_queued: int, clock: Clock) -> None:
        """max_queued: of tenants that have no limit of their own; 0 none."""
        self._db = db
        self._max_queued = max_queued
        self._clock = clock
        self._waiting: dict[int, WaitingCount] = {}
        self._counting: dict[int, asyncio.Future[None]] = {}
        self._under_way: Counter[int] = Counter()
        self._taken: Counter[int] = Counter()
        self._drains: dict[int, DrainRate] = {}

    async def is_ample(self, tenant_id: int) -> bool:
        """Say whether nobody need mind how much there is."""
        return (await self._known(tenant_id)).room >= AMPLE

    async def take(self, tenant_id: int, jobs: int = 1) -> None:
        """Take room for jobs. Raises QueueFull when there is not enough for all: then nothing is taken."""
        count = await self._known(tenant_id)
        if count.room < jobs:
            raise self.full(tenant_id, jobs)
        count.room -= jobs
        self._taken[tenant_id] += jobs

    def full(self, tenant_id: int, jobs: int = 1) -> QueueFull:
        """Make the refusal of so many jobs, with the time after which there should be room for them."""
        count, drain = self._waiting.get(tenant_id), self._drains.get(tenant_id)
        missing = jobs - (0 if count is None else min(count.room, jobs))
        retry_after_s = RETRY_S_MIN if drain is None else drain.retry_after_s(missing)
        return QueueFull("the tenant has as many waiting jobs as it may have", retry_after_s=retry_after_s)

    def give_back(self, tenant_id: int, jobs: int) -> None:
        """Give room back that turned out not to be needed: the jobs were there before."""
        if (count := self._waiting.get(tenant_id)) is not None:
            count.room += jobs

    @contextmanager
    def under_way(self, tenant_id: int, jobs: int) -> Iterator[None]:
        """Keep many taken jobs in mind while they are being stored: a count in between does not see them yet."""
        self._under_way[tenant_id] += jobs
        try:
            yield
        finally:
            self._under_way[tenant_id] -= jobs

    async def _known(self, tenant_id: int) -> WaitingCount:
        now_s = self._clock.monotonic()
        while (count := self._waiting.get(tenant_id)) is None:
            await self._count_first(tenant_id)
        known_s = WAITING_COUNT_S_MAX if count.room < 1 else max(WAITING_COUNT_S_MIN, min(count.room / FILL_RATE_MAX, TRUSTED_S_MAX))
        if now_s - count.as_of_s > known_s:
            count.as_of_s = now_s  # one request looks again, the others go by what is known
            count = self._waiting[tenant_id] = await self._count(tenant_id)
        return count

    async def _count(self, tenant_id: int) -> WaitingCount:
        now_s = self._clock.monotonic()
        # what commits or is taken while the database counts may count twice, never not at all
        under_way, taken = self._under_way[tenant_id], self._taken[tenant_id]
        waiting, gone, own = await store.count_waiting(self._db, tenant_id)
        limit = effective_limit(own, self._max_queued)
        room = room_for_waiting(waiting=waiting, limit=limit)
        if limit is not None and room < max(1.0, limit * DRAIN_WATCHED):
            self._drains.setdefault(tenant_id, DrainRate()).look(gone, now_s=now_s)
        return WaitingCount(room - under_way - (self._taken[tenant_id] - taken), now_s)

    async def _count_first(self, tenant_id: int) -> None:
        """Count a tenant that is not known yet, once for all its requests that came together; they share a failure, too."""
        if (counted := self._counting.get(tenant_id)) is not None:
            await asyncio.shield(counted)
            return
        counted = self._counting[tenant_id] = asyncio.get_running_loop().create_future()
        try:
            self._waiting[tenant_id] = await self._count(tenant_id)
        except JobQueueError as error:
            counted.set_exception(error)
            counted.exception()  # seen, also when nobody else came
            raise
        finally:
            del self._counting[tenant_id]
            if not counted.done():
                counted.set_result(None)
