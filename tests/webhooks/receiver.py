"""A webhook receiver on this machine, as a user would write it: it verifies with the package of the specification and keeps what it got."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from standardwebhooks import Webhook

HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Got:
    """One request that was verified. at_s: Unix time."""

    id: str
    body: dict[str, Any]
    headers: dict[str, str]
    at_s: float


@dataclass
class Receiver:
    """secret None: nothing is verified. says makes the answer: a status, and headers if there are any; it may wait."""

    port: int = 0
    secret: str | None = None
    says: Callable[[Got], Any] = lambda got: 204
    got: list[Got] = field(default_factory=list)
    refused: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]

    def read(self, head: bytes, body: bytes) -> Got:
        """Verify and read one request. Raises WebhookVerificationError."""
        lines = head.decode().split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if self.secret is not None:
            Webhook(self.secret).verify(body, headers)
        return Got(headers["webhook-id"], json.loads(body), headers, time.time())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # cancelled: the test is over
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(size)
            try:
                got = self.read(head, body)
            except Exception:
                self.refused += 1
                said: Any = 400
            else:
                self.got.append(got)
                said = self.says(got)
                if asyncio.iscoroutine(said):
                    said = await said
            status, more = said if isinstance(said, tuple) else (said, {})
            named = "".join(f"{name}: {value}\r\n" for name, value in {"content-length": "4", "connection": "close", **more}.items())
            writer.write(f"HTTP/1.1 {status} Said\r\n{named}\r\nsaid".encode() if status != 204 else b"HTTP/1.1 204 Said\r\n\r\n")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(**fields: Any) -> AsyncIterator[Receiver]:
    """Listen for the length of the block."""
    receiver = Receiver(**fields)
    server = await asyncio.start_server(receiver.serve, HOST, receiver.port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        if hasattr(server, "close_clients"):
            server.close_clients()
