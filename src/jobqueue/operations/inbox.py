"""Move on what callers submitted inside their own transactions, once those have committed.

A reaper does it a few times a second; who asks for such a job by its id before that moves that one at once, so nobody is told that there
is no such job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

from jobqueue.domain.errors import NotFound
from jobqueue.domain.rotation import Lane
from jobqueue.operations.intake import SubmitDefaults
from jobqueue.store import inbox as store
from jobqueue.store.pool import Database

RECEIVED_MAX: Final = 500
Found = TypeVar("Found")


class Inbox:
    """The way on for jobs in the inbox; one per process."""

    def __init__(self, db: Database, defaults: SubmitDefaults, *, wake: Callable[[Lane], None]) -> None:
        """wake is told the lanes that got due jobs, after the commit."""
        self._db = db
        self._defaults = defaults
        self._wake = wake

    async def receive(self, *, limit: int = RECEIVED_MAX) -> int:
        """Move one batch on, the oldest first; answers how many there were."""
        return await self._receive(limit, None)

    async def receive_one(self, tenant_id: int, job_id: UUID) -> bool:
        """Move one job on, if it is there; says whether it was."""
        return await self._receive(1, (tenant_id, job_id)) > 0

    async def find(self, tenant_id: int, job_id: UUID, act: Callable[[], Awaitable[Found]]) -> Found:
        """Do something with a job by its id; when it is not there, move it on from here and try again. Raises what act does."""
        try:
            return await act()
        except NotFound:
            await self.receive_one(tenant_id, job_id)  # also when it was not here: it may have been moved between the two looks
            return await act()

    async def _receive(self, limit: int, job: tuple[int, UUID] | None) -> int:
        lanes = await store.receive(
            self._db,
            limit=limit,
            job=job,
            default_max_attempts=self._defaults.max_attempts,
            default_expires_in_s=self._defaults.expires_in_s,
        )
        for lane, (_, due) in lanes.items():
            if due:
                self._wake(lane)
        return sum(jobs for jobs, _ in lanes.values())
