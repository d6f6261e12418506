"""One Postgres, one API process behind a proxy, and a tenant: what the programs here need."""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobqueue.apps.embedded import EmbeddedServer
from jobqueue.operations import migrations
from jobqueue.operations.jobs import Caller
from tests.engine import Engine, open_engine
from tests.faults.proxy import Proxy
from tests.integration.api.conftest import make_key
from tests.programs import PROGRAM, environment

HOST: Final = "127.0.0.1"
SECRET: Final = "a secret of at least thirty-two bytes"
READY_S_MAX: Final = 60.0


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class World:
    """What runs. port: the proxy's, which clients use."""

    server: EmbeddedServer
    engine: Engine
    caller: Caller
    key: str
    proxy: Proxy
    api_port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def port(self) -> int:
        return self.proxy.port

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start_api(self) -> None:
        """Start the API process and wait until it takes connections."""
        settings = environment(
            DATABASE_URL=self.server.dsn(), API_SECRET_KEY=SECRET, JOBQUEUE_METRICS_PORT="0", JOBQUEUE_SHUTDOWN_GRACE_SECONDS="2"
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*PROGRAM, "api", "--port", str(self.api_port)], env=settings, stdout=log, stderr=log)
        async with asyncio.timeout(READY_S_MAX):
            while True:
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, self.api_port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)

    def kill_api(self) -> None:
        """End the API process as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.asynccontextmanager
async def open_world(*, options: dict[str, str] | None = None) -> AsyncIterator[World]:
    """Have it all while the block runs."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-test-live-", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)
        server = EmbeddedServer(Path(directory) / "postgres", options={"max_connections": "100", **(options or {})})
        await server.start()
        try:
            await migrations.upgrade(server.dsn())
            api_port = free_port()
            async with open_engine(server.dsn(), size=10) as engine, Proxy("clients", api_port).running() as proxy:
                caller = await engine.tenant("acme", rate_per_minute=1_000_000)
                key = await make_key(engine, caller)
                world = World(server, engine, caller, key, proxy, api_port, Path(directory) / "api.log")
                await world.start_api()
                try:
                    yield world
                finally:
                    world.kill_api()
        finally:
            await server.stop()


async def history_of(raw: Any) -> list[tuple[int, str, str, str]]:
    """Everything the database knows to have happened, by cursor: (cursor, job id, queue, job type)."""
    rows = await raw.fetch(
        "SELECT e.seq, e.type, e.then_type, e.leased_at, e.started_at, e.job_id, q.name AS queue, t.name AS job_type"
        " FROM jobqueue.event e JOIN jobqueue.job j ON j.tenant_id = e.tenant_id AND j.job_id = e.job_id"
        " JOIN jobqueue.queue q USING (queue_id) JOIN jobqueue.job_type t USING (type_id) ORDER BY e.seq"
    )
    return [
        (row["seq"] * 8 + place, str(row["job_id"]), row["queue"], row["job_type"])
        for row in rows
        for place, is_there in enumerate((row["leased_at"], row["started_at"], row["type"], row["then_type"]))
        if is_there is not None
    ]
