"""The rate of requests a tenant may make, over all API processes together.

`domain/rate.py` says what one process holds of each tenant's bucket; here it is drawn, one statement at a time for all tenants that
need it, so draws of many requests gather while one is under way. A request that finds one at hand waits for nothing; one refused by a
bucket known to be empty costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import JobQueueError, Overloaded
from jobqueue.domain.rate import HELD_S, Ask, Drawn, Purse, Standing
from jobqueue.store import rates as store
from jobqueue.store.pool import Database

DRAW_S_MAX: Final = 2.0
GIVE_BACK_S_MAX: Final = 1.0
TENANTS_PER_DRAW: Final = 200
WAITING_MAX: Final = 5_000
"""Requests of one process that may wait for draws; more are answered 503."""
KEEP_INTERVAL_S: Final = 1.0
"""How often what is held is looked through: a third of what it may lie unspent."""


class Taken:
    """How one request was counted. refused_s: None when it passes, else how long until one does."""

    __slots__ = ("_clock", "_is_spent", "_purse", "refused_s")

    def __init__(self, purse: Purse | None, clock: Clock, refused_s: float | None = None) -> None:
        """purse None: the tenant has no limit."""
        self._purse = purse
        self._clock = clock
        self._is_spent = refused_s is None
        self.refused_s = refused_s

    def give_back(self) -> None:
        """Undo the count, once, of a request that does not count after all."""
        if self._is_spent and self._purse is not None:
            self._is_spent = False
            self._purse.give_back()

    def standing(self) -> Standing | None:
        """Say how the tenant stands; None: it has no limit."""
        return None if self._purse is None else self._purse.standing(self._clock.boottime())


class RateLimiter:
    """Counts the requests of one process. A service: enter it with run(); its end gives back what is held."""

    name = "rates"

    def __init__(self, db: Database, *, default_per_minute: int, holder: UUID, clock: Clock) -> None:
        """default_per_minute: of tenants whose own and whose plan's rate are not set, 0 none. holder: names this process's hand."""
        self._db = db
        self._default_per_minute = default_per_minute
        self._holder = holder
        self._clock = clock
        self._purses: dict[int, Purse] = {}
        self._waiting: dict[int, deque[asyncio.Future[bool]]] = {}
        self._waiting_count = 0
        self._wanted: dict[int, None] = {}
        self._bell = asyncio.Event()
        self._free = Taken(None, clock)

    async def take(self, tenant_id: int) -> Taken:
        """Count one request. Raises DatabaseUnavailable, Overloaded."""
        now_s = self._clock.boottime()
        purse = self._purses.get(tenant_id)
        if purse is None:
            purse = self._purses[tenant_id] = Purse(tenant_id)
        if purse.is_unlimited(now_s):
            return self._free
        if tenant_id not in self._waiting:  # those who wait go first
            if purse.spend(now_s):
                if purse.is_low:
                    self._want(tenant_id)
                return Taken(purse, self._clock)
            if (refused_s := purse.refusal(now_s)) is not None:
                return Taken(purse, self._clock, refused_s)
        if await self._wait(tenant_id):
            return Taken(purse, self._clock) if purse.standing(now_s) is not None else self._free
        standing = purse.standing(self._clock.boottime())
        return Taken(purse, self._clock, 0.0 if standing is None else standing.wait_s)

    async def requests_left(self, tenant_id: int) -> int | None:
        """Say how many requests of a tenant would pass now; None: any number. Raises DatabaseUnavailable."""
        return (await self.requests_left_of([tenant_id]))[tenant_id]

    async def requests_left_of(self, tenant_ids: Sequence[int]) -> dict[int, int | None]:
        """Like requests_left, for a page of tenants at once. Raises DatabaseUnavailable."""
        asks = [Ask(tenant_id, self._hand_of(tenant_id), 0, 0, 0) for tenant_id in tenant_ids]
        drawn = await self._draw_now(asks) if asks else {}
        return {
            tenant_id: None if one.per_minute is None else int(one.tokens + 1e-6) + self._hand_of(tenant_id)
            for tenant_id, one in drawn.items()
        }

    def _hand_of(self, tenant_id: int) -> int:
        purse = self._purses.get(tenant_id)
        return 0 if purse is None else purse.hand

    def _want(self, tenant_id: int) -> None:
        self._wanted[tenant_id] = None
        self._bell.set()

    async def _wait(self, tenant_id: int) -> bool:
        """Wait for the next draw; answers whether it gave this request its turn."""
        if self._waiting_count >= WAITING_MAX:
            raise Overloaded("too many requests wait to be counted in this process")
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(answer)
        self._waiting_count += 1
        self._want(tenant_id)
        try:
            return await answer
        finally:
            self._waiting_count -= 1

    async def run(self) -> None:
        """Draw for those who wait, and account for what is held, until cancelled; then give it back."""
        try:
            async with asyncio.TaskGroup() as group:
                spawn(group, self._keep(), f"{self.name}-keeper")
                while True:
                    await self._bell.wait()
                    await self._draw()
        finally:
            await self._give_all_back()

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(KEEP_INTERVAL_S)
            now_s = self._clock.boottime()
            for tenant_id, purse in list(self._purses.items()):
                if purse.is_due(now_s):
                    self._want(tenant_id)
                elif tenant_id not in self._waiting and purse.is_idle(now_s):
                    del self._purses[tenant_id]

    async def _draw(self) -> None:
        """Draw once for the tenants that want it, and answer their requests."""
        tenants = list(self._wanted)[:TENANTS_PER_DRAW]
        for tenant_id in tenants:
            del self._wanted[tenant_id]
        if not self._wanted:
            self._bell.clear()
        served = {tenant_id: self._waiting.pop(tenant_id, deque()) for tenant_id in tenants}
        sent_at_s = self._clock.boottime()
        purses = [self._purses.setdefault(tenant_id, Purse(tenant_id)) for tenant_id in tenants]
        try:
            drawn = await self._draw_now([purse.ask(len(served[purse.tenant_id]), sent_at_s) for purse in purses])
        except BaseException as error:
            for waiting in served.values():
                _fail(waiting, error if isinstance(error, JobQueueError) else Overloaded("this process is stopping"))
            if not isinstance(error, JobQueueError):
                raise
            return
        now_s = self._clock.boottime()
        for purse in purses:
            purse.take_in(drawn[purse.tenant_id], sent_at_s=sent_at_s, now_s=now_s)
            _serve(served[purse.tenant_id], drawn[purse.tenant_id].given, purse)

    async def _draw_now(self, asks: list[Ask]) -> dict[int, Drawn]:
        return await store.draw(
            self._db,
            asks,
            holder=self._holder,
            default_per_minute=self._default_per_minute,
            held_s=HELD_S,
            deadline_s=DRAW_S_MAX,
        )

    async def _give_all_back(self) -> None:
        for waiting in self._waiting.values():
            _fail(waiting, Overloaded("this process is stopping"))
        asks = [Ask(purse.tenant_id, 0, purse.hand, 0, 0) for purse in self._purses.values() if purse.hand]
        self._purses.clear()
        try:
            async with asyncio.timeout(GIVE_BACK_S_MAX):
                for first in range(0, len(asks), TENANTS_PER_DRAW):
                    await self._draw_now(asks[first : first + TENANTS_PER_DRAW])
        except (JobQueueError, TimeoutError):
            pass  # the buckets fill by themselves


def _serve(waiting: deque[asyncio.Future[bool]], given: int, purse: Purse) -> None:
    """Let the first ones pass, as many as were given; what was given to callers who have gone is at hand."""
    for answer in waiting:
        if answer.done():
            continue
        answer.set_result(given > 0)
        given -= given > 0
    purse.hand += given


def _fail(waiting: deque[asyncio.Future[bool]], error: JobQueueError) -> None:
    for answer in waiting:
        if not answer.done():
            answer.set_exception(error)
