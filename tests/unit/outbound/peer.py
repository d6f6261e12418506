"""A server on this machine that answers as the test says and keeps what it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Peer:
    """answers are sent one after the other, the last one again and again; requests are as they came."""

    port: int
    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """Write an answer; a header's underscore is a hyphen."""
    named = {"content_length": str(len(body)), "connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def listening(*answers: bytes, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Peer]:
    """Listen for the length of the block. An empty answer keeps the connection open and says nothing."""
    peer = Peer(0, list(answers))
    hung: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        peer.requests.append(head + await reader.readexactly(size))
        said = peer.answers.pop(0) if len(peer.answers) > 1 else peer.answers[0]
        if not said:
            hung.append(writer)
            return
        writer.write(said)
        with suppress(ConnectionError):  # a client that has heard enough
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        for writer in hung:
            writer.close()
        server.close()
        await server.wait_closed()
