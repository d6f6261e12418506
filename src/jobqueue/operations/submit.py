"""Submit jobs: concurrent requests of one process become one statement, each answered after its commit (group commit).

A batch that cannot be stored as a whole is stored one by one, so that one bad row touches its own request only. A request whose key
somebody's open transaction holds waits for it outside the batches: it delays nobody else. Rows whose key exists are answered from a
second statement: within the first one's snapshot a row that was committed meanwhile is invisible (failures.md 1.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from jobqueue.domain.quota import effective_limit, room_for_waiting
from jobqueue.domain.rotation import Lane
from jobqueue.operations.naming import NameBook
from jobqueue.store import jobs as store
from jobqueue.store.failures import DataRefused, LockNotAvailable
from jobqueue.store.pool import Database

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
ALONE_MAX: Final = 2
"""Requests that wait for a held key at once, each on a connection; more are told at once that a twin is under way."""
KEY_TRIES_MAX: Final = 3
WAITING_COUNT_S_MAX: Final = 0.25
"""Near its limit a tenant's waiting count is looked up again after this."""
FILL_RATE_MAX: Final = 40_000
"""Jobs a second that all processes together cannot store: a count stands until that rate could have used up the room it left."""
TRUSTED_S_MAX: Final = 10.0
"""And no longer than this, so that a lowered limit is seen."""


@dataclass(frozen=True, slots=True)
class SubmitDefaults:
    """What a request that does not say otherwise gets."""

    max_attempts: int
    expires_in_s: float | None
    max_queued: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of one tenant."""

    tenant_id: int
    request: JobRequest


class Submitter:
    """The way in. A service: enter it with run(); requests are taken while it runs."""

    name = "submitter"

    def __init__(self, db: Database, names: NameBook, defaults: SubmitDefaults, *, clock: Clock, wake: Callable[[Lane], None]) -> None:
        """wake is told the lane of every job stored that is due, after its commit."""
        self._db = db
        self._names = names
        self._defaults = defaults
        self._wake = wake
        self._clock = clock
        self._waiting: dict[int, WaitingCount] = {}
        self._counting: dict[int, asyncio.Future[None]] = {}
        self._alone = asyncio.Semaphore(ALONE_MAX)
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
        job = await self._number(tenant_id, request)
        try:
            await self._check_room(tenant_id)
        except QueueFull:
            return await self._answer_replay(job)
        try:
            return await self._batcher.submit(job)
        except LockNotAvailable:
            return await self._submit_alone(job)

    async def _answer_replay(self, job: store.NewJob) -> Submitted:
        """Answer a request that an earlier one with its key has made already: a full queue does not concern it.

        Raises QueueFull for others.
        """
        results: dict[int, Submitted | Exception] = {}
        if job.request.key_hash is None or await self._answer_existing([job], [0], results):
            raise QueueFull("the tenant has as many waiting jobs as it may have", retry_after_s=1.0)
        result = results[0]
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
        raise SubmitInProgress("a request with the same Idempotency-Key is still under way")

    async def _check_room(self, tenant_id: int) -> None:
        now_s = self._clock.monotonic()
        while (count := self._waiting.get(tenant_id)) is None:
            await self._count_first(tenant_id)
        if now_s - count.as_of_s > max(WAITING_COUNT_S_MAX, min(count.room / FILL_RATE_MAX, TRUSTED_S_MAX)):
            count.as_of_s = now_s  # one request looks again, the others go by what is known
            count = self._waiting[tenant_id] = await self._count(tenant_id)
        if count.room < 1:
            raise QueueFull("the tenant has as many waiting jobs as it may have", retry_after_s=1.0)
        count.room -= 1

    async def _count(self, tenant_id: int) -> WaitingCount:
        now_s = self._clock.monotonic()
        waiting, own = await store.count_waiting(self._db, tenant_id)
        return WaitingCount(room_for_waiting(waiting=waiting, limit=effective_limit(own, self._defaults.max_queued)), now_s)

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

    async def _number(self, tenant_id: int, request: JobRequest) -> store.NewJob:
        queue_id = (await self._names.queue_ids([request.queue]))[request.queue]
        type_id = (await self._names.type_ids([request.job_type]))[request.job_type]
        key = request.concurrency_key
        key_id = None if key is None else await self._names.key_id(tenant_id, queue_id, key)
        return store.NewJob(
            tenant_id=tenant_id,
            queue_id=queue_id,
            type_id=type_id,
            key_id=key_id,
            expires_in_s=self._defaults.expires_in_s if request.expires_in_s is None else request.expires_in_s,
            request=request,
        )

    async def _store(self, jobs: list[store.NewJob]) -> Sequence[Submitted | Exception]:
        try:
            return await self._store_together(jobs, lock_timeout_ms=BATCH_LOCK_TIMEOUT_MS)
        except (LockNotAvailable, DataRefused):
            return [await self._store_alone(job, lock_timeout_ms=APART_LOCK_TIMEOUT_MS) for job in jobs]

    async def _store_alone(self, job: store.NewJob, *, lock_timeout_ms: int) -> Submitted | Exception:
        try:
            (result,) = await self._store_together([job], lock_timeout_ms=lock_timeout_ms)
        except DataRefused as refusal:
            return InvalidFields([("/payload/data", str(refusal))])
        except JobQueueError as error:
            return error
        return result

    async def _store_together(self, jobs: list[store.NewJob], *, lock_timeout_ms: int) -> Sequence[Submitted | Exception]:
        results: dict[int, Submitted | Exception] = {}
        left = list(range(len(jobs)))
        for _ in range(KEY_TRIES_MAX):
            asked = [jobs[position] for position in left]
            stored = await store.submit(
                self._db,
                asked,
                default_max_attempts=self._defaults.max_attempts,
                lock_timeout_ms=lock_timeout_ms,
                deadline_s=SUBMIT_S_MAX,
            )
            for index, submitted in stored.items():
                results[left[index]] = submitted
                if submitted.scheduled_at is None:
                    self._wake(asked[index].lane)
            left = [position for position in left if position not in results]
            if left:
                left = await self._answer_existing(jobs, left, results)
            if not left:
                return [results[position] for position in range(len(jobs))]
        return [results.get(position, DatabaseUnavailable("the key was being swept; try again")) for position in range(len(jobs))]

    async def _answer_existing(self, jobs: list[store.NewJob], left: list[int], results: dict[int, Submitted | Exception]) -> list[int]:
        """Answer rows whose key exists; what is still left lost its key to a sweep in between and goes round again."""
        found = await store.find_keys(self._db, [jobs[position] for position in left])
        for index, (job_id, is_same) in found.items():
            results[left[index]] = (
                Submitted(job_id, is_new=False)
                if is_same
                else IdempotencyKeyReused("this Idempotency-Key was used with another body", job_id=str(job_id))
            )
        return [position for position in left if position not in results]


@dataclass(slots=True)
class WaitingCount:
    """How many more jobs a tenant may store, as of a monotonic time."""

    room: float
    as_of_s: float
