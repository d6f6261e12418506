"""The one Postgres server all contenders share, and a fresh database for each measurement."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.contender import Contender
from jobqueue.apps.embedded import EmbeddedServer

OPTIONS: Final = {"shared_buffers": "1GB"}
"""Everything else is as Postgres comes; synchronous_commit is on."""
COMMAND_S_MAX: Final = 120.0


class Server:
    """A running server. Databases are copies of a template with the contender's tables, so that each measurement starts the same."""

    def __init__(self, server: EmbeddedServer, directory: Path) -> None:
        self._server = server
        self.directory = directory
        self._templates: dict[str, str] = {}

    @property
    def postmaster(self) -> int:
        """The process id of the server."""
        return self._server.pid

    async def fresh(self, contender: Contender) -> str:
        """Make the contender's database anew; answers its DSN."""
        template = self._templates.get(contender.name)
        if template is None:
            template = self._templates[contender.name] = f"template_{len(self._templates)}"
            await self._server.ensure_database(template)
            await contender.install(self._server.dsn(template))
        name = template.replace("template", "bench")
        await self.execute("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await self.execute("postgres", f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._server.dsn(name)

    async def settle_down(self, dsn: str) -> None:
        """Leave no upkeep of what was loaded to the measurement that follows."""
        await fetch(dsn, "VACUUM (ANALYZE)")
        await fetch(dsn, "CHECKPOINT")

    async def execute(self, database: str, statement: str) -> None:
        """Run one statement."""
        await fetch(self._server.dsn(database), statement)

    async def version(self) -> str:
        """Say which Postgres it is."""
        return str((await fetch(self._server.dsn(), "SHOW server_version"))[0][0])


async def fetch(dsn: str, statement: str) -> list[Any]:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn, timeout=COMMAND_S_MAX)
    try:
        return list(await connection.fetch(statement, timeout=COMMAND_S_MAX))
    finally:
        await connection.close(timeout=COMMAND_S_MAX)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Run the server in a directory that goes when it ends."""
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-bench-"))
    server = EmbeddedServer(directory / "postgres", options=OPTIONS)
    try:
        await server.start()
        yield Server(server, directory)
    finally:
        await server.stop_immediately()  # nothing of it is kept
        shutil.rmtree(directory, ignore_errors=True)
