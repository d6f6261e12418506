"""A tenant's queues: settings, pause and resume.

Whoever may submit and cancel may also pause and limit (`jobs:write`): the people who run a team's jobs are those who stop them, and a queue
reaches no further than its own tenant. `tenant:admin` is for keys and for what is billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import JobsReader, JobsWriter
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import (
    PAGE_SIZE,
    Cursor,
    PageSize,
    QueueNamePath,
    acting,
    caller_of,
    page_links,
    read_name_cursor,
    read_queue_name,
    write_name_cursor,
)
from jobqueue.api.services import ApiServices
from jobqueue.domain.audit import Action
from jobqueue.domain.errors import CursorInvalid, InvalidFields, NotFound
from jobqueue.operations import queues as operations
from jobqueue.operations.jobs import Caller
from jobqueue.operations.queues import KEY_MAX_CONCURRENT_DEFAULT, QueueView
from jobqueue.protocol import queues as shapes
from jobqueue.protocol import wire
from jobqueue.protocol.jobs import NoFields

ONE_QUEUE: Final = "/v1/queues/{name}"
SETTINGS: Final[Mapping[str, tuple[str, Any]]] = {
    "paused": ("is_paused", False),
    "max_concurrent": ("max_concurrent", None),
    "key_max_concurrent": ("key_max_concurrent", KEY_MAX_CONCURRENT_DEFAULT),
    "rate_per_second": ("rate_per_second", None),
    "max_attempts": ("max_attempts", None),
    "retry_base_seconds": ("retry_base_s", None),
}
"""A setting's name outside -> its name inside, and what null stands for."""


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = QueueRoutes(services)
    router = APIRouter(tags=["queues"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    shown = {200: ("Its settings.", shapes.Queue)}
    empty = documented(shown, NotFound, body=NoFields, is_body_needed=False)
    add("/v1/queues", "GET", routes.page, operation_id="list_queues", **documented({200: ("By name.", shapes.QueuesPage)}, CursorInvalid))
    add(ONE_QUEUE, "GET", routes.get, operation_id="get_queue", **documented(shown, NotFound))
    add(ONE_QUEUE, "PATCH", routes.change, operation_id="change_queue", **documented(shown, NotFound, body=shapes.QueueChange))
    add(ONE_QUEUE + "/pause", "POST", routes.pause, operation_id="pause_queue", **empty)
    add(ONE_QUEUE + "/resume", "POST", routes.resume, operation_id="resume_queue", **empty)
    return router


class QueueRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._names = services.names
        self._wake = services.wake

    async def page(self, request: Request, caller: JobsReader, cursor: Cursor = None, page_size: PageSize = PAGE_SIZE) -> Response:
        """List the queues the tenant used or set, by name."""
        after = "" if cursor is None else read_name_cursor(cursor)
        found = await operations.page(self._db, caller_of(caller), after=after, limit=page_size + 1)
        next_cursor = write_name_cursor(found[page_size - 1].name) if len(found) > page_size else None
        content = {
            "items": [queue_object(view) for view in found[:page_size]],
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))

    async def get(self, caller: JobsReader, name: QueueNamePath) -> Response:
        """Show a queue's settings."""
        return json_response(queue_object(await operations.get(self._db, caller_of(caller), read_queue_name(name))))

    async def change(self, request: Request, caller: JobsWriter, name: QueueNamePath) -> Response:
        """Change a queue's settings; in force for every claim after the answer. A queue nobody used yet can be set. Scope: `jobs:write`."""
        queue = read_queue_name(name)
        asked = wire.read(shapes.QueueChange, await read_object(request))
        if not asked.model_fields_set:
            raise InvalidFields([("", "name at least one setting to change")])
        given = {field: getattr(asked, field) for field in asked.model_fields_set}
        return await self._change(acting(request, caller), queue, given, Action.QUEUE_CHANGED)

    async def pause(self, request: Request, caller: JobsWriter, name: QueueNamePath) -> Response:
        """Claim no more jobs of a queue; those that run go on, and submits are taken. Scope: `jobs:write`."""
        queue = read_queue_name(name)
        wire.read(NoFields, await read_optional_object(request))
        return await self._change(acting(request, caller), queue, {"paused": True}, Action.QUEUE_PAUSED)

    async def resume(self, request: Request, caller: JobsWriter, name: QueueNamePath) -> Response:
        """Claim jobs of a queue again, at once. Scope: `jobs:write`."""
        queue = read_queue_name(name)
        wire.read(NoFields, await read_optional_object(request))
        return await self._change(acting(request, caller), queue, {"paused": False}, Action.QUEUE_RESUMED)

    async def _change(self, caller: Caller, queue: str, given: Mapping[str, Any], action: Action) -> Response:
        changes = {SETTINGS[field][0]: SETTINGS[field][1] if value is None else value for field, value in given.items()}
        view = await operations.change(self._db, self._names, caller, queue, changes, wake=self._wake, action=action)
        return json_response(queue_object(view))


def queue_object(view: QueueView) -> dict[str, Any]:
    """Show a queue."""
    return {
        "name": view.name,
        "paused": view.is_paused,
        "max_concurrent": view.max_concurrent,
        "key_max_concurrent": view.key_max_concurrent,
        "rate_per_second": view.rate_per_second,
        "max_attempts": view.max_attempts,
        "retry_base_seconds": view.retry_base_s,
    }
