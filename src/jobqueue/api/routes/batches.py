"""Many jobs in one call: checked whole first, then stored in one transaction."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsWriter
from jobqueue.api.bodies import json_response, read_large_object
from jobqueue.api.context import RequestContext, context_of
from jobqueue.api.openapi import documented
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import to_domain
from jobqueue.api.submitted import submitting, tell_submitted, trace_stored
from jobqueue.domain import errors
from jobqueue.domain.errors import IdempotencyKeyReused, InvalidFields
from jobqueue.domain.job import JobRequest, Submitted
from jobqueue.protocol import batches as shapes
from jobqueue.protocol import wire

BATCH_BYTES_MAX: Final = 16 * 1024 * 1024


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = BatchRoutes(services)
    router = APIRouter(tags=["jobs"])
    submitted = documented(
        {200: ("What became of each job, in their order.", shapes.BatchResults)},
        *(errors.SubmitInProgress, errors.QueueFull),
        body=shapes.Batch,
    )
    router.add_api_route("/v1/jobs/batch", routes.submit, methods=["POST"], operation_id="submit_batch", **submitted)
    return router


class BatchRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._submitter = services.submitter
        self._telemetry = services.telemetry
        self._traces = services.traces

    async def submit(self, request: Request, caller: JobsWriter) -> Response:
        """Store up to 1,000 jobs, all or, when one is not valid, none. The same batch again answers the same jobs.

        A key that a request under way holds makes the whole batch a 409: try it again as it is.
        """
        batch = wire.read(shapes.Batch, await read_large_object(request, bytes_max=BATCH_BYTES_MAX))
        asked = read_jobs(batch, context_of(request.scope))
        with submitting(self._traces, caller.tenant, asked) as spans:
            stored = await self._submitter.submit_many(caller.tenant_id, asked)
            trace_stored(spans, stored)
        tell_submitted(self._telemetry, caller.tenant, asked, stored)
        return json_response({"results": [_result(one) for one in stored]})


def read_jobs(batch: shapes.Batch, context: RequestContext) -> list[JobRequest]:
    """Turn a batch into what operations take. Raises InvalidFields with every part that is too large."""
    asked: list[JobRequest] = []
    faults: list[tuple[str, str]] = []
    for position, job in enumerate(batch.jobs):
        try:
            asked.append(to_domain(job, idempotency_key=job.idempotency_key, context=context, root=f"/jobs/{position}"))
        except InvalidFields as error:
            faults += error.fields
    if faults:
        raise InvalidFields(faults)
    return asked


def _result(stored: Submitted | IdempotencyKeyReused) -> dict[str, object]:
    if isinstance(stored, IdempotencyKeyReused):
        return {"status": "conflict", "id": stored.job_id}
    return {"status": "created" if stored.is_new else "replayed", "id": stored.job_id}
