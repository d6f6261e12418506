"""Wait for jobs to end: one look at the database for all that wait in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
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


class EndWaiter:
    """A service; `wait` is used while it runs."""

    name = "end_waiter"

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._waiting: dict[tuple[int, UUID], list[asyncio.Future[None]]] = {}
        self._bell = asyncio.Event()
        self._look_s = LOOK_S

    async def wait(self, caller: Caller, job_id: UUID, *, timeout_s: float) -> bool:
        """Return True once the job has ended, False after timeout_s. It may have ended before."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((caller.tenant_id, job_id), []).append(ended)
        self._look_s = LOOK_S
        self._bell.set()
        try:
            async with asyncio.timeout(timeout_s):
                await ended
        except TimeoutError:
            return False
        finally:
            self._leave((caller.tenant_id, job_id), ended)
        return True

    def _leave(self, job: tuple[int, UUID], ended: asyncio.Future[None]) -> None:
        left = [other for other in self._waiting.get(job, []) if other is not ended]
        if left:
            self._waiting[job] = left
        else:
            self._waiting.pop(job, None)

    async def run(self) -> None:
        """Look until cancelled; a fault of the database only makes those who wait wait on."""
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
                        ended.set_result(None)
