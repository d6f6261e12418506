"""Tenants: each reads its own; operators make, read and change all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import Operator, TenantReader, requires
from jobqueue.api.bodies import json_response, read_object
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import PAGE_SIZE, Cursor, PageSize, author_of, page_links, read_text_cursor, write_text_cursor
from jobqueue.api.services import ApiServices, TenantDefaults
from jobqueue.domain.access import Scope
from jobqueue.domain.errors import CursorInvalid, InvalidFields, NameTaken, NotFound
from jobqueue.domain.job import TENANT_NAME
from jobqueue.operations import tenants as operations
from jobqueue.operations.tenants import NO_SUCH_TENANT, TenantView
from jobqueue.protocol import tenants as shapes
from jobqueue.protocol import wire

ONE_TENANT: Final = "/v1/tenants/{tenant_id}"
TenantId = Annotated[str, Path(json_schema_extra={"pattern": f"^{TENANT_NAME.pattern}$"})]


def build(services: ApiServices) -> APIRouter:
    """Make the routes."""
    routes = TenantRoutes(services)
    router = APIRouter(tags=["tenants"])

    def add(path: str, method: str, handler: Any, **more: Any) -> None:
        router.add_api_route(path, handler, methods=[method], **more)

    shown = {200: ("The tenant.", shapes.Tenant)}
    made = documented({201: ("The tenant.", shapes.Tenant)}, NameTaken, body=shapes.TenantRequest)
    listed = documented({200: ("By name.", shapes.TenantsPage)}, CursorInvalid)
    add("/v1/tenants", "GET", routes.page, operation_id="list_tenants", dependencies=[requires(Scope.OPERATOR)], **listed)
    add("/v1/tenants", "POST", routes.create, operation_id="create_tenant", **made)
    add(ONE_TENANT, "GET", routes.get, operation_id="get_tenant", **documented(shown, NotFound))
    changed = documented(shown, NotFound, body=shapes.TenantChange)
    add(ONE_TENANT, "PATCH", routes.change, operation_id="change_tenant", **changed)
    return router


class TenantRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db
        self._defaults = services.limits.tenant
        self._rates = services.rates

    async def page(self, request: Request, cursor: Cursor = None, page_size: PageSize = PAGE_SIZE) -> Response:
        """List all tenants, by name. Scope: `operator`."""
        after = "" if cursor is None else _read_cursor(cursor)
        found = await operations.page(self._db, after=after, limit=page_size + 1)
        next_cursor = write_text_cursor(found[page_size - 1].name) if len(found) > page_size else None
        content = {
            "items": await self._show(found[:page_size]),
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))

    async def create(self, request: Request, caller: Operator) -> Response:
        """Make a tenant. Scope: `operator`. Its first key comes from `jobqueue keys create`."""
        asked = wire.read(shapes.TenantRequest, await read_object(request))
        if TENANT_NAME.fullmatch(asked.id) is None:
            raise InvalidFields([("/id", "a tenant's name is 1-63 of a-z, 0-9 and -")])
        await operations.create(
            self._db,
            asked.id,
            plan=asked.plan,
            max_concurrent=asked.max_concurrent,
            max_queued=asked.max_queued,
            rate_per_minute=asked.rate_per_minute,
            by=author_of(request, caller),
        )
        content = await self._show_one(await operations.get(self._db, asked.id))
        return json_response(content, 201, {"Location": f"/v1/tenants/{asked.id}"})

    async def get(self, caller: TenantReader, tenant_id: TenantId) -> Response:
        """Show a tenant, its limits and what it has now: the own one, or any to an operator. Others are not found, like unknown ones."""
        if tenant_id != caller.tenant and Scope.OPERATOR not in caller.scopes:
            raise NotFound(NO_SUCH_TENANT)
        return json_response(await self._show_one(await operations.get(self._db, _read_id(tenant_id))))

    async def change(self, request: Request, caller: Operator, tenant_id: TenantId) -> Response:
        """Change a tenant's plan and limits. Scope: `operator`. A lower limit stops claims and submits, not jobs."""
        asked = wire.read(shapes.TenantChange, await read_object(request))
        if not asked.model_fields_set:
            raise InvalidFields([("", "name at least one field to change")])
        changes = {field: getattr(asked, field) for field in asked.model_fields_set}
        view = await operations.change(self._db, _read_id(tenant_id), changes, by=author_of(request, caller))
        return json_response(await self._show_one(view))

    async def _show_one(self, view: TenantView) -> dict[str, Any]:
        return (await self._show([view]))[0]

    async def _show(self, views: Sequence[TenantView]) -> list[dict[str, Any]]:
        left = await self._rates.requests_left_of([view.tenant_id for view in views])
        return [tenant_object(view, self._defaults, requests_left=left[view.tenant_id]) for view in views]


def tenant_object(view: TenantView, defaults: TenantDefaults, *, requests_left: int | None) -> dict[str, Any]:
    """Show a tenant, with the limits in force."""
    return {
        "id": view.name,
        "plan": view.plan,
        "weight": view.weight,
        "max_concurrent": defaults.max_concurrent if view.max_concurrent is None else view.max_concurrent,
        "max_queued": defaults.max_queued if view.max_queued is None else view.max_queued,
        "rate_per_minute": defaults.rate_per_minute if view.rate_per_minute is None else view.rate_per_minute,
        "usage": {"running": view.running, "queued": view.queued, "requests_left": requests_left},
    }


def _read_id(tenant_id: str) -> str:
    """Read a tenant's name. Raises NotFound: none has a malformed one."""
    if TENANT_NAME.fullmatch(tenant_id) is None:
        raise NotFound(NO_SUCH_TENANT)
    return tenant_id


def _read_cursor(cursor: str) -> str:
    """Read a cursor. Raises CursorInvalid."""
    name = read_text_cursor(cursor)
    if TENANT_NAME.fullmatch(name) is None:
        raise CursorInvalid("the cursor is not one of this list")
    return name
