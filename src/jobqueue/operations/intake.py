"""What all ways in share: turn requests into rows, store rows together, answer those whose key exists.

Rows whose key exists are answered from a second statement: within the first one's snapshot a row that was committed meanwhile is
invisible (failures.md 1.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from jobqueue.domain.errors import DatabaseUnavailable, IdempotencyKeyReused
from jobqueue.domain.job import JobRequest, Submitted
from jobqueue.domain.rotation import Lane
from jobqueue.operations.naming import NameBook
from jobqueue.store import jobs as store
from jobqueue.store.pool import Database

KEY_TRIES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class SubmitDefaults:
    """What a request that does not say otherwise gets."""

    max_attempts: int
    expires_in_s: float | None
    max_queued: int


class Intake:
    """Stores requests; one per process."""

    def __init__(self, db: Database, names: NameBook, defaults: SubmitDefaults, *, wake: Callable[[Lane], None]) -> None:
        """wake is told the lanes of jobs stored that are due, after their commit."""
        self._db = db
        self._names = names
        self._defaults = defaults
        self._wake = wake

    async def number(self, tenant_id: int, requests: Sequence[JobRequest]) -> list[store.NewJob]:
        """Turn the requests' names into numbers, new ones included, and fill in what they leave open."""
        queue_ids = await self._names.queue_ids({request.queue for request in requests})
        type_ids = await self._names.type_ids({request.job_type for request in requests})
        keyed = {(queue_ids[request.queue], request.concurrency_key) for request in requests if request.concurrency_key is not None}
        key_ids = await self._names.key_ids(tenant_id, keyed) if keyed else {}
        default_s = self._defaults.expires_in_s
        return [
            store.NewJob(
                tenant_id=tenant_id,
                queue_id=(queue_id := queue_ids[request.queue]),
                type_id=type_ids[request.job_type],
                key_id=None if request.concurrency_key is None else key_ids[queue_id, request.concurrency_key],
                expires_in_s=default_s if request.expires_in_s is None else request.expires_in_s,
                request=request,
            )
            for request in requests
        ]

    async def store_together(
        self, jobs: list[store.NewJob], *, lock_timeout_ms: int, deadline_s: float
    ) -> list[Submitted | IdempotencyKeyReused | DatabaseUnavailable]:
        """Store jobs in one transaction, of those with one key the first; answers each one, in order.

        Raises LockNotAvailable, DataRefused: nothing was stored.
        """
        results: dict[int, Submitted | IdempotencyKeyReused] = {}
        left = list(range(len(jobs)))
        for _ in range(KEY_TRIES_MAX):
            firsts = _first_of_each_key(jobs, left)
            asked = [jobs[position] for position in firsts]
            stored = await store.submit(
                self._db,
                asked,
                default_max_attempts=self._defaults.max_attempts,
                lock_timeout_ms=lock_timeout_ms,
                deadline_s=deadline_s,
            )
            lanes = set()
            for index, submitted in stored.items():
                results[firsts[index]] = submitted
                if submitted.scheduled_at is None:
                    lanes.add(asked[index].lane)
            for lane in lanes:
                self._wake(lane)
            left = [position for position in left if position not in results]
            if left:
                results |= await self.find_existing(jobs, left)
                left = [position for position in left if position not in results]  # these lost their key to a sweep in between
            if not left:
                return [results[position] for position in range(len(jobs))]
        swept = DatabaseUnavailable("the key was being swept; try again")
        return [results.get(position, swept) for position in range(len(jobs))]

    async def find_existing(self, jobs: list[store.NewJob], positions: list[int]) -> dict[int, Submitted | IdempotencyKeyReused]:
        """Answer, of the jobs at these positions, those whose key exists."""
        found = await store.find_keys(self._db, [jobs[position] for position in positions])
        return {
            positions[index]: Submitted(job_id, is_new=False)
            if is_same
            else IdempotencyKeyReused("this Idempotency-Key was used with another body", job_id=str(job_id))
            for index, (job_id, is_same) in found.items()
        }


def _first_of_each_key(jobs: list[store.NewJob], positions: list[int]) -> list[int]:
    """Leave out jobs whose key an earlier one has: which of two in one statement is stored would be left to chance."""
    seen: set[object] = set()
    firsts = []
    for position in positions:
        job = jobs[position]
        key_hash = job.request.key_hash
        if key_hash is not None:
            key = (job.tenant_id, key_hash.int)
            if key in seen:
                continue
            seen.add(key)
        firsts.append(position)
    return firsts
