"""Between the wire and the domain: a request becomes a JobRequest, a JobView becomes the job of CONTRACT 3.3."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.api.bodies import fragment
from jobqueue.api.context import TRACE_ID, RequestContext
from jobqueue.domain.access import Principal
from jobqueue.domain.job import PRIORITIES, HistoryEvent, JobCounts, JobView, Submitted, created_at
from jobqueue.domain.job import JobRequest as Asked
from jobqueue.domain.lease import BeatStatus, Settled
from jobqueue.domain.lifecycle import Status
from jobqueue.operations.work import Grant
from jobqueue.operations.workers import WorkerView
from jobqueue.protocol.canonical import encode, hash_key
from jobqueue.protocol.jobs import JobRequest

PRIORITY_NUMBERS: Final[Mapping[str, int]] = {name: number for number, name in enumerate(PRIORITIES)}
MESSAGE_CHARACTERS_MAX: Final = 1_000
EMPTY_OBJECT: Final = "{}"


def to_domain(job: JobRequest, *, idempotency_key: str, context: RequestContext, root: str = "") -> Asked:
    """Turn a request into what operations take. root: where it stands in the body. Raises InvalidFields when a part is too large."""
    parts = encode(job, root=root)
    return Asked(
        job_type=job.payload.job_type,
        data_json=parts.data_json,
        key_hash=hash_key(idempotency_key),
        request_hash=parts.request_hash,
        idempotency_key=idempotency_key,
        queue=job.queue,
        priority=PRIORITY_NUMBERS[job.priority],
        max_attempts=job.max_attempts,
        scheduled_at=job.scheduled_at,
        delay_s=job.delay_seconds or None,  # none at all is due now
        timeout_s=job.timeout_seconds,
        expires_in_s=job.expires_in_seconds,
        concurrency_key=job.concurrency_key,
        tags_json=parts.tags_json,
        metadata_json=parts.metadata_json,
        correlation_id=context.correlation_id,
        traceparent=context.traceparent,
    )


def fresh_view(stored: Submitted, asked: Asked, job: JobRequest, *, tenant: str) -> JobView:
    """Show a job that was stored this moment, without reading it back. waiting_reason would cost a query, so it is null here."""
    assert stored.is_new
    return JobView(
        job_id=stored.job_id,
        tenant=tenant,
        queue=asked.queue,
        job_type=asked.job_type,
        status=Status.QUEUED if stored.scheduled_at is None else Status.SCHEDULED,
        priority=job.priority,
        attempt=0,
        max_attempts=stored.max_attempts,
        progress=None,
        progress_message=None,
        waiting_reason=None,
        concurrency_key=asked.concurrency_key,
        tags=job.tags,
        metadata_json=asked.metadata_json,
        idempotency_key=asked.idempotency_key,
        correlation_id=asked.correlation_id,
        trace_id=None if asked.traceparent is None else asked.traceparent[TRACE_ID],
        scheduled_at=stored.scheduled_at,
        created_at=created_at(stored.job_id),
        started_at=None,
        finished_at=None,
        lease_owner=None,
        lease_expires_at=None,
        error_json=None,
        result_ref=None,
        result_json=None,
        data_json=asked.data_json,
    )


def job_object(view: JobView) -> dict[str, Any]:
    """Show a job."""
    return {
        "id": view.job_id,
        "tenant_id": view.tenant,
        "queue": view.queue,
        "payload": {"job_type": view.job_type, "data": fragment(view.data_json, EMPTY_OBJECT)},
        "job_type": view.job_type,
        "status": view.status,
        "priority": view.priority,
        "attempt": view.attempt,
        "max_attempts": view.max_attempts,
        "progress": view.progress,
        "progress_message": view.progress_message,
        "waiting_reason": view.waiting_reason,
        "concurrency_key": view.concurrency_key,
        "tags": view.tags,
        "metadata": fragment(view.metadata_json, EMPTY_OBJECT),
        "idempotency_key": view.idempotency_key,
        "correlation_id": view.correlation_id,
        "trace_id": view.trace_id,
        "scheduled_at": view.scheduled_at,
        "created_at": view.created_at,
        "started_at": view.started_at,
        "finished_at": view.finished_at,
        "lease_owner": view.lease_owner,
        "lease_expires_at": view.lease_expires_at,
        "error": fragment(view.error_json),
        "result_ref": view.result_ref,
    }


def event_object(event: HistoryEvent) -> dict[str, Any]:
    """Show one entry of a history."""
    return {
        "seq": event.seq,
        "type": f"job.{event.type}",
        "at": event.at,
        "attempt": event.attempt,
        "worker_id": event.worker_id,
        "data": fragment(event.data_json),
    }


def result_object(view: JobView) -> dict[str, Any]:
    """Show how a job ended."""
    return {
        "job_id": view.job_id,
        "status": view.status,
        "result": fragment(view.result_json),
        "result_ref": view.result_ref,
        "finished_at": view.finished_at,
    }


def stats_object(counts: JobCounts) -> dict[str, Any]:
    """Show counts by status."""
    return {
        "by_status": {str(status): jobs for status, jobs in counts.by_status.items()},
        "total": sum(counts.by_status.values()),
        "retries_total": counts.retries,
        "as_of": counts.as_of,
    }


def me_object(principal: Principal) -> dict[str, Any]:
    """Show whom a credential speaks for."""
    return {"kind": principal.kind, "id": principal.id, "tenant_id": principal.tenant, "scopes": sorted(principal.scopes)}


def worker_object(view: WorkerView) -> dict[str, Any]:
    """Show a worker."""
    return {
        "worker_id": view.name,
        "queues": view.queues,
        "job_types": view.job_types,
        "concurrency": view.concurrency,
        "version": view.version,
        "state": view.state,
        "directive": view.directive,
        "running": view.running,
        "started_at": view.started_at,
        "last_heartbeat_at": view.last_heartbeat_at,
    }


def grant_object(grant: Grant) -> dict[str, Any]:
    """Show a lease to its holder."""
    return {
        "job": job_object(grant.job),
        "lease_token": grant.token,
        "attempt": grant.attempt,
        "lease_expires_at": grant.job.lease_expires_at,
        "lease_seconds": grant.lease_s,
        "lease_expires_in_seconds": grant.left_s,
        "timeout_seconds": grant.timeout_s,
        "crashes": grant.crashes,
        "traceparent": grant.traceparent,
    }


def cut_message(message: str | None) -> str | None:
    """Bound a progress message; one that is too long is no reason to lose a lease."""
    return None if message is None else message[:MESSAGE_CHARACTERS_MAX]


def beat_object(job_id: UUID, status: BeatStatus, expires_at: datetime | None) -> dict[str, Any]:
    """Show what became of a renewal; one that has to be tried again is `ok` without an expiry."""
    told = BeatStatus.OK if status is BeatStatus.BUSY else status
    return {"job_id": job_id, "status": told.value, "lease_expires_at": expires_at}


def settled_object(settled: Settled) -> dict[str, Any]:
    """Show what became of a settle."""
    return {"job_id": settled.job_id, "status": settled.status.value, "next_status": settled.next_status}
