"""The embedded server as `jobqueue dev` runs it: kept alive, guarded against dev's own sudden end, and easy to open with psql."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.apps.embedded import EmbeddedServer, EmbeddedServerInUse
from jobqueue.telemetry.logs import get_logger

DATABASE: Final = "jobqueue"
TAKE_OVER_S_MAX: Final = 25.0
"""How long the guard of a dev that was killed may hold the directory while it stops the server."""
RETRY_S: Final = 0.1
WATCH_S: Final = 0.5
GUARD_S_MAX: Final = 1.0
COMMAND_S_MAX: Final = 10.0
SEARCH_PATH: Final = 'ALTER DATABASE "jobqueue" SET search_path = "$user", public, jobqueue'
"""So that psql finds the view as `jobs`."""


class RunningServer:
    """A server that runs. Whoever keeps lifeline open says that dev is not gone: its children are to hold it too."""

    def __init__(self, server: EmbeddedServer, *, lifeline: int) -> None:
        self.dsn = server.dsn(DATABASE)
        self.lifeline = lifeline


@asynccontextmanager
async def running(directory: Path, *, clock: Clock) -> AsyncIterator[RunningServer]:
    """Run the server with our database in it while the block runs, start it again if it dies. Raises EmbeddedServerFailed."""
    server = EmbeddedServer(directory, clock=clock)
    await _start(server, clock)
    try:
        async with _guarded(directory) as lifeline, asyncio.TaskGroup() as group:
            await server.ensure_database(DATABASE)
            await _set_search_path(server.dsn(DATABASE))
            watching = spawn(group, _keep_alive(server, clock), "postgres-watch")
            try:
                yield RunningServer(server, lifeline=lifeline)
            finally:
                watching.cancel()
                await asyncio.wait([watching])
                await server.stop()  # before the guard is let go, which would stop it otherwise
    finally:
        await server.stop()


async def _start(server: EmbeddedServer, clock: Clock) -> None:
    """Start, after the guard of a killed predecessor has let go: dev's own lock is ours already, so nobody else can hold this one."""
    deadline_s = clock.monotonic() + TAKE_OVER_S_MAX
    while True:
        try:
            return await server.start()
        except EmbeddedServerInUse:
            if clock.monotonic() >= deadline_s:
                raise
        await clock.sleep(RETRY_S)


async def _set_search_path(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=COMMAND_S_MAX)
    try:
        await connection.execute(SEARCH_PATH, timeout=COMMAND_S_MAX)
    finally:
        await connection.close(timeout=COMMAND_S_MAX)


async def _keep_alive(server: EmbeddedServer, clock: Clock) -> None:
    while True:
        await clock.sleep(WATCH_S)
        if not server.is_running:
            get_logger().warning("postgres.died", log=str(server.log_file))
            await server.stop()  # lets go of the directory
            await server.start()


@asynccontextmanager
async def _guarded(directory: Path) -> AsyncIterator[int]:
    """Have a guard (apps/guard.py) wait for the end of all who hold the descriptor this yields."""
    read_end, lifeline = os.pipe()
    try:
        try:
            guard = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "jobqueue.apps.guard", str(directory)), stdin=read_end, start_new_session=True
            )
        finally:
            os.close(read_end)
        try:
            yield lifeline
        finally:
            os.close(lifeline)
            lifeline = -1
            await _dismiss(guard)
    finally:
        if lifeline != -1:
            os.close(lifeline)


async def _dismiss(guard: Process) -> None:
    """Wait for the guard, which has nothing left to wait for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GUARD_S_MAX):
            await guard.wait()
            return
    with contextlib.suppress(ProcessLookupError):
        guard.kill()
    await guard.wait()
