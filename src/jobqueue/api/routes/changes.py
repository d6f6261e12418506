"""One job changed by hand: while it waits, or declared done after it failed."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsWriter
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import JobId, acting, caller_of, read_id
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import PRIORITY_NUMBERS, job_object
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import InvalidFields, NotFound, WrongState
from jobqueue.domain.job import RESULT_BYTES_MAX, JobView
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import jobs as operations
from jobqueue.protocol import filters as shapes
from jobqueue.protocol import wire
from jobqueue.protocol.jobs import Job
from jobqueue.telemetry.events import JobsCompleted


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = ChangeRoutes(services)
    router = APIRouter(tags=["jobs"])
    patched = documented({200: ("The job as it is now.", Job)}, NotFound, WrongState, body=shapes.JobPatch)
    router.add_api_route("/v1/jobs/{job_id}", routes.patch, methods=["PATCH"], operation_id="patch_job", **patched)
    forced = documented({200: ("It has succeeded.", Job)}, NotFound, WrongState, body=shapes.ForceSuccess, is_body_needed=False)
    router.add_api_route(
        "/v1/jobs/{job_id}/force-success", routes.force_success, methods=["POST"], operation_id="force_success_of_job", **forced
    )
    return router


class ChangeRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._submitter = services.submitter
        self._limits = services.limits
        self._wake = services.wake
        self._telemetry = services.telemetry

    async def patch(self, request: Request, caller: JobsWriter, job_id: JobId) -> Response:
        """Change a job that waits: its priority, its time, its attempts. It keeps its age within its priority."""
        number = read_id(job_id)
        asked = wire.read(shapes.JobPatch, await read_object(request))
        given = asked.model_fields_set
        if not given:
            raise InvalidFields([("", "name at least one field to change")])
        patch = partial(
            operations.patch,
            self._db,
            acting(request, caller),
            number,
            priority=PRIORITY_NUMBERS[asked.priority] if "priority" in given else None,
            max_attempts=asked.max_attempts if "max_attempts" in given else None,
            is_timed="scheduled_at" in given,
            scheduled_at=asked.scheduled_at,
        )
        lane = await self._submitter.inbox.find(caller.tenant_id, number, patch)
        if lane is not None:
            self._wake(lane)
        return json_response(job_object(await self._read(caller, number)))

    async def force_success(self, request: Request, caller: JobsWriter, job_id: JobId) -> Response:
        """Declare a job done that is in the dead letter queue or waits for its retry; the history keeps who did it, and why."""
        number = read_id(job_id)
        asked = wire.read(shapes.ForceSuccess, await read_optional_object(request))
        force_success = partial(
            operations.force_success,
            self._db,
            acting(request, caller),
            number,
            result_json=_result_json(asked.result),
            reason=asked.reason,
            by=f"{caller.kind}:{caller.id}",
        )
        await self._submitter.inbox.find(caller.tenant_id, number, force_success)
        self._telemetry.emit(JobsCompleted(caller.tenant, Status.SUCCEEDED, 1))
        return json_response(job_object(await self._read(caller, number)))

    async def _read(self, caller: Principal, number: UUID) -> JobView:
        return await operations.get(self._db, caller_of(caller), number, tenant_cap=self._limits.tenant_cap)


def _result_json(result: Any) -> str | None:
    """Write a result as it is stored. Raises InvalidFields when it is too large."""
    if result is None:
        return None
    encoded = orjson.dumps(result)
    if len(encoded) > RESULT_BYTES_MAX:
        raise InvalidFields([("/result", f"has {len(encoded)} bytes as compact JSON, at most {RESULT_BYTES_MAX} are allowed")])
    return encoded.decode()
