"""The proxy does what its moods say: a fault that does not bite proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.faults.proxy import CALM, Mood, Proxy

SHORT_S = 0.2
LONG_S = 5.0


@dataclass
class Echo:
    """A server that answers each line with itself, and keeps what it heard."""

    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line)
                await writer.drain()
        writer.close()


@dataclass
class Line:
    """One connection through the proxy."""

    proxy: Proxy
    echo: Echo
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, line: bytes, *, within_s: float = LONG_S) -> bytes:
        self.writer.write(line)
        async with asyncio.timeout(within_s):
            return await self.reader.readline()


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Line]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with Proxy("test", server.sockets[0].getsockname()[1]).running() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        yield Line(proxy, echo, reader, writer)
        writer.transport.abort()
    server.close()


async def test_a_calm_proxy_passes_everything_on() -> None:
    async with connected() as line:
        assert await line.ask(b"hello\n") == b"hello\n"


async def test_a_delay_holds_each_way_up() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(delay_s=SHORT_S))
        began = time.monotonic()
        assert await line.ask(b"hello\n") == b"hello\n"
        assert time.monotonic() - began >= 2 * SHORT_S


async def test_a_frozen_proxy_says_nothing_and_loses_nothing() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(is_frozen=True))
        with pytest.raises(TimeoutError):
            await line.ask(b"hello\n", within_s=SHORT_S)
        assert line.echo.heard == []
        line.proxy.behave(CALM)
        assert await line.reader.readline() == b"hello\n"


async def test_what_is_lost_on_the_way_back_has_been_heard() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(loses_to_client=True))
        with pytest.raises(TimeoutError):
            await line.ask(b"hello\n", within_s=SHORT_S)
        assert line.echo.heard == [b"hello\n"]
        line.proxy.behave(CALM)
        with pytest.raises(ConnectionResetError):
            await line.reader.readline()


async def test_what_is_lost_on_the_way_there_has_not_been_heard() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(loses_to_server=True))
        with pytest.raises(TimeoutError):
            await line.ask(b"hello\n", within_s=SHORT_S)
        assert line.echo.heard == []


async def test_a_reset_cuts_the_connection_off() -> None:
    async with connected() as line:
        assert await line.ask(b"hello\n") == b"hello\n"
        line.proxy.reset()
        with pytest.raises(ConnectionResetError):
            await line.reader.readline()


async def test_a_refusing_proxy_lets_nobody_in() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(refuses=True))
        reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_trickle_passes_so_many_bytes_a_second() -> None:
    async with connected() as line:
        line.proxy.behave(Mood(bytes_per_s=10_000))
        began = time.monotonic()
        assert await line.ask(b"x" * 2_999 + b"\n") == b"x" * 2_999 + b"\n"
        assert time.monotonic() - began >= 0.3
