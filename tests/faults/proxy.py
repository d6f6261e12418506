"""A TCP proxy in front of Postgres that misbehaves on demand: delays, freezes, loses one way, resets, trickles.

One for each component, so that one of them can be cut off while the others go on. Connections that are there when the behaviour changes
are affected too. What a one-way loss swallowed does not come back after healing, as with a firewall that forgot the connection: those are
reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 65_536
SLOW_CHUNK: Final = 512
LINGER_NONE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Mood:
    """How the proxy behaves. Losing towards the client makes the ambiguous commit: done, and nobody is told."""

    delay_s: float = 0.0
    is_frozen: bool = False
    loses_to_server: bool = False
    loses_to_client: bool = False
    bytes_per_s: float = 0.0
    refuses: bool = False


CALM: Final = Mood()


class Proxy:
    """Listens on a port of its own, passes on to another."""

    def __init__(self, name: str, target_port: int, *, host: str = "127.0.0.1") -> None:
        self.name = name
        self._host = host
        self.port = 0
        self._target_port = target_port
        self._mood = CALM
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Serve while the block runs."""
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._server.close()
            self.reset()
            for task in list(self._tasks):
                task.cancel()

    def behave(self, mood: Mood) -> None:
        """Change the behaviour, for connections that are there too."""
        swallowed = self._mood.loses_to_client or self._mood.loses_to_server
        self._mood = mood
        self._changed.set()
        self._changed = asyncio.Event()
        if swallowed:
            self.reset()

    def reset(self) -> None:
        """Cut every connection with RST, in the middle of whatever it carries."""
        for writer in list(self._writers):
            handle = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        server_writer: asyncio.StreamWriter | None = None
        try:
            if self._mood.refuses:
                return
            await self._until_thawed()
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(server_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, server_writer, is_to_server=True))
                group.create_task(self._pass(server_reader, writer, is_to_server=False))
        except* OSError:
            pass  # one of the ends is gone
        except* _Ended:
            pass
        except* asyncio.CancelledError:
            pass  # the run is over, and asyncio's server would log it
        finally:
            for each in (writer, server_writer):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_to_server: bool) -> None:
        while data := await reader.read(SLOW_CHUNK if self._mood.bytes_per_s else CHUNK):
            await self._until_thawed()
            mood = self._mood
            if mood.delay_s:
                await asyncio.sleep(mood.delay_s)
            if mood.bytes_per_s:
                await asyncio.sleep(len(data) / mood.bytes_per_s)
            await self._until_thawed()
            if mood.loses_to_server if is_to_server else mood.loses_to_client:
                continue
            writer.write(data)
            await writer.drain()
        raise _Ended

    async def _until_thawed(self) -> None:
        while self._mood.is_frozen:
            await self._changed.wait()


class _Ended(Exception):
    """One end closed the connection; so does the other."""
