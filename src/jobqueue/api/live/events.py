"""GET /v1/events: the same stream as server-sent events, for those who cannot speak WebSocket."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobqueue.aio.supervise import spawn
from jobqueue.api.live.joining import Joiner, StreamRequest
from jobqueue.api.live.messages import SSE_RETRY_MS, Message
from jobqueue.api.live.stream import Outlet, Stream
from jobqueue.domain.access import Principal
from jobqueue.domain.errors import JobQueueError

BUFFER_BYTES_MAX: Final = 256 * 1024
DRAINED_BYTES: Final = 64 * 1024
DRAIN_S_MAX: Final = 10.0
GIVE_UP_S: Final = 10.0
"""What a client that was let go has to read the rest; the server cuts off who takes nothing (apps/http_protocol.py)."""
COMMENT_S: Final = 15.0
"""Between two comments on a quiet stream, so that proxies keep it open and a client that is gone is noticed."""
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventsOutlet(Outlet):
    """What waits to be written to one client."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque([b"retry: %d\n\n" % SSE_RETRY_MS])
        self._bytes = 0
        self._bell = asyncio.Event()
        self._bell.set()
        self._room = asyncio.Event()
        self._room.set()
        self.is_closed = False

    def write(self, message: Message) -> bool:
        """Put a message in the line; False: the line is too long."""
        self._waiting.append(message.sse)
        self._bytes += len(message.sse)
        if self._bytes > DRAINED_BYTES:
            self._room.clear()
        self._bell.set()
        return self._bytes <= BUFFER_BYTES_MAX

    async def drained(self) -> None:
        """Wait until most of the line is written."""
        async with asyncio.timeout(DRAIN_S_MAX):
            await self._room.wait()

    def close(self, _code: int, _reason: str) -> None:
        """End the stream after what waits; codes are for WebSockets only."""
        self.is_closed = True
        self._bell.set()
        self._room.set()

    async def take(self) -> bytes:
        """Answer what waits, a comment after a while without anything, nothing at all when the stream has ended."""
        if not self._waiting and not self.is_closed:
            self._bell.clear()
            try:
                async with asyncio.timeout(COMMENT_S):
                    await self._bell.wait()
            except TimeoutError:
                return b": still here\n\n"
        chunk = b"".join(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self._room.set()
        return chunk


class EventsResponse(Response):
    """Carries one stream to its end."""

    media_type = "text/event-stream"

    def __init__(self, joiner: Joiner, principal: Principal, asked: StreamRequest, *, expires_at_s: float | None) -> None:
        """Raises TooManyStreams, Overloaded."""
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._joiner = joiner
        self._asked = asked
        self._outlet = EventsOutlet()
        self._stream = joiner.open(principal, asked, self._outlet, expires_at_s=expires_at_s)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the client is gone or let go."""
        try:
            async with asyncio.TaskGroup() as group:
                joining = spawn(group, self._join(self._stream), "events-join")
                leaving = spawn(group, _gone(receive, self._outlet), "events-leave")
                writing = spawn(group, self._write(send), "events-write")
                while not self._outlet.is_closed:
                    await asyncio.wait([writing], timeout=1.0)
                if not writing.done():
                    await asyncio.wait([writing], timeout=GIVE_UP_S)
                for task in (joining, leaving, writing):
                    task.cancel()
        finally:
            self._joiner.close(self._stream)

    async def _join(self, stream: Stream) -> None:
        try:
            await self._joiner.join(stream, self._asked)
        except (JobQueueError, ConnectionError):
            self._outlet.close(0, "")

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while chunk := await self._outlet.take():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive, outlet: EventsOutlet) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    outlet.close(0, "")
