"""The audit trail: read by a tenant's administrators, and by operators over all tenants. Nobody writes it here."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.authorize import TenantReader
from jobqueue.api.bodies import json_response
from jobqueue.api.openapi import documented
from jobqueue.api.parameters import PAGE_SIZE, Cursor, PageSize, page_links, read_cursor, write_cursor
from jobqueue.api.services import ApiServices
from jobqueue.domain.access import Principal, Scope
from jobqueue.domain.audit import Action, AuditFilter, AuditRow
from jobqueue.domain.errors import CursorInvalid, NotFound
from jobqueue.domain.job import TENANT_NAME
from jobqueue.operations import audit as operations
from jobqueue.operations import tenants
from jobqueue.operations.database import Database
from jobqueue.operations.tenants import NO_SUCH_TENANT
from jobqueue.protocol import audit as shapes
from jobqueue.protocol.wire import Moment

TEXT_CHARACTERS_MAX = 200
Text = Annotated[str | None, Query(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=r"^[^\x00]*$")]


def build(services: ApiServices) -> APIRouter:
    """Make the route."""
    routes = AuditRoutes(services)
    router = APIRouter(tags=["audit"])
    listed = documented({200: ("A page, newest first.", shapes.AuditPage)}, CursorInvalid, NotFound)
    router.add_api_route("/v1/audit", routes.page, methods=["GET"], operation_id="list_audit", **listed)
    return router


class AuditRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._db = services.db

    async def page(
        self,
        request: Request,
        caller: TenantReader,
        actor: Annotated[Text, Query(description="The id of a key or a user.")] = None,
        action: Annotated[Action | None, Query(description="What was done.")] = None,
        target: Annotated[Text, Query(description="The id or name of what was acted on.")] = None,
        since: Annotated[Moment | None, Query(description="This moment or later.")] = None,
        until: Annotated[Moment | None, Query(description="Before this moment.")] = None,
        tenant: Annotated[Text, Query(description="Of this tenant only; operators see all without it, others their own.")] = None,
        cursor: Cursor = None,
        page_size: PageSize = PAGE_SIZE,
    ) -> Response:
        """List who did what, newest first. Scope: `tenant:admin` for the own tenant, `operator` across tenants."""
        is_operator = Scope.OPERATOR in caller.scopes
        tenant_id = await _whose(self._db, caller, tenant)
        asked = AuditFilter(actor, action, target, since, until)
        before = None if cursor is None else read_cursor(cursor, asked)
        found = await operations.page(self._db, tenant_id, asked, before=before, limit=page_size, is_operator=is_operator)
        next_cursor = None if found.next_before is None else write_cursor(found.next_before, asked)
        content = {
            "items": [entry_object(row) for row in found.rows],
            "next_cursor": next_cursor,
            "has_more": next_cursor is not None,
        }
        return json_response(content, headers=page_links(request, next_cursor=next_cursor))


async def _whose(db: Database, caller: Principal, tenant: str | None) -> int | None:
    """Answer whose rows are asked for, None: everybody's. Raises NotFound for a tenant that is not the caller's to see."""
    if Scope.OPERATOR not in caller.scopes:
        if tenant not in (None, caller.tenant):
            raise NotFound(NO_SUCH_TENANT)
        return caller.tenant_id
    if tenant is None:
        return None
    if TENANT_NAME.fullmatch(tenant) is None:
        raise NotFound(NO_SUCH_TENANT)
    return await tenants.find(db, tenant)


def entry_object(row: AuditRow) -> dict[str, Any]:
    """Show a row."""
    return {
        "id": row.audit_id,
        "at": row.at,
        "tenant_id": row.tenant,
        "actor": {"kind": row.author.kind, "id": row.author.id, "name": row.author.name},
        "action": row.action,
        "target": {"kind": row.target.kind, "id": row.target.id},
        "request_id": row.author.request_id,
        "correlation_id": row.author.correlation_id,
        "address": row.author.address,
        "data": orjson.Fragment(row.data_json),
    }
