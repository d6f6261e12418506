"""Serve an ASGI application inside a role's own event loop: uvicorn as a service, its signal handling off."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import uvicorn

from jobqueue.aio.supervise import spawn
from jobqueue.apps.http_protocol import ConnectionLimits, GuardedProtocol
from jobqueue.apps.live_protocol import MESSAGE_BYTES_MAX, PING_S, PONG_S, LiveSocketProtocol
from jobqueue.apps.refusals import StartRefused

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75
"""Longer than clients and proxies keep idle connections, so that they close first and no request meets a closing one."""
DEFAULT_LIMITS: Final = ConnectionLimits()
FILES_KEPT: Final = 256
"""File descriptors that connections leave to everything else."""
DRAIN_MARGIN_S: Final = 1.0
"""What uvicorn needs on top of the grace it gives to requests."""


def bind(host: str, port: int) -> socket.socket:
    """Take the address. Raises StartRefused when it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {host} port {port}: {error.strerror or error}; stop what uses it, or choose another"
        ) from error


def make_room() -> ConnectionLimits:
    """Raise this process's limit of open files as far as it may go; answers limits with as many connections as that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DEFAULT_LIMITS.connections_max + FILES_KEPT
    if 0 <= soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(DEFAULT_LIMITS, connections_max=wanted - FILES_KEPT if soft < 0 else max(1, min(wanted, soft) - FILES_KEPT))


class HttpServer:
    """A service: answers until cancelled, then takes no more connections and lets running requests end."""

    def __init__(
        self, app: Any, listener: socket.socket, *, name: str, drain_s_max: float, limits: ConnectionLimits = DEFAULT_LIMITS
    ) -> None:
        self.name = name
        self._listener = listener
        self._drain_s_max = drain_s_max
        self._config = uvicorn.Config(
            app,
            http=type("Protocol", (GuardedProtocol,), {"limits": limits}),
            ws=LiveSocketProtocol,
            ws_max_size=MESSAGE_BYTES_MAX,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,  # a frame is the same bytes for every client
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom to believe them from is not known
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(drain_s_max)),
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    async def run(self) -> None:
        """Serve until cancelled."""
        server = _QuietServer(self._config)
        async with asyncio.TaskGroup() as group:
            serving = spawn(group, server.serve(sockets=[self._listener]), f"{self.name}-server")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                server.should_exit = True
                await asyncio.wait([serving], timeout=self._drain_s_max + DRAIN_MARGIN_S)


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the role."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
