"""The calls of the API about jobs and queues, each as data (call.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.client.call import Answer, Call, Query, as_json, as_model, encode, path_of
from jobqueue.client.new_job import NewJob, make_key
from jobqueue.domain.errors import IdempotencyKeyInvalid
from jobqueue.domain.job import IDEMPOTENCY_KEY
from jobqueue.protocol.access import Me
from jobqueue.protocol.batches import BatchResults
from jobqueue.protocol.filters import BulkCount, JobsPage
from jobqueue.protocol.jobs import EventsPage, Job, JobResult, JobStats
from jobqueue.protocol.queues import Queue, QueuesPage, QueuesStats

WAIT_S_MAX: Final = 30
"""How long the API holds one request that waits for a job's end; longer waits are several requests."""
BULK_S: Final = 60.0
"""What cancelling or replaying thousands may take, on top of the usual time."""
HEADER_KEY: Final = "Idempotency-Key"

read_job: Final = as_model(Job)
Several = str | Sequence[str]


def read_submitted(answer: Answer) -> tuple[Job, bool]:
    """Read a submitted job, and whether an earlier request had made it."""
    return read_job(answer), answer.headers.get("idempotent-replayed") == "true"


def submit(job: NewJob, *, key: str, correlation_id: str | None, traceparent: str | None, wait_s: int | None) -> Call[tuple[Job, bool]]:
    """Store one job. key: quoted in its header, so that any printable ASCII is one."""
    headers = {HEADER_KEY: quoted(key)}
    if correlation_id is not None:
        headers["X-Correlation-Id"] = correlation_id
    if traceparent is not None:
        headers["traceparent"] = traceparent
    if wait_s is not None:
        headers["Prefer"] = f"wait={wait_s}"
    return Call("POST", "/v1/jobs", read_submitted, body=encode(job.body()), headers=headers, wait_s=wait_s or 0)


def submit_batch(jobs: Sequence[bytes]) -> Call[BatchResults]:
    """Store many jobs, each encoded by `batch_job`: all of them or, when one is not valid, none."""
    body = b'{"jobs":[' + b",".join(jobs) + b"]}"
    return Call("POST", "/v1/jobs/batch", as_model(BatchResults), body=body, wait_s=BULK_S)


def batch_job(job: NewJob) -> bytes:
    """Encode one job of a batch, with a key that is made when it has none."""
    return encode({"idempotency_key": job.idempotency_key or make_key(), **job.body()})


def quoted(key: str) -> str:
    """Quote a key for its header. Raises IdempotencyKeyInvalid."""
    if IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise IdempotencyKeyInvalid("an idempotency key is 1-255 printable ASCII characters")
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def get(job_id: UUID | str, *, wait_s: int = 0) -> Call[Job]:
    """Read one job, at once or when it has ended."""
    query = [("wait", str(wait_s))] if wait_s else []
    return Call("GET", path_of("v1", "jobs", job_id), read_job, query=query, wait_s=wait_s)


def events(job_id: UUID | str, *, cursor: str | None) -> Call[EventsPage]:
    """Read a page of a job's history."""
    query = [] if cursor is None else [("cursor", cursor)]
    return Call("GET", path_of("v1", "jobs", job_id, "events"), as_model(EventsPage), query=query)


def result(job_id: UUID | str) -> Call[JobResult]:
    """Read how a job ended."""
    return Call("GET", path_of("v1", "jobs", job_id, "result"), as_model(JobResult))


def cancel(job_id: UUID | str) -> Call[Job]:
    """Cancel a job; cancelling again is the same."""
    return Call("POST", path_of("v1", "jobs", job_id, "cancel"), read_job)


def retry(job_id: UUID | str, *, reset_attempts: bool) -> Call[Job]:
    """Send a job back; twice could run it twice."""
    body = encode({"reset_attempts": reset_attempts})
    return Call("POST", path_of("v1", "jobs", job_id, "retry"), read_job, body=body, is_repeatable=False)


def patch(job_id: UUID | str, changes: Mapping[str, Any]) -> Call[Job]:
    """Change a job that waits."""
    return Call("PATCH", path_of("v1", "jobs", job_id), read_job, body=encode(changes))


def force_success(job_id: UUID | str, *, result: Any, reason: str | None) -> Call[Job]:
    """Declare a job done; twice would be refused."""
    body = encode({"result": result, "reason": reason})
    return Call("POST", path_of("v1", "jobs", job_id, "force-success"), read_job, body=body, is_repeatable=False)


def filter_query(
    *,
    status: Several = (),
    queue: Several = (),
    job_type: Several = (),
    priority: Several = (),
    tag: Several = (),
    correlation_id: Several = (),
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> list[tuple[str, str]]:
    """Write the filters of a list, each value of a kind on its own."""
    kinds = {"status": status, "queue": queue, "job_type": job_type, "priority": priority, "tag": tag, "correlation_id": correlation_id}
    query = [(name, value) for name, values in kinds.items() for value in ([values] if isinstance(values, str) else values)]
    times = {"created_after": created_after, "created_before": created_before}
    return query + [(name, moment.isoformat()) for name, moment in times.items() if moment is not None]


def filter_body(query: Query) -> dict[str, Any]:
    """Write the same filters as a body."""
    body: dict[str, Any] = {}
    for name, value in query:
        if name.startswith("created_"):
            body[name] = value
        else:
            body.setdefault(name, []).append(value)
    return body


def jobs_page(query: Query, *, cursor: str | None, page_size: int) -> Call[JobsPage]:
    """Read a page of jobs, newest first."""
    more = [("page_size", str(page_size)), *([] if cursor is None else [("cursor", cursor)])]
    return Call("GET", "/v1/jobs", as_model(JobsPage), query=[*query, *more])


def cancel_many(query: Query, *, limit: int, dry_run: bool) -> Call[BulkCount]:
    """Cancel the jobs of a filter. Not repeatable: the count would be another one."""
    body = encode({"filter": filter_body(query), "limit": limit, "dry_run": dry_run})
    return Call("POST", "/v1/jobs/cancel", as_model(BulkCount), body=body, is_repeatable=dry_run, wait_s=BULK_S)


def replay_dlq(query: Query, *, limit: int, dry_run: bool) -> Call[BulkCount]:
    """Send jobs of the dead letter queue back; twice could run them twice."""
    body = encode({"filter": filter_body(query), "limit": limit, "dry_run": dry_run})
    return Call("POST", "/v1/dlq/replay", as_model(BulkCount), body=body, is_repeatable=dry_run, wait_s=BULK_S)


def stats() -> Call[JobStats]:
    """Count the kept jobs by status."""
    return Call("GET", "/v1/jobs/stats", as_model(JobStats))


def queue_stats(names: Sequence[str]) -> Call[QueuesStats]:
    """Read queues' figures."""
    return Call("GET", "/v1/stats", as_model(QueuesStats), query=[("queues", name) for name in names])


def queues_page(*, cursor: str | None, page_size: int) -> Call[QueuesPage]:
    """Read a page of queues, by name."""
    query = [("page_size", str(page_size)), *([] if cursor is None else [("cursor", cursor)])]
    return Call("GET", "/v1/queues", as_model(QueuesPage), query=query)


def queue(name: str) -> Call[Queue]:
    """Read a queue's settings."""
    return Call("GET", path_of("v1", "queues", name), as_model(Queue))


def change_queue(name: str, changes: Mapping[str, Any]) -> Call[Queue]:
    """Change a queue's settings."""
    return Call("PATCH", path_of("v1", "queues", name), as_model(Queue), body=encode(changes))


def pause_queue(name: str, *, is_paused: bool) -> Call[Queue]:
    """Pause a queue or resume it."""
    return Call("POST", path_of("v1", "queues", name, "pause" if is_paused else "resume"), as_model(Queue))


def me() -> Call[Me]:
    """Ask whom the credential speaks for."""
    return Call("GET", "/auth/me", as_model(Me))


def other(method: str, path: str, *, query: Query, body: Any, headers: Mapping[str, str], is_repeatable: bool, wait_s: float) -> Call[Any]:
    """Make a call nothing here has a name for."""
    content = None if body is None else encode(body)
    return Call(method, path, as_json, query=query, body=content, headers=headers, is_repeatable=is_repeatable, wait_s=wait_s)
