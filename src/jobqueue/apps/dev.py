"""`jobqueue dev`, the whole product in one terminal: Postgres, migrations, the demo tenant; then api, workers and reaper as children.

Children are processes of their own, so that one can be killed and seen to come back, as in a cluster. Everything but the ready line goes to
stderr. The end takes at most 10 s: children drain for CHILDREN_STOP_S_MAX, then Postgres stops.
"""

import asyncio
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobqueue.aio.clock import Clock, SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.apps import data_dir as directories
from jobqueue.apps import embedded_dev
from jobqueue.apps.children import ChildCommand, Children
from jobqueue.apps.data_dir import DataDir
from jobqueue.apps.demo import TENANT, ensure_demo
from jobqueue.apps.migrate import migrate
from jobqueue.apps.probe import is_ready
from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.apps.signals import Stops
from jobqueue.config import Settings
from jobqueue.telemetry.logs import get_logger

HOST: Final = "127.0.0.1"
GRACE_S: Final = 5
CHILDREN_STOP_S_MAX: Final = 8.0
START_S_MAX: Final = 60.0
POLL_S: Final = 0.05
PORTS: Final = range(20_000, 30_000)  # below the range that systems give to outgoing connections
PORT_TRIES_MAX: Final = 200
DATABASE_URL_FILE: Final = "database_url"


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The flags. port 0: a free one. concurrency None: what the settings say."""

    port: int
    data_dir: Path
    workers: int
    concurrency: int | None


async def serve(settings: Settings, options: DevOptions, stops: Stops, *, announce: Callable[[str], None]) -> None:
    """Run everything until stopped; announce gets the ready line. Raises StartRefused, RoleFailed, ChildRefused, JobQueueError."""
    clock = SystemClock()
    taken = set[int]()
    port = options.port or take_free_port(taken)
    check_port(port)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(directories.owned(options.data_dir))
        dsn, direct_dsn, held_fds = await _open_database(settings, directory, stack, clock=clock)
        await migrate(direct_dsn)
        api_key = await ensure_demo(dsn, settings, directory, clock=clock)
        environment = child_environment(settings, dsn=dsn, direct_dsn=direct_dsn, signing_key=directory.signing_key())
        ports = {name: take_free_port(taken) for name in role_names(options.workers)}
        commands = child_commands(options, port=port, metrics_ports=ports, environment=environment, held_fds=held_fds)
        line = f"ready url=http://{HOST}:{port} tenant={TENANT} api_key={api_key}"
        async with asyncio.TaskGroup() as group:
            announcing = spawn(group, _announce_when_ready([port, *ports.values()], lambda: announce(line), clock=clock), "announce")
            await Children(commands, stop_s_max=CHILDREN_STOP_S_MAX, clock=clock).run(stops)
            announcing.cancel()


async def _open_database(settings: Settings, directory: DataDir, stack: AsyncExitStack, *, clock: Clock) -> tuple[str, str, Sequence[int]]:
    """Use the server the settings name, else run one; answers its address, the direct one, and what children must hold open."""
    if settings.database_url is not None:
        return settings.database_url, settings.direct_url or settings.database_url, ()
    server = await stack.enter_async_context(embedded_dev.running(directory.postgres, clock=clock))
    directory.write(DATABASE_URL_FILE, server.dsn)
    stack.callback(directory.forget, DATABASE_URL_FILE)
    return server.dsn, server.dsn, (server.lifeline,)


async def _announce_when_ready(ports: Sequence[int], announce: Callable[[], None], *, clock: Clock) -> None:
    """Announce once every role is ready. Raises RoleFailed when that takes too long."""
    deadline_s = clock.monotonic() + START_S_MAX
    waiting = list(ports)
    while waiting:
        if clock.monotonic() >= deadline_s:
            raise RoleFailed(f"not everything was up within {START_S_MAX:g} s; the log above says why")
        waiting = [port for port in waiting if not await is_ready(port)]
        if waiting:
            await clock.sleep(POLL_S)
    announce()
    get_logger().info("dev.ready")


def role_names(workers: int) -> list[str]:
    """Name the children: one api, the workers, one reaper."""
    return ["api", *(f"worker-{number}" for number in range(1, workers + 1)), "reaper"]


def child_commands(
    options: DevOptions, *, port: int, metrics_ports: Mapping[str, int], environment: Mapping[str, str], held_fds: Sequence[int]
) -> list[ChildCommand]:
    """Say how each child is started."""
    concurrency = {} if options.concurrency is None else {"JOBQUEUE_WORKER_CONCURRENCY": str(options.concurrency)}
    peers = {"JOBQUEUE_METRICS_PEERS": ",".join(f"{HOST}:{number}" for name, number in metrics_ports.items() if name != "api")}
    commands = []
    for name, metrics_port in metrics_ports.items():
        role = name.partition("-")[0]
        own = {"api": peers, "worker": concurrency}.get(role, {})
        arguments = [role, "--child", *(("--host", HOST, "--port", str(port)) if role == "api" else ())]
        commands.append(ChildCommand(name, arguments, {**environment, **own, "JOBQUEUE_METRICS_PORT": str(metrics_port)}, held_fds))
    return commands


def child_environment(settings: Settings, *, dsn: str, direct_dsn: str, signing_key: str) -> dict[str, str]:
    """Say what dev sets for its children; what the user set stays."""
    defaults = {
        "api_secret_keys": ("JOBQUEUE_API_SECRET_KEY", signing_key),
        "registration": ("JOBQUEUE_REGISTRATION", "open"),
        "metrics_open": ("JOBQUEUE_METRICS_OPEN", "true"),
        "shutdown_grace_seconds": ("JOBQUEUE_SHUTDOWN_GRACE_SECONDS", str(GRACE_S)),
        "log_format": ("JOBQUEUE_LOG_FORMAT", "console"),
    }
    return {
        "JOBQUEUE_DATABASE_URL": dsn,
        "JOBQUEUE_DATABASE_DIRECT_URL": direct_dsn,
        **{variable: value for field, (variable, value) in defaults.items() if field not in settings.model_fields_set},
    }


def check_port(port: int) -> None:
    """Refuse a port that is taken. Raises StartRefused."""
    if not is_free(port):
        raise StartRefused(f"--port: {port} is in use on {HOST}; stop what uses it, or choose another port")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def take_free_port(taken: set[int]) -> int:
    """Find a port that is free now and not in taken, and add it there. Raises RoleFailed."""
    for port in random.sample(PORTS, PORT_TRIES_MAX):
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise RoleFailed(f"no free port between {PORTS.start} and {PORTS.stop}")
