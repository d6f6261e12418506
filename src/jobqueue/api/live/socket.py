"""GET /ws/jobs: a stream over a WebSocket. Whoever may not have one is told by an HTTP answer, before the upgrade."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qsl

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from jobqueue.api.authorize import Admission, Gate
from jobqueue.api.context import KEY, RequestContext
from jobqueue.api.live.joining import Joiner, StreamRequest, read_request
from jobqueue.api.live.messages import Message
from jobqueue.api.live.stream import Outlet, Stream
from jobqueue.api.middleware import read_context
from jobqueue.api.problems import answer_error, internal_error
from jobqueue.domain.access import Scope as Right
from jobqueue.domain.errors import InvalidFields, JobQueueError, Overloaded, ScopeMissing

PROTOCOL: Final = "jobqueue.v1"
TICKET_PREFIX: Final = "jobqueue.ticket."
EXTENSION: Final = "jobqueue.outlet"
"""What our server puts into the scope: the direct way to a client (apps/live_protocol.py)."""
BUFFER_BYTES_MAX: Final = 256 * 1024
"""What may wait in this process for a client to read it; beyond that it lags."""
QUERY_FIELDS_MAX: Final = 300
CLOSE_TRY_LATER: Final = 1013


class DirectSocket(Protocol):
    """What the server gives us of a connection: writing without waiting, and letting go for good."""

    on_silence: Callable[[], None] | None

    @property
    def buffered_bytes(self) -> int:
        """What waits to be read by the client."""

    def write_frame(self, frame: bytes) -> None:
        """Send a whole frame, without waiting."""

    async def drained(self) -> None:
        """Wait until most of it is read. Raises TimeoutError, ConnectionError."""

    def give_up(self, code: int, reason: str) -> None:
        """Send a close frame after what waits, and cut the connection when that is not read soon."""


class SocketOutlet(Outlet):
    """A client behind a WebSocket."""

    def __init__(self, socket: DirectSocket) -> None:
        self._socket = socket

    def write(self, message: Message) -> bool:
        """Send a message; False: too much waits already."""
        self._socket.write_frame(message.frame)
        return self._socket.buffered_bytes <= BUFFER_BYTES_MAX

    async def drained(self) -> None:
        """Wait until most of it is read."""
        await self._socket.drained()

    def close(self, code: int, reason: str) -> None:
        """Let the client go."""
        self._socket.give_up(code, reason)


class JobsSocket:
    """The endpoint, as plain ASGI: a stream of ours costs one task and no framework."""

    def __init__(self, gate: Gate, joiner: Joiner) -> None:
        self._gate = gate
        self._joiner = joiner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        websocket = WebSocket(scope, receive, send)
        context, refusal = read_context(scope)
        scope[KEY] = context
        structlog.contextvars.bind_contextvars(request_id=context.request_id, correlation_id=context.correlation_id)
        try:
            if refusal is not None:
                raise refusal
            admission, asked = await self._admit(websocket)
            if EXTENSION not in scope.get("extensions", {}):
                raise Overloaded("this server cannot carry live streams")
            direct = cast(DirectSocket, scope["extensions"][EXTENSION])
            stream = self._joiner.open(admission.principal, asked, SocketOutlet(direct), expires_at_s=admission.expires_at_s)
        except JobQueueError as error:
            await _refuse(websocket, context, error)
            return
        direct.on_silence = stream.lag
        try:
            await websocket.accept(PROTOCOL if PROTOCOL in scope["subprotocols"] else None)
            await self._carry(websocket, direct, stream, asked)
        finally:
            direct.on_silence = None
            self._joiner.close(stream)

    async def _admit(self, websocket: WebSocket) -> tuple[Admission, StreamRequest]:
        """Find out who asks, and for what. Raises the refusals."""
        ticket = next((name for name in websocket.scope["subprotocols"] if name.startswith(TICKET_PREFIX)), None)
        given = websocket.headers.getlist("authorization")
        if ticket is not None and not given:
            admission = await self._gate.redeem(ticket.removeprefix(TICKET_PREFIX))
        else:
            admission = await self._gate.admit(given[0] if len(given) == 1 else None)  # of two, nobody can say which one is meant
        if Right.JOBS_READ not in admission.principal.scopes:
            raise ScopeMissing(Right.JOBS_READ)
        return admission, read_request(read_query(websocket), admission.principal)

    async def _carry(self, websocket: WebSocket, direct: DirectSocket, stream: Stream, asked: StreamRequest) -> None:
        try:
            await self._joiner.join(stream, asked)
            while True:  # what clients say is not for us; that they are gone is
                await websocket.receive()
        except (ConnectionError, WebSocketDisconnect, RuntimeError):
            pass
        except JobQueueError:
            direct.give_up(CLOSE_TRY_LATER, "try again")


def read_query(connection: HTTPConnection) -> list[tuple[str, str]]:
    """Read a query as it stands. Raises InvalidFields when it has too many parts."""
    try:
        return parse_qsl(connection.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise InvalidFields([("/query", f"at most {QUERY_FIELDS_MAX} parameters are allowed")]) from error


async def _refuse(websocket: WebSocket, context: RequestContext, error: JobQueueError) -> None:
    """Answer by HTTP instead of the upgrade."""
    request: Any = Request({**websocket.scope, "type": "http", "method": "GET"})
    try:
        response = answer_error(request, error)
    except JobQueueError:
        response = internal_error(context.request_id)
    response.headers["X-Request-Id"] = context.request_id
    response.headers["X-Correlation-Id"] = context.correlation_id
    await websocket.send_denial_response(response)
