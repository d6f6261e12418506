"""Embedded servers that replicate: a primary, a standby copied from it, a kill, a promotion, a copy back; and an archive of the log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from jobqueue.apps.embedded import EmbeddedServer
from tests.postgres import chosen_binaries

DATABASE: Final = "jobqueue"
WAIT_S_MAX: Final = 60.0
OPTIONS: Final[Mapping[str, str]] = {"max_connections": "100", "shared_buffers": "64MB", "wal_keep_size": "256MB", "hot_standby": "on"}


@asynccontextmanager
async def directory() -> AsyncIterator[Path]:
    """A directory that goes when the block ends. Not under pytest's, which other accounts may not enter."""
    made = Path(tempfile.mkdtemp(prefix="jobqueue-deployed-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A connection while the block runs."""
    connection = await asyncpg.connect(dsn, timeout=WAIT_S_MAX)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            await connection.close(timeout=5)


def server_in(where: Path, **options: str) -> EmbeddedServer:
    """A server not started yet."""
    return EmbeddedServer(where, chosen_binaries(), options={**OPTIONS, **options})


def kill(server: EmbeddedServer) -> None:
    """SIGKILL a server, all of its processes."""
    postmaster = psutil.Process(server.pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert server._process is not None
    server._process.wait(WAIT_S_MAX)


async def copy(source: EmbeddedServer, target: EmbeddedServer) -> None:
    """Make the target's directory a base backup of the running source; the target must not run."""
    assert not target.is_running
    shutil.rmtree(target.data_dir / "cluster", ignore_errors=True)
    target.data_dir.mkdir(parents=True, exist_ok=True)
    password = target.data_dir / "password"
    if not password.exists():
        shutil.copyfile(source.data_dir / "password", password)
        password.chmod(0o600)
    target._prepare_directory()
    target._process = target._spawn(
        "pg_basebackup", f"--pgdata={target.data_dir / 'cluster'}", f"--dbname={source.dsn()}", "--checkpoint=fast", "--wal-method=stream"
    )
    done = await target._wait_for_exit(WAIT_S_MAX)
    code = target._process.returncode
    target._process = None
    target._release()
    assert done, "pg_basebackup takes too long"
    assert code == 0, target.log_file.read_text()


class Pair:
    """Two servers on ports that stay theirs; one accepts writes, the other follows it."""

    def __init__(self, where: Path) -> None:
        self.primary = server_in(where / "a")
        self.standby = server_in(where / "b")

    async def start(self) -> None:
        """Start the primary with an empty database, and the standby."""
        await self.primary.start()
        await self.primary.ensure_database(DATABASE)
        await self.follow()

    async def follow(self) -> None:
        """Make the standby a copy of the primary and let it follow; returns when commits wait for it."""
        await copy(self.primary, self.standby)
        cluster = self.standby.data_dir / "cluster"
        self._tell_standby(primary_conninfo=f"{self.primary.dsn()}?application_name=standby")
        signal_file = cluster / "standby.signal"
        signal_file.touch()
        os.chown(signal_file, cluster.stat().st_uid, cluster.stat().st_gid)
        await self.standby.start()
        async with connected(self.primary.dsn()) as connection:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'")
            await connection.execute("SELECT pg_reload_conf()")
            await until_true(connection, "SELECT true FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'")

    async def trust_the_primary_alone(self) -> None:
        """Let commits wait for no standby: what an asynchronous one would mean."""
        async with connected(self.primary.dsn()) as connection:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            await connection.execute("SELECT pg_reload_conf()")
            await until_true(connection, "SELECT true FROM pg_stat_replication WHERE sync_state = 'async'")

    async def stop_following(self) -> None:
        """Let the standby hear no more of the primary."""
        self._tell_standby()
        async with connected(self.standby.dsn()) as connection:
            await connection.execute("SELECT pg_reload_conf()")
            await until_true(connection, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")

    def _tell_standby(self, **settings: str) -> None:
        """Write what ALTER SYSTEM would, in place of what it wrote on the primary."""
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        (self.standby.data_dir / "cluster" / "postgresql.auto.conf").write_text("".join(lines))

    async def fail_over(self) -> None:
        """Kill the primary, promote the standby, change their places; the killed one stays down."""
        kill(self.primary)
        await self.primary.stop()
        async with connected(self.standby.dsn()) as connection:
            assert await connection.fetchval("SELECT pg_promote(true, 60)", timeout=WAIT_S_MAX)
        self.primary, self.standby = self.standby, self.primary

    async def stop(self) -> None:
        """Stop both."""
        for server in (self.primary, self.standby):
            await server.stop()

    def dsn(self) -> str:
        """The address clients have: both hosts, whichever accepts writes."""
        ports = sorted((self.primary.port, self.standby.port))
        login = self.primary.dsn().split("://")[1].split("@")[0]
        return f"postgresql://{login}@{','.join(f'127.0.0.1:{port}' for port in ports)}/{DATABASE}"


async def until_true(connection: Any, question: str) -> None:
    """Ask again and again until the answer is true."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not await connection.fetchval(question):
            await asyncio.sleep(0.02)
