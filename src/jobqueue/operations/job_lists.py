"""Lists of jobs, and what is done to many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final
from uuid import UUID

from jobqueue.domain.audit import Action, Target
from jobqueue.domain.job import JobView
from jobqueue.domain.job_filter import BULK_MAX, JobFilter
from jobqueue.domain.lifecycle import HELD, WAITING, Status
from jobqueue.domain.rotation import Lane
from jobqueue.operations import audit
from jobqueue.operations.jobs import WORKER_ALIVE_S, Caller
from jobqueue.store import job_lists as lists
from jobqueue.store import jobs as store
from jobqueue.store import names
from jobqueue.store.pool import Database, Transaction

BULK_CHUNK: Final = 500
"""Jobs one transaction of a bulk call moves."""
LIST_S_MAX: Final = 10.0
BULK_S_MAX: Final = 30.0
CANCELLABLE: Final = WAITING | HELD


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first. next_before: the next page holds jobs older than this id, None at the end."""

    jobs: Sequence[JobView]
    next_before: UUID | None


async def page(
    db: Database, caller: Caller, job_filter: JobFilter, *, before: UUID | None, limit: int, skip: int = 0, tenant_cap: int
) -> JobPage:
    """Read a page of jobs matching a filter, in one snapshot, after skipping some. It may be short while there is more."""
    numbers = await numbers_of(db, job_filter)

    async def work(transaction: Transaction) -> JobPage:
        found = await lists.find(transaction, caller.tenant_id, job_filter, numbers, before=before, limit=skip + limit + 1)
        wanted = found.job_ids[skip : skip + limit]
        has_more = len(found.job_ids) > skip + limit
        views = await store.get(
            transaction,
            caller.tenant_id,
            wanted,
            tenant=caller.tenant,
            tenant_cap=tenant_cap,
            worker_alive_s=WORKER_ALIVE_S,
            has_data=False,
            has_result=False,
        )
        return JobPage(views, wanted[-1] if has_more else found.stopped_at)

    return await db.in_transaction(work, deadline_s=LIST_S_MAX, is_snapshot=True, tenant_id=caller.tenant_id)


async def numbers_of(db: Database, job_filter: JobFilter) -> lists.Numbers:
    """Turn the names in a filter into numbers; one that nobody ever used has none."""
    queues = await names.numbers(db, "queues", job_filter.queues, is_new_allowed=False) if job_filter.queues else None
    types = await names.numbers(db, "job_types", job_filter.job_types, is_new_allowed=False) if job_filter.job_types else None
    return lists.Numbers(None if queues is None else sorted(queues.values()), None if types is None else sorted(types.values()))


async def _all_ids(db: Database, caller: Caller, job_filter: JobFilter, *, limit: int) -> list[UUID]:
    """Find up to limit jobs, reading on where a page stopped short."""
    assert 1 <= limit <= BULK_MAX
    numbers = await numbers_of(db, job_filter)
    job_ids: list[UUID] = []
    before: UUID | None = None
    while len(job_ids) < limit:
        found = await _find(db, caller, job_filter, numbers, before=before, limit=limit - len(job_ids))
        job_ids += found.job_ids
        if found.stopped_at is None:
            break
        before = found.stopped_at
    return job_ids


async def _find(
    db: Database, caller: Caller, job_filter: JobFilter, numbers: lists.Numbers, *, before: UUID | None, limit: int
) -> lists.Found:
    async def work(transaction: Transaction) -> lists.Found:
        return await lists.find(transaction, caller.tenant_id, job_filter, numbers, before=before, limit=limit)

    return await db.in_transaction(work, deadline_s=LIST_S_MAX, is_snapshot=True, tenant_id=caller.tenant_id)


async def cancel_many(
    db: Database,
    caller: Caller,
    job_filter: JobFilter,
    *,
    limit: int,
    is_dry_run: bool,
    grace_s: float,
    ended: Callable[[int], None] = lambda _: None,
) -> int:
    """Cancel those of the jobs a filter names that wait or run; answers how many were, or would be.

    ended is told how many ended by it, after each commit.
    """
    statuses = tuple(status for status in job_filter.statuses or Status if status in CANCELLABLE)
    if not statuses:
        return 0
    job_filter = replace(job_filter, statuses=statuses)
    job_ids = await _all_ids(db, caller, job_filter, limit=limit)
    if is_dry_run:
        return len(job_ids)
    cancelled = 0
    for chunk in _chunks(job_ids):

        async def act(transaction: Transaction, chunk: list[UUID] = chunk) -> tuple[int, int]:
            jobs, at_once = await store.cancel_many(transaction, caller.tenant_id, chunk, grace_s=grace_s)
            await _record(transaction, caller, Action.JOBS_CANCELLED, job_filter, jobs)
            return jobs, at_once

        jobs, at_once = await db.in_transaction(act, deadline_s=BULK_S_MAX, tenant_id=caller.tenant_id)
        cancelled += jobs
        ended(at_once)
    return cancelled


async def retry_many(
    db: Database, caller: Caller, job_filter: JobFilter, *, limit: int, is_dry_run: bool, wake: Callable[[Lane], None]
) -> int:
    """Send the jobs a filter names back to the queue, their attempts reset; answers how many were, or would be.

    wake is told the lanes they went to, after each commit.
    """
    job_ids = await _all_ids(db, caller, job_filter, limit=limit)
    if is_dry_run:
        return len(job_ids)
    retried = 0
    for chunk in _chunks(job_ids):

        async def act(transaction: Transaction, chunk: list[UUID] = chunk) -> dict[Lane, int]:
            lanes = await store.retry_many(transaction, caller.tenant_id, chunk)
            await _record(transaction, caller, Action.DLQ_REPLAYED, job_filter, sum(lanes.values()))
            return lanes

        for lane, jobs in (await db.in_transaction(act, deadline_s=BULK_S_MAX, tenant_id=caller.tenant_id)).items():
            retried += jobs
            wake(lane)
    return retried


def _chunks(job_ids: list[UUID]) -> list[list[UUID]]:
    """Cut into what one transaction moves; at least one, so that a call that found nothing is written down, too."""
    return [job_ids[start : start + BULK_CHUNK] for start in range(0, max(1, len(job_ids)), BULK_CHUNK)]


async def _record(transaction: Transaction, caller: Caller, action: Action, job_filter: JobFilter, count: int) -> None:
    """Write down one transaction of a bulk call: the filter it was asked with, and how many jobs it moved."""
    asked = {name: value for name, value in asdict(job_filter).items() if value}
    await audit.record(transaction, caller.tenant_id, caller.by, action, Target("job"), {"filter": asked, "count": count})
