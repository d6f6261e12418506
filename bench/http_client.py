"""A keep-alive HTTP client that costs next to nothing, so that on a small machine the server is what is measured."""

from __future__ import annotations

import asyncio
from typing import Final, Self, cast

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


class Refused(Exception):
    """The answer was not the one asked for."""


class HttpClient(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, host: str, headers: dict[str, str]) -> None:
        """headers are sent with every request."""
        lines = {"Host": host, **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, host: str, port: int, headers: dict[str, str]) -> Self:
        """Open the connection."""
        _, client = await asyncio.get_running_loop().create_connection(lambda: cls(f"{host}:{port}", headers), host, port)
        return client

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    async def request(self, method: bytes, path: bytes, *, extra: bytes = b"", body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return the status and body of its answer. extra: more header lines, each with its end."""
        assert self._transport is not None
        assert self._answer is None, "one request at a time"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(b"%b %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (method, path, self._head, extra, len(body), body))
        try:
            return await self._answer
        finally:
            self._answer = None

    async def post(self, path: bytes, body: bytes, *, idempotency_key: str, expected: int) -> bytes:
        """POST; answers the body. Raises Refused on another status."""
        extra = b"Content-Type: application/json\r\nIdempotency-Key: %b\r\n" % idempotency_key.encode()
        status, answer = await self.request(b"POST", path, extra=extra, body=body)
        if status != expected:
            raise Refused(f"POST {path.decode()}: {status} {answer.decode()}")
        return answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Gather an answer; every one has a Content-Length."""
        self._received += data
        head, end, rest = self._received.partition(HEAD_END)
        if not end:
            return
        length = int(head.lower().split(LENGTH, 1)[1].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._received = rest[length:]
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((int(head[9:12]), rest[:length]))

    def connection_lost(self, _error: Exception | None) -> None:
        """Fail the request under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))
