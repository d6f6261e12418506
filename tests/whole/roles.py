"""Start the roles of the product as real processes on a test's database, and talk to them over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from jobqueue.domain.access import ID_BYTES, SECRET_BYTES
from jobqueue.operations import tenants
from jobqueue.operations.database import open_database

READY_S_MAX = 90.0
STOP_S_MAX = 15.0
CLIENTS = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


def free_port() -> int:
    """A TCP port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Roles:
    """Processes of one deployment."""

    dsn: str
    log_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    api_key: str = ""

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `jobqueue <arguments>`; its output goes to a file beside the others."""
        environment = {
            **os.environ,
            "JOBQUEUE_DATABASE_URL": self.dsn,
            "JOBQUEUE_API_SECRET_KEY": "only-for-tests-" + "0" * 32,
            "JOBQUEUE_METRICS_PORT": "0",
            "JOBQUEUE_TENANT_MAX_CONCURRENT": "0",
            "JOBQUEUE_RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **self.settings,
        }
        log = (self.log_dir / f"{len(self.processes)}-{arguments[0]}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jobqueue.cli.main", *arguments], env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        log.close()
        self.processes.append(process)
        return process

    async def start_api(self) -> None:
        """Start the API, wait until it is ready, make a tenant with a key."""
        process = self.start("api", "--port", str(self.port))
        db = await open_database(self.dsn, size=1, application_name="tests")
        try:
            tenant_id = await tenants.create(db, "whole")
            _, self.api_key = await tenants.create_api_key(
                db, tenant_id, name="tests", scopes=None, random_bytes=secrets.token_bytes(ID_BYTES + SECRET_BYTES)
            )
        finally:
            await db.close()
        await self.wait_until_ready(process)

    async def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the API that was started says it is ready."""
        async with asyncio.timeout(READY_S_MAX), httpx2.AsyncClient() as client:
            while True:
                assert process.poll() is None, f"the API ended with {process.returncode}, see {self.log_dir}"
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"{self.url}/healthz/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        """An HTTP client that carries the key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30, limits=limits) as client:
            yield client

    def kill(self) -> None:
        """SIGKILL what still runs."""
        for process in self.processes:
            process.kill()

    def stop(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


async def each(items: Iterable[Item], act: Callable[[Item], Awaitable[Result]], *, clients: int = CLIENTS) -> list[Result]:
    """Do something for every item, `clients` at a time; results in order."""
    source = list(enumerate(items))
    source.reverse()
    results: dict[int, Result] = {}

    async def run() -> None:
        while source:
            position, item = source.pop()
            results[position] = await act(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(run())
    return [results[position] for position in range(len(results))]


async def until(holds: Callable[[], Awaitable[Any]], *, within_s: float, every_s: float = 0.05) -> Any:
    """Look until something holds; answers it. A failure says what was seen last."""
    seen: Any = None
    try:
        async with asyncio.timeout(within_s):
            while not (seen := await holds()):
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s; last seen: {seen!r}") from None
    return seen
