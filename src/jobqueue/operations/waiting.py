"""Wait for jobs to end: one look at the database for all that wait in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import JobQueueError
from jobqueue.operations.jobs import Caller
from jobqueue.store import jobs as store
from jobqueue.store.pool import Database

LOOK_S: Final = 0.02
LOOK_S_MAX: Final = 0.25
"""Looks start quickly and slow down, so a short job is answered soon and a thousand long ones cost four looks a second."""
LOOKED_AT_MAX: Final = 1_000
WAITING_MAX: Final = 5_000
"""Who may wait in one process; more are told at once that the job has not ended."""


class EndWaiter:
    """A service; `wait` is used while it runs."""

    name = "end_waiter"

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._waiting: dict[tuple[int, UUID], list[asyncio.Future[bool]]] = {}
        self._count = 0
        self._is_over = False
        self._bell = asyncio.Event()
        self._look_s = LOOK_S

    async def wait(self, caller: Caller, job_id: UUID, *, timeout_s: float) -> bool:
        """Return True once the job has ended, False after timeout_s, or at once while too many wait or this service stops.

        It may have ended before.
        """
        if self._is_over or self._count >= WAITING_MAX:
            return False
        self._count += 1
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((caller.tenant_id, job_id), []).append(ended)
        self._look_s = LOOK_S
        self._bell.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await ended
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            self._leave((caller.tenant_id, job_id), ended)

    def _leave(self, job: tuple[int, UUID], ended: asyncio.Future[bool]) -> None:
        left = [other for other in self._waiting.get(job, []) if other is not ended]
        if left:
            self._waiting[job] = left
        else:
            self._waiting.pop(job, None)

    async def run(self) -> None:
        """Look until cancelled, then let go of those who wait; a fault of the database only makes them wait on."""
        try:
            await self._look_on()
        finally:
            self._is_over = True
            for ended in chain.from_iterable(self._waiting.values()):
                if not ended.done():
                    ended.set_result(False)

    async def _look_on(self) -> None:
        while True:
            await self._bell.wait()
            if not self._waiting:
                self._bell.clear()
                continue
            await self._look()
            await self._clock.sleep(self._look_s)
            self._look_s = min(self._look_s * 1.2, LOOK_S_MAX)

    async def _look(self) -> None:
        jobs = list(self._waiting)
        for start in range(0, len(jobs), LOOKED_AT_MAX):
            chunk = jobs[start : start + LOOKED_AT_MAX]
            try:
                positions: Iterable[int] = await store.ended(self._db, chunk)
            except JobQueueError:
                return
            for position in positions:
                for ended in self._waiting.pop(chunk[position], []):
                    if not ended.done():
                        ended.set_result(True)
