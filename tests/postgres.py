"""A real Postgres for the tests: one server per test process, one template database in it, a fresh copy for each test.

JOBQUEUE_TEST_POSTGRES chooses the server: a DSN (its user must be allowed to create databases; the server is then not ours to stop), a
directory with the binaries of a version, or nothing for the embedded one.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from jobqueue.apps.embedded import EmbeddedServer

VARIABLE: Final = "JOBQUEUE_TEST_POSTGRES"
COMMAND_S_MAX: Final = 60.0
Migrate = Callable[[str], Awaitable[object]]


def chosen_dsn() -> str | None:
    """Read the DSN of the server the tests were pointed at, if it is one."""
    value = os.environ.get(VARIABLE, "")
    return value if "://" in value else None


def chosen_binaries() -> Path | None:
    """Read the directory of binaries the tests were pointed at, if it is one."""
    value = os.environ.get(VARIABLE, "")
    return Path(value) if value and "://" not in value else None


@asynccontextmanager
async def running_server() -> AsyncIterator[EmbeddedServer]:
    """Run a server of our own in a directory that goes when it ends.

    Not under pytest's tmp_path: pytest closes that to other accounts, and as root the server runs as one.
    """
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-test-postgres-"))
    server = EmbeddedServer(directory, chosen_binaries(), options={"max_connections": "200"})
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(directory, ignore_errors=True)


class Databases:
    """Make databases on one server: a migrated template, and copies of it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._prefix = f"jobqueue_test_{secrets.token_hex(4)}"
        self._count = 0
        self._template: str | None = None

    def dsn(self, database: str) -> str:
        """Make the address of another database on the same server."""
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{database}"))

    async def ensure_template(self, migrate: Migrate) -> None:
        """Migrate one empty database, once, and keep it as the template of all copies."""
        if self._template is None:
            template = await self.create()
            await migrate(self.dsn(template))
            self._template = template

    async def create(self) -> str:
        """Make an empty database and return its name."""
        return await self._create("template1")

    async def copy(self, template: str | None = None) -> str:
        """Make a copy of the template, or of another database nobody is connected to, and return its name."""
        assert self._template is not None, "ensure_template() first"
        return await self._create(template or self._template)

    async def drop(self, database: str) -> None:
        """Drop a database and end whatever is still connected to it."""
        await self._command(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    async def drop_template(self) -> None:
        """Drop the template, on servers that go on living."""
        if self._template is not None:
            await self.drop(self._template)
            self._template = None

    async def _create(self, template: str) -> str:
        self._count += 1
        name = f"{self._prefix}_{self._count}"
        await self._command(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    async def _command(self, statement: str) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=COMMAND_S_MAX)
        try:
            await connection.execute(statement, timeout=COMMAND_S_MAX)
        finally:
            await connection.close(timeout=COMMAND_S_MAX)


async def migrate(dsn: str) -> None:
    """Bring a database's schema to head with the project's own migrations."""
    from jobqueue.operations import migrations

    await migrations.upgrade(dsn)
