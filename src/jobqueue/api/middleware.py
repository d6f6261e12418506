"""Around every request, as pure ASGI: ids, the log line and figures of each answer, security headers, and a problem for what nobody caught.

A BaseHTTPMiddleware would cost more than all of this together, a task and a queue a request.
"""

from __future__ import annotations

import os
import re
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobqueue.aio.clock import Clock
from jobqueue.api import rate_headers
from jobqueue.api.context import KEY, TRACE_ID, RequestContext, read_traceparent
from jobqueue.api.problems import answer_error, internal_error
from jobqueue.domain.errors import HeaderInvalid
from jobqueue.domain.job import CORRELATION_ID
from jobqueue.telemetry.events import RequestServed, Telemetry

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER: Final = "other"
"""The method or endpoint of requests that name none of ours, so that callers cannot make series."""
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
"""Of answers that are no pages; those that are bring their own."""
HOST: Final = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
"""RFC 3986's host and port, without a user."""
NOT_STORED: Final = (b"cache-control", b"no-store")
CLIENT_GONE: Final = 499


class Door:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, clock: Clock) -> None:
        self._app = app
        self._telemetry = telemetry
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = self._clock.monotonic()
        context, refusal = read_context(scope)
        scope[KEY] = context
        # the server runs each request in a context of its own, so these need no undoing
        structlog.contextvars.bind_contextvars(request_id=context.request_id, correlation_id=context.correlation_id)
        if context.traceparent is not None:
            structlog.contextvars.bind_contextvars(trace_id=context.traceparent[TRACE_ID])
        answer = _Answer(context, send)
        try:
            if refusal is not None:
                await answer_error(Request(scope), refusal)(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.status = CLIENT_GONE
        except Exception:  # noqa: BLE001 - the one site: what no handler knew is logged here and answered without its trace
            structlog.get_logger("jobqueue.api").exception("request.failed", method=scope["method"], endpoint=_endpoint(scope))
            if not answer.status:
                await internal_error(context.request_id)(scope, receive, answer.send)
        finally:
            self._tell(scope, answer.status or CLIENT_GONE, max(0.0, self._clock.monotonic() - begun_s - context.waited_s))

    def _tell(self, scope: Scope, status: int, duration_s: float) -> None:
        method = scope["method"]
        self._telemetry.emit(RequestServed(method if method in METHODS else OTHER, _endpoint(scope), status, duration_s))


class _Answer:
    """The way out: puts our headers on, and remembers the status. status 0: nothing was sent yet."""

    __slots__ = ("_context", "_send", "status")

    def __init__(self, context: RequestContext, send: Send) -> None:
        self._context = context
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"] = list(message.get("headers", ()))
            if (taken := self._context.taken) is not None:
                rate_headers.settle(taken, self.status, headers)
            headers += (
                (b"x-request-id", self._context.request_id.encode()),
                (b"x-correlation-id", self._context.correlation_id.encode()),
                *SECURITY_HEADERS,
            )
            given = {name for name, _ in headers}
            headers += (header for header in (POLICY, NOT_STORED) if header[0] not in given)
        await self._send(message)


def read_context(scope: Scope) -> tuple[RequestContext, HeaderInvalid | None]:
    """Read the ids out of the headers; a correlation id that cannot be taken over is refused, and so is a request to no host or to two."""
    request_id = os.urandom(16).hex()
    context = RequestContext(request_id, request_id, None)
    refusal = None
    hosts = []
    for name, value in scope["headers"]:
        if name == b"x-correlation-id":
            text = value.decode("latin-1")
            if CORRELATION_ID.fullmatch(text):
                context.correlation_id = text
            else:
                refusal = HeaderInvalid("X-Correlation-Id takes 1-128 printable ASCII characters", header="X-Correlation-Id")
        elif name == b"traceparent":
            context.traceparent = read_traceparent(value.decode("latin-1"))
        elif name == b"host":
            hosts.append(value)
    if not _is_to_one_host(hosts, scope["http_version"]):
        refusal = HeaderInvalid("send one Host header: a name or an address, and perhaps a port", header="Host")
    return context, refusal


def _is_to_one_host(hosts: list[bytes], http_version: str) -> bool:
    """Tell whether the Host headers name one host. HTTP/1.0 knew none, and load balancers still probe with it."""
    return HOST.fullmatch(hosts[0]) is not None if len(hosts) == 1 else not hosts and http_version == "1.0"


def _endpoint(scope: Scope) -> str:
    """The template of the route that took the request."""
    route = scope.get("route")
    return OTHER if route is None else str(route.path)
