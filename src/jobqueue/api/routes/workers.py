"""Workers: made known, kept alive, listed, and told to stop (CONTRACT 3.4)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import Foreman, Worker
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.openapi import documented
from jobqueue.api.outcomes import bounded_s
from jobqueue.api.parameters import PAGE_SIZE, Cursor, PageSize, acting, caller_of, page_links, read_worker_cursor, write_name_cursor
from jobqueue.api.services import ApiServices
from jobqueue.api.shapes import beat_object, cut_message, worker_object
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import CursorInvalid, NotFound
from jobqueue.domain.job import WORKER_NAME
from jobqueue.domain.lease import BEATS_PER_LEASE, Beat, Directive
from jobqueue.operations import work, workers
from jobqueue.operations.jobs import WORKER_ALIVE_S
from jobqueue.protocol import wire
from jobqueue.protocol import work as shapes
from jobqueue.protocol.jobs import NoFields

ONE_WORKER: Final = "/v1/workers/{worker_id}"
HEARTBEAT_S_MAX: Final = WORKER_ALIVE_S / 3
WorkerPath = Annotated[str, Path(json_schema_extra={"pattern": f"^{WORKER_NAME.pattern}$"})]


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = WorkerRoutes(services)
    router = APIRouter(tags=["work"])

    def add(path: str, method: str, handler: Any, operation_id: str, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], operation_id=operation_id, **more)

    introduced = documented({200: ("It is known.", shapes.WorkerTerms)}, NotFound, body=shapes.WorkerOffer)
    add(ONE_WORKER, "PUT", routes.introduce, "introduce_worker", **introduced)
    listed = documented({200: ("A page, by name.", shapes.WorkersPage)}, CursorInvalid)
    add("/v1/workers", "GET", routes.page, "list_workers", **listed)
    beaten = documented({200: ("What to do, and what became of each lease.", shapes.HeartbeatAnswer)}, NotFound, body=shapes.Heartbeat)
    add(ONE_WORKER + "/heartbeat", "POST", routes.heartbeat, "heartbeat_of_worker", **beaten)
    directed = documented({200: ("It is told.", shapes.Worker)}, NotFound, body=NoFields, is_body_needed=False)
    add(ONE_WORKER + "/quiet", "POST", routes.quiet, "quiet_worker", **directed)
    add(ONE_WORKER + "/terminate", "POST", routes.terminate, "terminate_worker", **directed)
    return router


class WorkerRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._terms = services.terms
        self._clock = services.clock

    async def introduce(self, request: Request, caller: Worker, worker_id: WorkerPath) -> Response:
        """Make a worker known, or known anew: what it was told to do is forgotten."""
        name = read_worker_id(worker_id)
        asked = wire.read(shapes.WorkerOffer, await read_object(request))
        offer = workers.WorkerOffer(asked.queues, asked.job_types, asked.concurrency, asked.version)
        await workers.introduce(self._db, caller_of(caller), name, offer)
        lease_s = work.clamp_lease_s(None, self._terms)
        return json_response({"heartbeat_seconds": min(lease_s / BEATS_PER_LEASE, HEARTBEAT_S_MAX), "lease_seconds": lease_s})

    async def page(self, request: Request, caller: Worker, cursor: Cursor = None, page_size: PageSize = PAGE_SIZE) -> Response:
        """List who is alive: the tenant's workers, and the database workers, which serve all tenants."""
        after = "" if cursor is None else read_worker_cursor(cursor)
        found = await workers.page(self._db, caller_of(caller), after=after, limit=page_size + 1)
        next_cursor = write_name_cursor(found[page_size - 1].name) if len(found) > page_size else None
        content = {
            "items": [worker_object(view) for view in found[:page_size]],
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))

    async def heartbeat(self, request: Request, caller: Worker, worker_id: WorkerPath) -> Response:
        """Say that a worker lives, renew its leases, tell starts and progress; answers what to do, and which jobs are lost or cancelled."""
        name = read_worker_id(worker_id)
        asked = wire.read(shapes.Heartbeat, await read_object(request))
        tenant = caller_of(caller)
        directive = await workers.beat_as(self._db, tenant, name, state=asked.state)
        beats = [read_beat(lease) for lease in asked.leases]
        answers = await work.renew(self._db, self._clock, tenant, beats) if beats else []
        leases = [beat_object(beat.job_id, *answer) for beat, answer in zip(beats, answers, strict=True)]
        return json_response({"directive": directive.value, "leases": leases})

    async def quiet(self, request: Request, caller: Foreman, worker_id: WorkerPath) -> Response:
        """Have a worker claim nothing more; it finishes what it has and stays. Its next heartbeat tells it."""
        return await self._direct(request, caller, worker_id, Directive.QUIET)

    async def terminate(self, request: Request, caller: Foreman, worker_id: WorkerPath) -> Response:
        """Have a worker drain and end. Its next heartbeat tells it."""
        return await self._direct(request, caller, worker_id, Directive.TERMINATE)

    async def _direct(self, request: Request, caller: Principal, worker_id: str, directive: Directive) -> Response:
        name = read_worker_id(worker_id)
        wire.read(NoFields, await read_optional_object(request))
        return json_response(worker_object(await workers.direct(self._db, acting(request, caller), name, directive)))


def read_worker_id(text: str) -> str:
    """Read a worker's id. Raises NotFound: no worker has a malformed one."""
    if WORKER_NAME.fullmatch(text) is None:
        raise NotFound("there is no such worker")
    return text


def read_beat(told: shapes.LeaseBeat) -> Beat:
    """Take what is said of one lease. Who tells progress has started."""
    started_ago_s = 0.0 if told.started_seconds_ago is None and told.progress is not None else told.started_seconds_ago
    return Beat(
        told.job_id,
        told.lease_token,
        None if started_ago_s is None else bounded_s(started_ago_s),
        told.progress,
        cut_message(told.message),
    )
