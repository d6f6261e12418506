"""A connection that listens. NOTIFY's delivery is not promised, so it is only ever a hint: whoever listens also polls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.store.failures import translate
from jobqueue.store.pool import CONNECT_S_MAX, connect_arguments, keep_alive

PING_S_MAX: Final = 2.0


class Listener:
    """One LISTEN connection. A frozen link reports nothing, so `ping` must be called now and then."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, dsn: str, *, channel: str, heard: Callable[[str], None], application_name: str) -> AsyncIterator[Listener]:
        """Listen while the block runs; heard gets each payload. dsn: the direct one. Raises DatabaseUnavailable."""
        connection: Any = None
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                connection = await asyncpg.connect(**connect_arguments(dsn, application_name=application_name))
                await keep_alive(connection)
                await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: heard(payload))
            yield cls(connection)
        except Exception as error:
            raise (translate(error) or error) from error
        finally:
            if connection is not None:
                connection.terminate()

    async def ping(self) -> None:
        """Ask for a sign of life. Raises DatabaseUnavailable when none comes in time."""
        try:
            async with asyncio.timeout(PING_S_MAX):
                await self._connection.execute("SELECT 1")
        except Exception as error:
            raise DatabaseUnavailable("the listening connection is dead") from error
