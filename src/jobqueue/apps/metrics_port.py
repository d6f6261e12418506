"""The port every role has for machines: probes and metrics, without credential."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from jobqueue.aio.clock import SystemClock
from jobqueue.apps.http_server import HttpServer, bind
from jobqueue.operations import server
from jobqueue.operations.database import Database
from jobqueue.operations.readiness import Readiness, ReadinessProbe
from jobqueue.telemetry.metrics import CONTENT_TYPE, Metrics

HOST: Final = "0.0.0.0"  # noqa: S104 - scrapers and probes come from other machines; nothing of a tenant's is here
DRAIN_S_MAX: Final = 1.0
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
Answer = tuple[int, str, bytes]


class MetricsPort:
    """A service. port 0: it is off and only waits."""

    name = "metrics-port"

    def __init__(self, port: int, *, db: Database, metrics: Metrics, is_draining: Callable[[], bool], host: str = HOST) -> None:
        """Take the port. Raises StartRefused when it is not to be had."""
        probe = ReadinessProbe(db, needed=server.SCHEMA_NEEDED, is_draining=is_draining, clock=SystemClock())
        app = machine_app(probe.ask, metrics.render)
        self._server = HttpServer(app, bind(host, port), name=self.name, drain_s_max=DRAIN_S_MAX) if port else None

    async def run(self) -> None:
        """Answer until cancelled."""
        if self._server is None:
            await asyncio.get_running_loop().create_future()
        else:
            await self._server.run()


def machine_app(readiness: Callable[[], Awaitable[Readiness]], render: Callable[[], bytes]) -> Any:
    """Make the ASGI application: GET /healthz/live, /healthz/ready (?verbose), /metrics."""

    async def answer(method: str, path: str, query: bytes) -> Answer:
        if path not in ("/healthz/live", "/healthz/ready", "/metrics"):
            return 404, PROBLEM, _problem(404, "not_found")
        if method not in ("GET", "HEAD"):
            return 405, PROBLEM, _problem(405, "method_not_allowed")
        if path == "/metrics":
            return 200, CONTENT_TYPE, render()
        if path == "/healthz/live":
            return 200, JSON, orjson.dumps({"status": "ok"})
        return _ready(await readiness(), is_verbose=b"verbose" in query)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        status, kind, body = await answer(scope["method"], scope["path"], scope["query_string"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


def _ready(found: Readiness, *, is_verbose: bool) -> Answer:
    shown = {"checks": dict(found.checks), "warnings": dict(found.warnings), "figures": dict(found.figures)} if is_verbose else {}
    if found.is_ready:
        return 200, JSON, orjson.dumps({"status": "ok", **shown})
    return 503, PROBLEM, _problem(503, "not_ready", **shown)


def _problem(status: int, code: str, **more: Any) -> bytes:
    return orjson.dumps({"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, **more})
