"""Jobs: submit, read, cancel, retry; their history, result and counts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsReader, JobsWriter
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.context import context_of
from jobqueue.api.idempotency import HEADER, read_key
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import JobId, Wait, acting, caller_of, read_id
from jobqueue.api.prefer import DOCUMENTED as PREFER_HEADER
from jobqueue.api.prefer import applied, read_wait
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import event_object, fresh_view, job_object, result_object, stats_object, to_domain
from jobqueue.api.submitted import submitting, trace_stored
from jobqueue.domain import errors
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import CursorInvalid, NotFound
from jobqueue.domain.job import PRIORITIES, JobView
from jobqueue.domain.lifecycle import FINAL, Status
from jobqueue.operations import jobs as operations
from jobqueue.operations.inbox import Found
from jobqueue.protocol import jobs as shapes
from jobqueue.protocol import wire
from jobqueue.telemetry.events import JobsCompleted, JobsRetried, JobsSubmitted

CURSOR: Final = re.compile(r"[0-9]{1,18}")
REPLAYED: Final = {"Idempotent-Replayed": "true"}
KEY_HEADER: Final = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]{1,255}$"},
    "description": "Quoted or bare. Kept for at least 24 hours after the job has ended.",
}
EventsCursor = Annotated[
    str | None, Query(description="A `next_cursor` of this list.", json_schema_extra={"pattern": f"^{CURSOR.pattern}$"})
]
ONE_JOB: Final = "/v1/jobs/{job_id}"


def build(services: ApiServices) -> APIRouter:
    """Make the routes. /v1/jobs/stats stands before /v1/jobs/{job_id}, which would take it."""
    routes = JobRoutes(services)
    router = APIRouter(tags=["jobs"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    submit_errors = (
        *(errors.IdempotencyKeyMissing, errors.IdempotencyKeyInvalid, errors.IdempotencyKeyReused),
        *(errors.SubmitInProgress, errors.QueueFull),
    )
    submitted = {
        201: ("The new job.", shapes.Job),
        200: ("The job an earlier request with this key and body made; with `Prefer: wait`: the job, which has ended.", shapes.Job),
        202: ("With `Prefer: wait`: the job, which has not ended in that time.", shapes.Job),
    }
    submit = documented(submitted, *submit_errors, body=shapes.JobRequest, headers=(KEY_HEADER, PREFER_HEADER))
    add("/v1/jobs", "POST", routes.submit, operation_id="submit_job", **submit)
    add("/v1/jobs/stats", "GET", routes.stats, operation_id="get_job_stats", **documented({200: ("The counts.", shapes.JobStats)}))
    add(ONE_JOB, "GET", routes.get, operation_id="get_job", **documented({200: ("The job.", shapes.Job)}, NotFound))
    history = documented({200: ("A page of its history.", shapes.EventsPage)}, NotFound, CursorInvalid)
    add(ONE_JOB + "/events", "GET", routes.events, operation_id="list_job_events", **history)
    add(
        ONE_JOB + "/result",
        "GET",
        routes.result,
        operation_id="get_job_result",
        **documented({200: ("How it ended.", shapes.JobResult)}, NotFound, errors.NotFinished),
    )
    cancelled = {200: ("It is cancelled.", shapes.Job), 202: ("It runs; its worker has been asked.", shapes.Job)}
    cancel = documented(cancelled, NotFound, errors.WrongState, body=shapes.NoFields, is_body_needed=False)
    add(ONE_JOB, "DELETE", routes.cancel, operation_id="delete_job", **cancel)
    add(ONE_JOB + "/cancel", "POST", routes.cancel, operation_id="cancel_job", **cancel)
    retried = documented(
        {200: ("It is queued again.", shapes.Job)},
        *(NotFound, errors.WrongState, errors.AttemptsExhausted),
        body=shapes.RetryRequest,
        is_body_needed=False,
    )
    add(ONE_JOB + "/retry", "POST", routes.retry, operation_id="retry_job", **retried)
    return router


class JobRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._submitter = services.submitter
        self._limits = services.limits
        self._telemetry = services.telemetry
        self._traces = services.traces
        self._wake = services.wake
        self._end_waiter = services.end_waiter
        self._clock = services.clock

    async def submit(self, request: Request, caller: JobsWriter) -> Response:
        """Store one job; it is committed when this answers. The same key and body again answer the same job.

        `Prefer: wait=N` waits for the job's end, whether this request made it or an earlier one.
        """
        key = read_key(request)
        job = wire.read(shapes.JobRequest, await read_object(request))
        asked = to_domain(job, idempotency_key=key, context=context_of(request.scope))
        with submitting(self._traces, caller.tenant, (asked,)) as spans:
            stored = await self._submitter.submit(caller.tenant_id, asked)
            trace_stored(spans, (stored,))
        headers = {"Location": f"/v1/jobs/{stored.job_id}"} if stored.is_new else REPLAYED
        if stored.is_new:
            self._telemetry.emit(JobsSubmitted(caller.tenant, PRIORITIES[asked.priority]))
        if (wait_s := read_wait(request)) is not None:
            view = await self._read_ended(request, caller, stored.job_id, wait_s=wait_s)
            return json_response(job_object(view), 200 if view.status in FINAL else 202, {**headers, **applied(wait_s)})
        if not stored.is_new:
            return json_response(job_object(await self._read(caller, stored.job_id)), headers=headers)
        return json_response(job_object(fresh_view(stored, asked, job, tenant=caller.tenant)), 201, headers)

    async def get(self, request: Request, caller: JobsReader, job_id: JobId, wait: Wait = 0) -> Response:
        """Show a job, at once or when it has ended."""
        return json_response(job_object(await self._read_ended(request, caller, read_id(job_id), wait_s=wait)))

    async def events(self, caller: JobsReader, job_id: JobId, cursor: EventsCursor = None) -> Response:
        """Show a job's history in order, 500 entries a page."""
        number, seq_from = read_id(job_id), read_cursor(cursor)
        page = await self._find(caller, number, lambda: operations.events(self._db, caller_of(caller), number, seq_from=seq_from))
        path = f"/v1/jobs/{job_id}/events"
        links = [f'<{path}>; rel="first"']
        if page.next_seq is not None:
            links.append(f'<{path}?cursor={page.next_seq}>; rel="next"')
        content = {
            "items": [event_object(event) for event in page.events],
            "next_cursor": None if page.next_seq is None else str(page.next_seq),
            "has_more": page.next_seq is not None,
        }
        return json_response(content, headers={"Link": ", ".join(links)})

    async def result(self, caller: JobsReader, job_id: JobId) -> Response:
        """Show how a job ended."""
        number = read_id(job_id)
        view = await self._find(caller, number, lambda: operations.result(self._db, caller_of(caller), number))
        return json_response(result_object(view))

    async def cancel(self, request: Request, caller: JobsWriter, job_id: JobId) -> Response:
        """Cancel a job: at once while it waits; one that runs is stopped by its worker, or fenced off after a grace."""
        number = read_id(job_id)
        wire.read(shapes.NoFields, await read_optional_object(request))
        grace_s = self._limits.cancel_grace_s
        cancel = partial(
            operations.cancel, self._db, acting(request, caller), number, grace_s=grace_s, ended=partial(self._tell_cancelled, caller)
        )
        status = await self._find(caller, number, cancel)
        view = await self._read(caller, number)
        return json_response(job_object(view), 200 if status is Status.CANCELLED else 202)

    async def retry(self, request: Request, caller: JobsWriter, job_id: JobId) -> Response:
        """Send a job that has ended, or waits after a failure, back to the queue."""
        number = read_id(job_id)
        asked = wire.read(shapes.RetryRequest, await read_optional_object(request))
        is_reset = asked.reset_attempts
        lane = await self._find(caller, number, lambda: operations.retry(self._db, acting(request, caller), number, is_reset=is_reset))
        self._telemetry.emit(JobsRetried(caller.tenant))
        if lane is not None:
            self._wake(lane)
        return json_response(job_object(await self._read(caller, number)))

    def _tell_cancelled(self, caller: Principal) -> None:
        self._telemetry.emit(JobsCompleted(caller.tenant, Status.CANCELLED, 1))

    async def stats(self, caller: JobsReader) -> Response:
        """Count the tenant's kept jobs by status."""
        return json_response(stats_object(await operations.count(self._db, caller_of(caller))))

    async def _read_ended(self, request: Request, caller: Principal, job_id: UUID, *, wait_s: int) -> JobView:
        """Read a job once it has ended, or as it is after wait_s. Raises NotFound."""
        view = await self._read(caller, job_id)
        if wait_s == 0 or view.status in FINAL:
            return view
        begun_s = self._clock.monotonic()
        await self._end_waiter.wait(caller_of(caller), job_id, timeout_s=wait_s)
        context_of(request.scope).waited_s += self._clock.monotonic() - begun_s
        return await self._read(caller, job_id)

    async def _read(self, caller: Principal, job_id: UUID) -> JobView:
        tenant_cap = self._limits.tenant_cap
        return await self._find(caller, job_id, lambda: operations.get(self._db, caller_of(caller), job_id, tenant_cap=tenant_cap))

    async def _find(self, caller: Principal, job_id: UUID, act: Callable[[], Awaitable[Found]]) -> Found:
        return await self._submitter.inbox.find(caller.tenant_id, job_id, act)


def read_cursor(text: str | None) -> int:
    """Read where a page of events starts. Raises CursorInvalid."""
    if text is None:
        return 0
    if CURSOR.fullmatch(text) is None:
        raise CursorInvalid("the cursor is not one of this list")
    return int(text)
