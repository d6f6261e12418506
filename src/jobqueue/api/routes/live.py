"""Live streams: a WebSocket, server-sent events, and tickets for browsers."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from jobqueue.api.authorize import Gate, JobsReader, StreamReader
from jobqueue.api.bodies import json_response, read_optional_object
from jobqueue.api.live.events import EventsResponse
from jobqueue.api.live.joining import VALUES_MAX, Joiner, read_request
from jobqueue.api.live.socket import JobsSocket
from jobqueue.api.openapi import documented
from jobqueue.api.services import ApiServices
from jobqueue.domain import errors
from jobqueue.operations import stream_tickets
from jobqueue.protocol import live as shapes
from jobqueue.protocol import wire
from jobqueue.protocol.jobs import JobType, NoFields, QueueName

LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^{shapes.CURSOR_PATTERN}$"},
    "description": "The `id` of the last event known; browsers send it by themselves. It goes before `after`.",
}
ANY: Final = Query(max_length=VALUES_MAX, description="Repeated: one of them is enough.")
JobIdText = Annotated[str, Query(json_schema_extra={"format": "uuid"})]


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = LiveRoutes(services)
    router = APIRouter(tags=["live"])
    ticket = documented({201: ("A ticket, good for one stream.", shapes.StreamTicket)}, body=NoFields, is_body_needed=False)
    router.add_api_route("/v1/stream/tickets", routes.ticket, methods=["POST"], operation_id="create_stream_ticket", **ticket)
    refused = (errors.WrongTenant, errors.TooManyStreams)
    told = documented({200: ("Server-sent events until somebody ends them.", None)}, *refused, headers=(LAST_EVENT_ID,))
    router.add_api_route("/v1/events", routes.events, methods=["GET"], operation_id="stream_events", **told)
    return router


def build_socket(gate: Gate, joiner: Joiner) -> WebSocketRoute:
    """Make the route of the WebSocket, which OpenAPI cannot describe: /asyncapi.json does."""
    return WebSocketRoute("/ws/jobs", JobsSocket(gate, joiner), name="stream_jobs")


class LiveRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._joiner = services.joiner

    async def ticket(self, request: Request, caller: JobsReader) -> Response:
        """Make a ticket that opens one stream within 30 seconds: `new WebSocket(url, ["jobqueue.v1", "jobqueue.ticket." + ticket])`."""
        wire.read(NoFields, await read_optional_object(request))
        gate: Gate = request.app.state.gate
        ticket = await stream_tickets.create(
            self._db,
            caller,
            credential_expires_at_s=gate.expires_at_s(request.headers.get("authorization")),
            random_bytes=os.urandom(stream_tickets.TICKET_BYTES),
        )
        return json_response({"ticket": ticket, "expires_in": stream_tickets.TICKET_LIVES_S}, 201)

    async def events(
        self,
        request: Request,
        caller: StreamReader,
        queue: Annotated[list[QueueName] | None, ANY] = None,
        job_type: Annotated[list[JobType] | None, ANY] = None,
        job_id: Annotated[list[JobIdText] | None, ANY] = None,
        after: Annotated[str | None, Query(description="The last cursor known.", pattern=f"^{shapes.CURSOR_PATTERN}$")] = None,
        snapshot: Annotated[bool, Query(description="Begin with the jobs as they are.")] = False,
        mode: Annotated[str, Query(description="`latest`: only the newest state of each job.", pattern="^(all|latest)$")] = "all",
        tenant_id: Annotated[str | None, Query(description="The credential's own.")] = None,
    ) -> Any:
        """Stream what happens to jobs, as server-sent events."""
        gate: Gate = request.app.state.gate
        several = {"queue": queue, "job_type": job_type, "job_id": job_id}
        single = {"after": after, "snapshot": str(snapshot).lower(), "mode": mode, "tenant_id": tenant_id}
        query = [(name, value) for name, values in several.items() for value in values or ()]
        query += [(name, value) for name, value in single.items() if value is not None]
        asked = read_request(query, caller, last_event_id=request.headers.get("last-event-id"))
        return EventsResponse(self._joiner, caller, asked, expires_at_s=gate.expires_at_s(request.headers.get("authorization")))
