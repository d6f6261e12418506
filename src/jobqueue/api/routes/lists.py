"""Lists of jobs, and what is done to many at once."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsReader, JobsWriter
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.filters import listed_object, to_dlq, to_domain
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import PAGE_SIZE, Cursor, PageSize, acting, caller_of, page_links, read_cursor, write_cursor
from jobqueue.api.services import ApiServices
from jobqueue.domain import lifecycle
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import CursorInvalid, PageTooDeep
from jobqueue.domain.job_filter import SCANNED_ROWS_MAX
from jobqueue.operations import job_lists
from jobqueue.protocol import filters as shapes
from jobqueue.protocol import wire
from jobqueue.protocol.filters import VALUES_MAX, CorrelationId, FilterTag
from jobqueue.protocol.jobs import JobType, Priority, QueueName, Status
from jobqueue.protocol.wire import Moment
from jobqueue.telemetry.events import JobsCompleted, JobsRetried

ANY: Final = Query(max_length=VALUES_MAX, description="Repeated: one of them is enough.")
ALL: Final = Query(max_length=VALUES_MAX, description="Repeated: all must be there.")
PAGES: Final = f"From 1, to row {SCANNED_ROWS_MAX:,}; beyond that follow `next_cursor`. Not together with `cursor`."


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = ListRoutes(services)
    router = APIRouter(tags=["jobs"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    listed = documented({200: ("A page, newest first.", shapes.JobsPage)}, CursorInvalid, PageTooDeep)
    add("/v1/jobs", "GET", routes.page, operation_id="list_jobs", **listed)
    counted = {200: ("How many jobs it was.", shapes.BulkCount)}
    add("/v1/jobs/cancel", "POST", routes.cancel, operation_id="cancel_jobs", **documented(counted, body=shapes.CancelRequest))
    replay = documented(counted, body=shapes.ReplayRequest, is_body_needed=False)
    add("/v1/dlq/replay", "POST", routes.replay, operation_id="replay_dlq", **replay)
    return router


class ListRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._limits = services.limits
        self._wake = services.wake
        self._telemetry = services.telemetry

    async def page(
        self,
        request: Request,
        caller: JobsReader,
        status: Annotated[list[Status] | None, ANY] = None,
        queue: Annotated[list[QueueName] | None, ANY] = None,
        job_type: Annotated[list[JobType] | None, ANY] = None,
        priority: Annotated[list[Priority] | None, ANY] = None,
        tag: Annotated[list[FilterTag] | None, ALL] = None,
        correlation_id: Annotated[list[CorrelationId] | None, ANY] = None,
        created_after: Annotated[Moment | None, Query(description="This moment or later.")] = None,
        created_before: Annotated[Moment | None, Query(description="Before this moment.")] = None,
        page: Annotated[int | None, Query(ge=1, description=PAGES)] = None,
        cursor: Cursor = None,
        page_size: PageSize = PAGE_SIZE,
    ) -> Response:
        """List jobs, newest first, without their data. A page reads a bounded number of rows, so it may be short while there is more."""
        asked = shapes.JobsFilter(
            status=status or [],
            queue=queue or [],
            job_type=job_type or [],
            priority=priority or [],
            tag=tag or [],
            correlation_id=correlation_id or [],
            created_after=created_after,
            created_before=created_before,
        )
        job_filter = to_domain(asked)
        if page is not None and cursor is not None:
            raise CursorInvalid("page and cursor exclude each other: a cursor knows its place")
        found = await job_lists.page(
            self._db,
            caller_of(caller),
            job_filter,
            before=None if cursor is None else read_cursor(cursor, job_filter),
            limit=page_size,
            skip=_rows_before(page or 1, page_size),
            tenant_cap=self._limits.tenant_cap,
        )
        next_cursor = None if found.next_before is None else write_cursor(found.next_before, job_filter)
        content = {
            "items": [listed_object(view) for view in found.jobs],
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))

    async def cancel(self, request: Request, caller: JobsWriter) -> Response:
        """Cancel the jobs of a filter that wait or run, as cancelling each would; those that have ended are left alone."""
        asked = wire.read(shapes.CancelRequest, await read_object(request))
        count = await job_lists.cancel_many(
            self._db,
            acting(request, caller),
            to_domain(asked.filter),
            limit=asked.limit,
            is_dry_run=asked.dry_run,
            grace_s=self._limits.cancel_grace_s,
            ended=partial(self._tell_cancelled, caller),
        )
        return json_response({"count": count})

    def _tell_cancelled(self, caller: Principal, jobs: int) -> None:
        if jobs:
            self._telemetry.emit(JobsCompleted(caller.tenant, lifecycle.Status.CANCELLED, jobs))

    async def replay(self, request: Request, caller: JobsWriter) -> Response:
        """Send jobs of the dead letter queue back to their queues, their attempts reset. No body: all of them."""
        asked = wire.read(shapes.ReplayRequest, await read_optional_object(request))
        count = await job_lists.retry_many(
            self._db, acting(request, caller), to_dlq(asked.filter), limit=asked.limit, is_dry_run=asked.dry_run, wake=self._wake
        )
        if count and not asked.dry_run:
            self._telemetry.emit(JobsRetried(caller.tenant, count))
        return json_response({"count": count})


def _rows_before(page: int, page_size: int) -> int:
    """Count the rows before a page. Raises PageTooDeep."""
    rows = (page - 1) * page_size
    if rows >= SCANNED_ROWS_MAX:
        raise PageTooDeep(f"page numbers reach to row {SCANNED_ROWS_MAX:,}; use the cursor: pass the last page's next_cursor as cursor")
    return rows
