"""uvicorn's WebSocket protocol with a direct way to each client, for live streams.

Three things uvicorn does not offer: write a frame that was encoded once for all, without a task and a lock for each client; see how much a
client has not read; and cut a connection whose client never reads, which neither a ping nor a close frame ends (failures.md, fact 8).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

PING_S: Final = 4.0
PONG_S: Final = 4.0
"""A client that reads nothing does not answer pings: it is let go within the sum of both."""
DRAIN_S_MAX: Final = 10.0
GIVE_UP_S: Final = 1.0
MESSAGE_BYTES_MAX: Final = 64 * 1024
OUTLET: Final = "jobqueue.outlet"


class LiveSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    on_silence: Callable[[], None] | None = None

    def handle_connect(self, event: Request) -> None:
        """Give the application the way to this client along with its scope."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
            extensions[OUTLET] = self

    @property
    def buffered_bytes(self) -> int:
        """What this process holds that the client has not read."""
        return 0 if self.transport.is_closing() else int(self.transport.get_write_buffer_size())

    def write_frame(self, frame: bytes) -> None:
        """Send a whole frame, without waiting; nothing is sent after a close frame."""
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(frame)

    async def drained(self) -> None:
        """Wait until the client has read most of what was sent. Raises TimeoutError, ConnectionError."""
        async with asyncio.timeout(DRAIN_S_MAX):
            await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ConnectionError

    def give_up(self, code: int, reason: str) -> None:
        """Send a close frame, and cut the connection when the client does not read it soon."""
        if self.close_sent or self.transport.is_closing() or not self.handshake_complete:
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(GIVE_UP_S, self._cut)

    def _cut(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def keepalive_timeout(self) -> None:
        """A client that answers no ping reads nothing: tell the stream, which tells the client so and lets it go."""
        if self.on_silence is None:
            super().keepalive_timeout()
            return
        self.pong_timer = None
        self.pending_ping_payload = None
        self.on_silence()

    async def send(self, message: Any) -> None:
        """Send what the application says; a refusal by HTTP is a complete answer, which uvicorn would complain about."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
