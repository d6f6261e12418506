"""For machines: probes without a credential, and this process's metrics."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jobqueue.api.authorize import MetricsReader, open_to_all
from jobqueue.api.bodies import json_response
from jobqueue.api.context import context_of
from jobqueue.api.openapi import documented
from jobqueue.api.problems import not_ready
from jobqueue.api.services import ApiServices
from jobqueue.domain.access import Scope

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Flag = Annotated[str | None, Query(description="Present, with any value or none: all checks are shown.")]


def build(services: ApiServices) -> APIRouter:
    """Make the routes. /metrics asks for no credential where the settings open it."""
    routes = HealthRoutes(services)
    router = APIRouter(tags=["machines"])

    def add(path: str, handler: Any, description: str, **more: Any) -> None:
        said = documented({200: (description, None)}, is_public=True)
        router.add_api_route(path, handler, methods=["GET"], dependencies=[open_to_all], **said, **more)

    add("/healthz/live", routes.live, "The process answers.")
    add("/healthz/ready", routes.ready, "It can do its work; 503 when not.")
    if services.limits.is_metrics_open:
        add("/metrics", routes.all_metrics, "All series, as Prometheus text.", response_class=PlainTextResponse)
    else:
        said = documented({200: ("`operator`: all series; `metrics:read`: those of the own tenant. Prometheus text.", None)})
        router.add_api_route("/metrics", routes.own_metrics, methods=["GET"], response_class=PlainTextResponse, **said)
    return router


class HealthRoutes:
    """The handlers."""

    def __init__(self, services: ApiServices) -> None:
        self._readiness = services.readiness
        self._render_metrics = services.render_metrics

    async def live(self) -> Response:
        """Say that the process answers; looks at nothing else."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request, verbose: Flag = None) -> Response:
        """Say whether the database answers, its schema is new enough, and the process is not draining."""
        found = await self._readiness()
        shown = (
            {"checks": dict(found.checks), "warnings": dict(found.warnings), "figures": dict(found.figures)} if verbose is not None else {}
        )
        if found.is_ready:
            return json_response({"status": "ok", **shown})
        failed = ", ".join(name for name, check in found.checks.items() if check != "ok")
        return not_ready(context_of(request.scope).request_id, f"not ready: {failed}", **shown)

    async def all_metrics(self) -> Response:
        """Show every series."""
        return Response(await self._render_metrics(None), media_type=METRICS_TYPE)

    async def own_metrics(self, caller: MetricsReader) -> Response:
        """Show an operator every series, others those of their tenant."""
        reader = None if Scope.OPERATOR in caller.scopes else caller
        return Response(await self._render_metrics(reader), media_type=METRICS_TYPE)
