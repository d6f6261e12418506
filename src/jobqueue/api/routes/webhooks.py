"""A tenant's webhooks: endpoints, secrets, deliveries, replays.

All of it asks for `tenant:admin`: whoever may make an endpoint decides where the tenant's data goes, and addresses often hold a secret.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import TenantAdmin
from jobqueue.api.bodies import json_response, read_object, read_optional_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import (
    PAGE_SIZE,
    UUID_TEXT,
    Cursor,
    PageSize,
    acting,
    page_links,
    read_text_cursor,
    write_text_cursor,
)
from jobqueue.api.services import ApiServices
from jobqueue.domain.errors import CursorInvalid, InvalidFields, NotFound, WebhookDisabled, WebhooksExhausted
from jobqueue.domain.webhook import State
from jobqueue.domain.webhook_signature import SECRET_BYTES
from jobqueue.operations import webhooks as operations
from jobqueue.operations.webhooks import NO_SUCH_DELIVERY, NO_SUCH_WEBHOOK, DeliveryView, WebhookView
from jobqueue.protocol import webhooks as shapes
from jobqueue.protocol import wire
from jobqueue.protocol.jobs import NoFields
from jobqueue.protocol.webhooks import VALUES_MAX, DeliveryStatus, DeliveryType
from jobqueue.protocol.wire import Moment

ALL_WEBHOOKS: Final = "/v1/webhooks"
ONE_WEBHOOK: Final = "/v1/webhooks/{webhook_id}"
DELIVERIES: Final = ONE_WEBHOOK + "/deliveries"
ONE_DELIVERY: Final = DELIVERIES + "/{delivery_id}"
ANY: Final = Query(max_length=VALUES_MAX, description="Repeated: one of them is enough.")
SEQ_DIGITS_MAX: Final = 19

WebhookId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
DeliveryId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = WebhookRoutes(services)
    router = APIRouter(tags=["webhooks"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    shown = {200: ("The webhook.", shapes.Webhook)}
    made = documented(
        {201: ("The webhook with its secret, shown this once.", shapes.WebhookWithSecret)}, WebhooksExhausted, body=shapes.WebhookRequest
    )
    listed = documented({200: ("Newest first.", shapes.WebhooksPage)}, CursorInvalid)
    add(ALL_WEBHOOKS, "GET", routes.page, operation_id="list_webhooks", **listed)
    add(ALL_WEBHOOKS, "POST", routes.create, operation_id="create_webhook", **made)
    add(ONE_WEBHOOK, "GET", routes.get, operation_id="get_webhook", **documented(shown, NotFound))
    add(ONE_WEBHOOK, "PATCH", routes.change, operation_id="change_webhook", **documented(shown, NotFound, body=shapes.WebhookChange))
    deleted = documented({204: ("Nothing is sent to it any more.", None)}, NotFound)
    add(ONE_WEBHOOK, "DELETE", routes.delete, operation_id="delete_webhook", **deleted)
    rotated = documented(
        {200: ("The webhook with its new secret, shown this once.", shapes.WebhookWithSecret)},
        NotFound,
        body=shapes.RotateRequest,
        is_body_needed=False,
    )
    add(ONE_WEBHOOK + "/rotate-secret", "POST", routes.rotate, operation_id="rotate_webhook_secret", **rotated)
    tested = documented(
        {202: ("The delivery, sent within a second.", shapes.DeliveryWithPayload)},
        NotFound,
        WebhookDisabled,
        body=NoFields,
        is_body_needed=False,
    )
    add(ONE_WEBHOOK + "/test", "POST", routes.test, operation_id="test_webhook", **tested)
    counted = documented(
        {200: ("How many it was.", shapes.ReplayCount)}, NotFound, CursorInvalid, body=shapes.WebhookReplay, is_body_needed=False
    )
    add(ONE_WEBHOOK + "/replay", "POST", routes.replay_all, operation_id="replay_webhook", **counted)
    delivery = {200: ("The delivery.", shapes.DeliveryWithPayload)}
    found = documented({200: ("A page, newest first.", shapes.DeliveriesPage)}, NotFound, CursorInvalid)
    add(DELIVERIES, "GET", routes.deliveries, operation_id="list_webhook_deliveries", **found)
    add(ONE_DELIVERY, "GET", routes.delivery, operation_id="get_webhook_delivery", **documented(delivery, NotFound))
    again = documented(delivery, NotFound, body=NoFields, is_body_needed=False)
    add(ONE_DELIVERY + "/replay", "POST", routes.replay, operation_id="replay_webhook_delivery", **again)
    return router


class WebhookRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._box = services.webhook_secrets
        self._guard = services.webhook_guard

    async def page(self, request: Request, caller: TenantAdmin, cursor: Cursor = None, page_size: PageSize = PAGE_SIZE) -> Response:
        """List the tenant's webhooks, newest first, without their secrets. Scope: `tenant:admin`, as of all calls here."""
        before_id = None if cursor is None else _read_id_cursor(cursor)
        found = await operations.page(self._db, caller.tenant_id, before_id=before_id, limit=page_size + 1)
        next_cursor = write_text_cursor(str(found[page_size - 1].webhook_id)) if len(found) > page_size else None
        return _page(request, [webhook_object(view) for view in found[:page_size]], next_cursor)

    async def create(self, request: Request, caller: TenantAdmin) -> Response:
        """Make a webhook: from now on it is sent the events it asks for. Its secret is in this answer and in no other."""
        asked = wire.read(shapes.WebhookRequest, await read_object(request))
        view, secret = await operations.create(
            self._db,
            self._box,
            self._guard,
            acting(request, caller),
            url=asked.url,
            description=asked.description,
            event_types=asked.event_types,
            queues=asked.queues,
            job_types=asked.job_types,
            random_bytes=secrets.token_bytes(SECRET_BYTES),
        )
        headers = {"Location": f"{ALL_WEBHOOKS}/{view.webhook_id}"}
        return json_response({**webhook_object(view), "secret": secret}, 201, headers=headers)

    async def get(self, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Show a webhook, without its secret."""
        return json_response(webhook_object(await operations.get(self._db, caller.tenant_id, read_webhook_id(webhook_id))))

    async def change(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Change a webhook's address, filter or state; in force for everything that is sent after the answer."""
        known = read_webhook_id(webhook_id)
        asked = wire.read(shapes.WebhookChange, await read_object(request))
        if not asked.model_fields_set:
            raise InvalidFields([("", "name at least one field to change")])
        given = {field: getattr(asked, field) for field in asked.model_fields_set}
        if "state" in given:
            given["is_active"] = given.pop("state") == State.ACTIVE
        return json_response(webhook_object(await operations.change(self._db, self._guard, acting(request, caller), known, given)))

    async def delete(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Delete a webhook with what it has not been sent yet."""
        await operations.delete(self._db, acting(request, caller), read_webhook_id(webhook_id))
        return Response(status_code=204)

    async def rotate(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Give a webhook a new secret. Until the grace is over (a day unless said) messages carry a signature of the old one, too."""
        known = read_webhook_id(webhook_id)
        asked = wire.read(shapes.RotateRequest, await read_optional_object(request))
        view, secret = await operations.rotate(
            self._db, self._box, acting(request, caller), known, grace_s=asked.grace_seconds, random_bytes=secrets.token_bytes(SECRET_BYTES)
        )
        return json_response({**webhook_object(view), "secret": secret})

    async def test(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Have a `webhook.test` sent, whatever the filter says; how it went is told by the delivery this answers."""
        known = read_webhook_id(webhook_id)
        wire.read(NoFields, await read_optional_object(request))
        view = await operations.test(self._db, acting(request, caller), known)
        headers = {"Location": f"{ALL_WEBHOOKS}/{known}/deliveries/{view.delivery_id}"}
        return json_response(delivery_object(view), 202, headers=headers)

    async def deliveries(
        self,
        request: Request,
        caller: TenantAdmin,
        webhook_id: WebhookId,
        status: Annotated[list[DeliveryStatus] | None, ANY] = None,
        type: Annotated[list[DeliveryType] | None, ANY] = None,  # noqa: A002 - the name on the line
        job_id: Annotated[UUID | None, Query()] = None,
        after: Annotated[Moment | None, Query(description="Of events at this moment or later.")] = None,
        before: Annotated[Moment | None, Query(description="Of events before this moment.")] = None,
        cursor: Cursor = None,
        page_size: PageSize = PAGE_SIZE,
    ) -> Response:
        """List a webhook's deliveries, newest first: how they stand, what was answered, when. Kept for some days."""
        found, next_seq = await operations.list_deliveries(
            self._db,
            caller.tenant_id,
            read_webhook_id(webhook_id),
            before_seq=None if cursor is None else _read_seq_cursor(cursor),
            limit=page_size,
            filters={"statuses": status or None, "types": type or None, "job_id": job_id, "after": after, "until": before},
        )
        return _page(request, [delivery_object(view) for view in found], _write_seq_cursor(next_seq))

    async def delivery(self, caller: TenantAdmin, webhook_id: WebhookId, delivery_id: DeliveryId) -> Response:
        """Show a delivery with what is sent."""
        known = read_webhook_id(webhook_id)
        view = await operations.get_delivery(self._db, caller.tenant_id, known, read_delivery_id(delivery_id))
        return json_response(delivery_object(view))

    async def replay(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId, delivery_id: DeliveryId) -> Response:
        """Send a delivery again, under the same id, however it stands; a disabled webhook's waits until it is active."""
        known, delivery = read_webhook_id(webhook_id), read_delivery_id(delivery_id)
        wire.read(NoFields, await read_optional_object(request))
        return json_response(delivery_object(await operations.replay(self._db, acting(request, caller), known, delivery)))

    async def replay_all(self, request: Request, caller: TenantAdmin, webhook_id: WebhookId) -> Response:
        """Send deliveries of a range of time again, under the same ids: unless said, those given up or skipped.

        One call looks at 10,000 deliveries, the newest first; with its `next_cursor` the next one goes on.
        """
        known = read_webhook_id(webhook_id)
        asked = wire.read(shapes.WebhookReplay, await read_optional_object(request))
        count, next_seq = await operations.replay_all(
            self._db,
            acting(request, caller),
            known,
            statuses=asked.status,
            after=asked.after,
            until=asked.before,
            before_seq=None if asked.cursor is None else _read_seq_cursor(asked.cursor),
        )
        return json_response({"count": count, "next_cursor": _write_seq_cursor(next_seq)})


def webhook_object(view: WebhookView) -> dict[str, Any]:
    """Show a webhook."""
    return {
        "id": view.webhook_id,
        "url": view.url,
        "description": view.description,
        "event_types": view.event_types,
        "queues": view.queues,
        "job_types": view.job_types,
        "state": view.state,
        "disabled_reason": view.disabled_reason,
        "disabled_at": view.disabled_at,
        "failing_since": view.failing_since,
        "previous_secret_until": view.previous_until,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
    }


def delivery_object(view: DeliveryView) -> dict[str, Any]:
    """Show a delivery, with its payload where it was read."""
    payload = {} if view.body is None else {"payload": orjson.Fragment(view.body)}
    return {
        "id": view.delivery_id,
        "webhook_id": view.webhook_id,
        "job_id": view.job_id,
        "type": view.type,
        "event_at": view.event_at,
        "status": view.status,
        "attempts": view.attempts,
        "next_attempt_at": view.next_at,
        "last_attempt_at": view.tried_at,
        "response_status": view.answer_status,
        "response_excerpt": view.answer_excerpt,
        "response_seconds": view.answer_s,
        "error": view.error,
        **payload,
    }


def read_webhook_id(text: str) -> UUID:
    """Read a webhook's id. Raises NotFound: none has a malformed one."""
    return _read_id(text, NO_SUCH_WEBHOOK)


def read_delivery_id(text: str) -> UUID:
    """Read a delivery's id. Raises NotFound: none has a malformed one."""
    return _read_id(text, NO_SUCH_DELIVERY)


def _read_id(text: str, said: str) -> UUID:
    if UUID_TEXT.fullmatch(text) is None:
        raise NotFound(said)
    return UUID(text)


def _page(request: Request, items: list[dict[str, Any]], next_cursor: str | None) -> Response:
    content = {"items": items, "next_cursor": next_cursor, "has_more": next_cursor is not None}
    return json_response(content, headers=page_links(request, next_cursor=next_cursor))


def _read_id_cursor(cursor: str) -> UUID:
    text = read_text_cursor(cursor)
    if UUID_TEXT.fullmatch(text) is None:
        raise CursorInvalid("the cursor is not one of this list")
    return UUID(text)


def _write_seq_cursor(seq: int | None) -> str | None:
    return None if seq is None else write_text_cursor(str(seq))


def _read_seq_cursor(cursor: str) -> int:
    text = read_text_cursor(cursor)
    if not text.isascii() or not text.isdigit() or len(text) > SEQ_DIGITS_MAX or int(text) >= 2**63:
        raise CursorInvalid("the cursor is not one of this list")
    return int(text)
