"""A job in the database: stored, read, moved by hand and by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.history import EventRow
from jobqueue.domain.job import PRIORITIES, JobRequest, JobView, Submitted, created_at
from jobqueue.domain.lifecycle import Status
from jobqueue.domain.rotation import Lane
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement

SUBMIT: Final = statement("jobs/submit")
FIND_KEYS: Final = statement("jobs/find_keys")
GET: Final = statement("jobs/get")
GET_CLAIMED: Final = statement("jobs/get_claimed")
EVENTS: Final = statement("jobs/events")
CANCEL: Final = statement("jobs/cancel")
RETRY: Final = statement("jobs/retry")
PROMOTE: Final = statement("jobs/promote")
EXPIRE: Final = statement("jobs/expire")
COUNT_BY_STATUS: Final = statement("jobs/count_by_status")
COUNT_WAITING: Final = statement("jobs/count_waiting")


@dataclass(slots=True)
class NewJob:
    """A request with its names turned into numbers and its defaults filled in, ready to be a row."""

    tenant_id: int
    queue_id: int
    type_id: int
    key_id: int | None
    expires_in_s: float | None
    request: JobRequest

    @property
    def lane(self) -> Lane:
        """Where it will be due."""
        return (self.tenant_id, self.queue_id, self.type_id, self.request.priority + (0 if self.key_id is None else 4))


def _column(values: list[Any]) -> list[Any] | None:
    """An array parameter, or null where every element would be."""
    return values if values.count(None) < len(values) else None


async def submit(
    db: Database, jobs: Sequence[NewJob], *, default_max_attempts: int, lock_timeout_ms: int, deadline_s: float
) -> dict[int, Submitted]:
    """Store jobs in one statement; answers position -> what was stored. The others' keys exist.

    Raises LockNotAvailable when an open transaction holds one of the keys: nothing was stored.
    """
    requests = [job.request for job in jobs]
    rows = await db.fetch(
        SUBMIT,
        deadline_s=deadline_s,
        tenants=[job.tenant_id for job in jobs],
        queues=[job.queue_id for job in jobs],
        types=[job.type_id for job in jobs],
        priorities=[request.priority for request in requests],
        default_attempts_max=default_max_attempts,
        attempts_max=_column([request.max_attempts for request in requests]),
        data=[request.data_json for request in requests],
        key_hashes=[request.key_hash for request in requests],
        request_hashes=[request.request_hash for request in requests],
        idempotency_keys=[request.idempotency_key for request in requests],
        correlation_ids=_column([request.correlation_id for request in requests]),
        traceparents=_column([request.traceparent for request in requests]),
        key_ids=_column([job.key_id for job in jobs]),
        timeouts_s=_column([request.timeout_s for request in requests]),
        run_at=_column([request.scheduled_at for request in requests]),
        delays_s=_column([request.delay_s for request in requests]),
        expires_in_s=_column([job.expires_in_s for job in jobs]),
        tags=_column([request.tags_json for request in requests]),
        metadata=_column([request.metadata_json for request in requests]),
        lock_timeout_ms=lock_timeout_ms,
    )
    return {row[0] - 1: Submitted(row[1], is_new=True, max_attempts=row[2], scheduled_at=row[3]) for row in rows}


async def find_keys(db: Database, jobs: Sequence[NewJob]) -> dict[int, tuple[UUID, bool]]:
    """Answer position -> (job that holds the key, whether it was the same request)."""
    rows = await db.fetch(
        FIND_KEYS,
        tenants=[job.tenant_id for job in jobs],
        key_hashes=[job.request.key_hash for job in jobs],
        request_hashes=[job.request.request_hash for job in jobs],
    )
    return {row[0] - 1: (row[1], row[2]) for row in rows}


async def get(
    db: Database | Transaction,
    tenant_id: int,
    job_ids: Sequence[UUID],
    *,
    tenant: str,
    tenant_cap: int,
    worker_alive_s: float,
    has_data: bool,
    has_result: bool,
    is_claimed: bool = False,
) -> list[JobView]:
    """Read jobs of a tenant by id, newest first; those that are not there are left out. is_claimed: their leases are in our hands."""
    rows = await db.fetch(
        GET_CLAIMED if is_claimed else GET,
        tenant_id=tenant_id,
        job_ids=job_ids,
        tenant_cap=tenant_cap,
        worker_alive_s=worker_alive_s,
        has_data=has_data,
        has_result=has_result,
    )
    return [_view(row, tenant) for row in rows]


def _view(row: Record, tenant: str) -> JobView:
    traceparent = row["traceparent"]
    return JobView(
        job_id=row["job_id"],
        tenant=tenant,
        queue=row["queue"],
        job_type=row["job_type"],
        status=Status(row["status"]),
        priority=PRIORITIES[row["priority"]],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        progress=row["progress"],
        progress_message=row["progress_message"],
        waiting_reason=row["waiting_reason"],
        concurrency_key=row["concurrency_key"],
        tags=row["tags"] or [],
        metadata_json=row["metadata"],
        idempotency_key=row["idempotency_key"],
        correlation_id=row["correlation_id"],
        trace_id=None if traceparent is None else traceparent[3:35],
        scheduled_at=row["scheduled_at"],
        created_at=created_at(row["job_id"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        lease_owner=row["lease_owner"],
        lease_expires_at=row["lease_expires_at"],
        error_json=row["error"],
        result_ref=row["result_ref"],
        result_json=row["result"],
        data_json=row["data"],
    )


async def events(db: Database, tenant_id: int, job_id: UUID, *, seq_from: int, limit: int) -> list[EventRow]:
    """Read the packed history of a job from a row's seq on."""
    rows = await db.fetch(EVENTS, tenant_id=tenant_id, job_id=job_id, seq_from=seq_from, limit=limit)
    return [EventRow(*row) for row in rows]


async def exists(db: Database, tenant_id: int, job_id: UUID) -> bool:
    """Say whether the tenant has such a job."""
    return bool(await db.fetch_value(statement("jobs/exists"), tenant_id=tenant_id, job_id=job_id))


async def cancel(db: Database | Transaction, tenant_id: int, job_id: UUID, *, grace_s: float) -> tuple[str, str | None]:
    """Cancel; answers (verdict, status), see sql/functions/cancel_v1.sql."""
    row = await db.fetch_row(CANCEL, tenant_id=tenant_id, job_id=job_id, grace_s=grace_s)
    assert row is not None
    return row["verdict"], row["status"]


async def retry(db: Database | Transaction, tenant_id: int, job_id: UUID, *, is_reset: bool) -> tuple[str, str | None]:
    """Retry by hand; answers (verdict, status), see sql/functions/retry_v1.sql."""
    row = await db.fetch_row(RETRY, tenant_id=tenant_id, job_id=job_id, is_reset=is_reset)
    assert row is not None
    return row["verdict"], row["status"]


async def patch(
    db: Database | Transaction,
    tenant_id: int,
    job_id: UUID,
    *,
    priority: int | None,
    attempts_max: int | None,
    is_timed: bool,
    run_at: datetime | None,
) -> tuple[str, str | None]:
    """Change a waiting job; answers (verdict, status), see sql/functions/patch_v1.sql."""
    row = await db.fetch_row(
        statement("jobs/patch"),
        tenant_id=tenant_id,
        job_id=job_id,
        priority=priority,
        attempts_max=attempts_max,
        is_timed=is_timed,
        run_at=run_at,
    )
    assert row is not None
    return row["verdict"], row["status"]


async def force_success(
    db: Database | Transaction, tenant_id: int, job_id: UUID, *, result_json: str | None, note_json: str
) -> tuple[str, str | None]:
    """Declare a failed job done; answers (verdict, status), see sql/functions/force_success_v1.sql."""
    row = await db.fetch_row(statement("jobs/force_success"), tenant_id=tenant_id, job_id=job_id, result=result_json, note=note_json)
    assert row is not None
    return row["verdict"], row["status"]


async def cancel_many(db: Database | Transaction, tenant_id: int, job_ids: Sequence[UUID], *, grace_s: float) -> tuple[int, int]:
    """Cancel jobs; answers how many were cancelled or asked to, and how many of them ended by it."""
    row = await db.fetch_row(statement("jobs/cancel_many"), tenant_id=tenant_id, job_ids=job_ids, grace_s=grace_s)
    assert row is not None
    return row["jobs"], row["ended"]


async def retry_many(db: Database | Transaction, tenant_id: int, job_ids: Sequence[UUID]) -> dict[Lane, int]:
    """Send jobs back to the queue; answers how many went to each lane."""
    rows = await db.fetch(statement("jobs/retry_many"), tenant_id=tenant_id, job_ids=job_ids)
    return {(tenant_id, row["queue_id"], row["type_id"], row["band"]): row["jobs"] for row in rows}


async def ended(db: Database, jobs: Sequence[tuple[int, UUID]]) -> list[int]:
    """Answer the positions of those (tenant, job) that have ended."""
    rows = await db.fetch(statement("jobs/ended"), tenants=[job[0] for job in jobs], job_ids=[job[1] for job in jobs])
    return [row[0] - 1 for row in rows]


async def lane_of(db: Database, tenant_id: int, job_id: UUID) -> Lane | None:
    """Answer the lane a due job stands in, for a wake-up."""
    row = await db.fetch_row(statement("jobs/lane"), tenant_id=tenant_id, job_id=job_id)
    return None if row is None else (tenant_id, row["queue_id"], row["type_id"], row["band"])


async def promote(db: Database, *, limit: int, now: Any = None) -> dict[Lane, int]:
    """Make due what waited for its time; answers how many jobs each lane got."""
    rows = await db.fetch(PROMOTE, limit=limit, now=now)
    return {(row["tenant_id"], row["queue_id"], row["type_id"], row["band"]): row["jobs"] for row in rows}


async def expire(db: Database, *, limit: int, now: Any = None) -> dict[str, int]:
    """End jobs that were not started in time; answers how many of each tenant."""
    return {row["tenant"]: row["jobs"] for row in await db.fetch(EXPIRE, limit=limit, now=now)}


async def count_by_status(db: Database, tenant_id: int) -> list[Record]:
    """Count a tenant's jobs: rows (status, jobs, entered)."""
    return await db.fetch(COUNT_BY_STATUS, tenant_id=tenant_id)


async def count_waiting(db: Database, tenant_id: int) -> tuple[int, int, int | None]:
    """Count a tenant's waiting jobs; answers also how many ever stopped waiting, and its own or its plan's limit."""
    row = await db.fetch_row(COUNT_WAITING, tenant_id=tenant_id)
    assert row is not None
    return row["waiting"], row["gone"], row["max_queued"]


async def is_locked(db: Database) -> bool:
    """Say whether a whole table is locked, so that a lock that was not granted need not be one on a key."""
    return bool(await db.fetch_value(statement("server/is_locked")))
