"""A tenant's API keys: made, listed, deleted."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import TenantAdmin
from jobqueue.api.bodies import json_response, read_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import PAGE_SIZE, Cursor, PageSize, author_of, page_links, read_text_cursor, write_text_cursor
from jobqueue.api.services import ApiServices
from jobqueue.domain.access import API_KEY_ID, ID_BYTES, SECRET_BYTES
from jobqueue.domain.errors import CursorInvalid, KeysExhausted, NotFound
from jobqueue.operations import api_keys as operations
from jobqueue.operations.api_keys import NO_SUCH_KEY, KeyView
from jobqueue.protocol import access, wire

KeyId = Annotated[str, Path(json_schema_extra={"pattern": f"^{API_KEY_ID.pattern}$"})]
BETWEEN: Final = "|"


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = ApiKeyRoutes(services)
    router = APIRouter(tags=["credentials"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    listed = documented({200: ("Newest first.", access.ApiKeysPage)}, CursorInvalid)
    made = documented({201: ("The key, shown this once.", access.ApiKeyMade)}, KeysExhausted, body=access.ApiKeyRequest)
    add("/v1/api-keys", "GET", routes.page, operation_id="list_api_keys", **listed)
    add("/v1/api-keys", "POST", routes.create, operation_id="create_api_key", **made)
    deleted = documented({204: ("It works no more, here at once and everywhere within 5 s.", None)}, NotFound)
    add("/v1/api-keys/{key_id}", "DELETE", routes.delete, operation_id="delete_api_key", **deleted)
    return router


class ApiKeyRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._keys = services.keys

    async def page(self, request: Request, caller: TenantAdmin, cursor: Cursor = None, page_size: PageSize = PAGE_SIZE) -> Response:
        """List the tenant's keys, newest first, without their secrets, which are not kept."""
        before = None if cursor is None else _read_cursor(cursor)
        found = await operations.page(self._db, caller.tenant_id, before=before, limit=page_size + 1)
        next_cursor = _write_cursor(found[page_size - 1]) if len(found) > page_size else None
        content = {
            "items": [key_object(view) for view in found[:page_size]],
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))

    async def create(self, request: Request, caller: TenantAdmin) -> Response:
        """Make a key with at most the caller's scopes. The key is in this answer and nowhere else: only its hash is kept."""
        asked = wire.read(access.ApiKeyRequest, await read_object(request))
        scopes = operations.scopes_for(caller, asked.scopes)
        key_id, api_key = await operations.create(
            self._db,
            caller.tenant_id,
            name=asked.name,
            scopes=scopes,
            expires_at=asked.expires_at,
            random_bytes=secrets.token_bytes(ID_BYTES + SECRET_BYTES),
            by=author_of(request, caller),
        )
        content = {"id": key_id, "name": asked.name, "api_key": api_key, "scopes": scopes, "expires_at": asked.expires_at}
        return json_response(content, 201)

    async def delete(self, request: Request, caller: TenantAdmin, key_id: KeyId) -> Response:
        """Delete a key; it and the tokens made from it stop working within 5 s, in every process."""
        if API_KEY_ID.fullmatch(key_id) is None:
            raise NotFound(NO_SUCH_KEY)
        await self._keys.delete(caller.tenant_id, key_id, by=author_of(request, caller))
        return Response(status_code=204)


def key_object(view: KeyView) -> dict[str, Any]:
    """Show a key."""
    return {
        "id": view.key_id,
        "name": view.name,
        "scopes": view.scopes,
        "created_at": view.created_at,
        "expires_at": view.expires_at,
        "last_used_at": view.last_used_at,
    }


def _write_cursor(view: KeyView) -> str:
    return write_text_cursor(f"{view.created_at.isoformat()}{BETWEEN}{view.key_id}")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    """Read a cursor. Raises CursorInvalid."""
    moment, _, key_id = read_text_cursor(cursor).partition(BETWEEN)
    try:
        created_at = datetime.fromisoformat(moment)
    except ValueError:
        created_at = None
    if created_at is None or created_at.tzinfo is None or API_KEY_ID.fullmatch(key_id) is None:
        raise CursorInvalid("the cursor is not one of this list")
    return created_at, key_id
