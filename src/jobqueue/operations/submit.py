"""Submit jobs: concurrent requests of one process become one statement, each answered after its commit (group commit).

A batch that cannot be stored as a whole is stored one by one, so that one bad row touches its own request only. A request whose key
somebody's open transaction holds waits for it outside the batches: it delays nobody else. Batches of one caller's go past the gathering,
each a statement of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from jobqueue.aio.batcher import Batcher
from jobqueue.aio.clock import Clock
from jobqueue.domain.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InvalidFields,
    JobQueueError,
    Overloaded,
    QueueFull,
    SubmitInProgress,
)
from jobqueue.domain.job import JobRequest, Submitted
from jobqueue.domain.rotation import Lane
from jobqueue.operations.inbox import Inbox
from jobqueue.operations.intake import Intake, SubmitDefaults
from jobqueue.operations.naming import NameBook
from jobqueue.operations.room import Room
from jobqueue.store import jobs as store
from jobqueue.store.failures import DataRefused, LockNotAvailable
from jobqueue.store.pool import Database
from jobqueue.telemetry.events import Event, SubmitsGathered

__all__ = ["SubmitDefaults", "Submitter"]

BATCH_MAX: Final = 500
WAITING_MAX: Final = 5_000
"""Requests of one process that may wait for a statement; more are answered 503."""
FLUSHES_MAX: Final = 2
"""Statements under way at once: one commits while the next one gathers; more would only make smaller batches."""
SUBMIT_S_MAX: Final = 5.0
BATCH_LOCK_TIMEOUT_MS: Final = 50
"""How long a key held by an open transaction may delay its neighbours; then each goes alone."""
APART_LOCK_TIMEOUT_MS: Final = 5
"""The same, for each of those; then its own request goes on by itself."""
ALONE_LOCK_TIMEOUT_MS: Final = 1_000
TABLE_LOCK_TIMEOUT_MS: Final = 4_000
"""How long submits wait while a week is dropped."""
ALONE_MAX: Final = 2
"""Requests that wait for a held key at once, each on a connection; more are told at once that a twin is under way."""
MANY_MAX: Final = 1_000
"""Jobs of one caller's batch."""
MANY_AT_ONCE_MAX: Final = 2
"""Batches under way at once, each on a connection; the others wait in line."""
MANY_LINE_MAX: Final = 32
"""Batches that may wait in line: each holds up to 16 MiB. More are answered 503."""
MANY_S_MAX: Final = 30.0
UNDER_WAY: Final = "a request with the same Idempotency-Key is still under way"


class Submitter:
    """The way in. A service: enter it with run(); requests are taken while it runs."""

    name = "submitter"

    def __init__(
        self,
        db: Database,
        names: NameBook,
        defaults: SubmitDefaults,
        *,
        clock: Clock,
        wake: Callable[[Lane], None],
        tell: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """wake is told the lane of every job stored that is due, after its commit; tell is Telemetry.emit."""
        self._tell = tell
        self._db = db
        self._intake = Intake(db, names, defaults, wake=wake)
        self.inbox = Inbox(db, defaults, wake=wake)
        self.room = Room(db, max_queued=defaults.max_queued, clock=clock)
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._many = asyncio.Semaphore(MANY_AT_ONCE_MAX)
        self._many_in_line = 0
        self._batcher: Batcher[store.NewJob, Submitted] = Batcher(
            self._store,
            name=self.name,
            items_max=BATCH_MAX,
            waiting_max=WAITING_MAX,
            overloaded=lambda: Overloaded("too many submits wait in this process"),
            closed=lambda: Overloaded("this process is stopping"),
            lanes=FLUSHES_MAX,
        )

    async def run(self) -> None:
        """Take requests until cancelled; what was taken by then is still stored."""
        await self._batcher.run()

    async def submit(self, tenant_id: int, request: JobRequest) -> Submitted:
        """Store one job; committed when this returns.

        Raises IdempotencyKeyReused, SubmitInProgress, QueueFull, InvalidFields (a value the database cannot hold), Unavailable.
        """
        (job,) = await self._intake.number(tenant_id, [request])
        try:
            await self.room.take(tenant_id)
        except QueueFull:
            return await self._answer_replay(job)
        try:
            stored = await self._batcher.submit(job)
        except LockNotAvailable:
            stored = await self._submit_alone(job)
        if not stored.is_new:
            self.room.give_back(tenant_id, 1)
        return stored

    async def submit_many(self, tenant_id: int, requests: Sequence[JobRequest]) -> list[Submitted | IdempotencyKeyReused]:
        """Store up to MANY_MAX jobs in one transaction; answers each one, in order.

        Of several with one key the first is stored, the others are answered like requests that came later.

        Raises SubmitInProgress, QueueFull, InvalidFields, Unavailable: then nothing was stored, or (Unavailable) it is not known.
        """
        assert len(requests) <= MANY_MAX
        jobs = await self._intake.number(tenant_id, requests)
        if self._many_in_line >= MANY_LINE_MAX:
            raise Overloaded("too many batches wait in this process")
        self._many_in_line += 1
        try:
            async with self._many:
                return await self._store_many(tenant_id, jobs)
        finally:
            self._many_in_line -= 1

    async def _store_many(self, tenant_id: int, jobs: list[store.NewJob]) -> list[Submitted | IdempotencyKeyReused]:
        needed = len(jobs)
        if not await self.room.is_ample(tenant_id):
            found = await self._intake.find_existing(jobs, list(range(len(jobs))))
            if len(found) == len(jobs):  # also when the queue is full
                return [found[position] for position in range(len(jobs))]
            needed = len({job.request.key_hash for position, job in enumerate(jobs) if position not in found})
        await self.room.take(tenant_id, needed)
        try:
            with self.room.under_way(tenant_id, needed):
                stored = await self._store_whole(jobs, lock_timeout_ms=ALONE_LOCK_TIMEOUT_MS, deadline_s=MANY_S_MAX)
        except LockNotAvailable as error:
            raise SubmitInProgress(UNDER_WAY) from error
        except DataRefused as refusal:
            raise InvalidFields([("/jobs", str(refusal))]) from refusal
        results: list[Submitted | IdempotencyKeyReused] = []
        for result in stored:
            if isinstance(result, DatabaseUnavailable):
                raise result
            results.append(result)
        new = sum(isinstance(result, Submitted) and result.is_new for result in results)
        self.room.give_back(tenant_id, max(0, needed - new))
        return results

    async def _answer_replay(self, job: store.NewJob) -> Submitted:
        """Answer a request that an earlier one with its key has made already: a full queue does not concern it.

        Raises QueueFull for others.
        """
        found = {} if job.request.key_hash is None else await self._intake.find_existing([job], [0])
        if (result := found.get(0)) is None:
            raise self.room.full(job.tenant_id)
        if isinstance(result, Exception):
            raise result
        return result

    async def _submit_alone(self, job: store.NewJob) -> Submitted:
        """Wait for the transaction that holds the key, for a while."""
        if not self._alone.locked():
            async with self._alone:
                result = await self._store_alone(job, lock_timeout_ms=ALONE_LOCK_TIMEOUT_MS)
            if isinstance(result, Submitted):
                return result
            if not isinstance(result, LockNotAvailable):
                raise result
        raise SubmitInProgress(UNDER_WAY)

    async def _store(self, jobs: list[store.NewJob]) -> Sequence[Submitted | Exception]:
        try:
            return await self._store_whole(jobs, lock_timeout_ms=BATCH_LOCK_TIMEOUT_MS, deadline_s=SUBMIT_S_MAX)
        except (LockNotAvailable, DataRefused):
            return [await self._store_alone(job, lock_timeout_ms=APART_LOCK_TIMEOUT_MS) for job in jobs]

    async def _store_whole(
        self, jobs: list[store.NewJob], *, lock_timeout_ms: int, deadline_s: float
    ) -> Sequence[Submitted | IdempotencyKeyReused | DatabaseUnavailable]:
        """Store together; while a week is being dropped, wait for that: no key is to blame. Raises LockNotAvailable, DataRefused."""
        try:
            stored = await self._intake.store_together(jobs, lock_timeout_ms=lock_timeout_ms, deadline_s=deadline_s)
        except LockNotAvailable:
            if not await store.is_locked(self._db):
                raise
        else:
            self._tell(SubmitsGathered(len(jobs)))
            return stored
        return await self._intake.store_together(jobs, lock_timeout_ms=TABLE_LOCK_TIMEOUT_MS, deadline_s=deadline_s)

    async def _store_alone(self, job: store.NewJob, *, lock_timeout_ms: int) -> Submitted | Exception:
        try:
            (result,) = await self._intake.store_together([job], lock_timeout_ms=lock_timeout_ms, deadline_s=SUBMIT_S_MAX)
        except DataRefused as refusal:
            return InvalidFields([("/payload/data", str(refusal))])
        except JobQueueError as error:
            return error
        return result
