"""Fixtures for every suite. `database` is what most database tests need: the DSN of a fresh, migrated database."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobqueue.apps.embedded import EmbeddedServer
from tests import postgres
from tests.fake_clock import FakeClock

DATABASE_FIXTURES = {"server", "databases", "database", "empty_database"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a Postgres server, so that they can be chosen or left out."""
    for item in items:
        if DATABASE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.database)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when the test says so."""
    return FakeClock()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _own_server() -> AsyncIterator[EmbeddedServer | None]:
    if postgres.chosen_dsn() is not None:
        yield None
        return
    async with postgres.running_server() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(_own_server: EmbeddedServer | None) -> AsyncIterator[postgres.Databases]:
    """The maker of databases on the test process's server."""
    dsn = postgres.chosen_dsn() if _own_server is None else _own_server.dsn()
    assert dsn is not None
    databases = postgres.Databases(dsn)
    yield databases
    await databases.drop_template()


@pytest_asyncio.fixture
async def server(_own_server: EmbeddedServer | None) -> AsyncIterator[EmbeddedServer]:
    """The test process's own server, to stop and start; it runs again after the test. Skips where the server is not ours."""
    if _own_server is None:
        pytest.skip(f"{postgres.VARIABLE} names a server that is not ours to stop")
    yield _own_server
    await _ensure_running(_own_server)


@pytest_asyncio.fixture
async def database(databases: postgres.Databases, _own_server: EmbeddedServer | None) -> AsyncIterator[str]:
    """The DSN of a fresh copy of the migrated template, dropped after the test."""
    await databases.ensure_template(postgres.migrate)
    name = await databases.copy()
    yield databases.dsn(name)
    await _ensure_running(_own_server)
    await databases.drop(name)


@pytest_asyncio.fixture
async def empty_database(databases: postgres.Databases, _own_server: EmbeddedServer | None) -> AsyncIterator[str]:
    """The DSN of a fresh database without the schema, dropped after the test."""
    name = await databases.create()
    yield databases.dsn(name)
    await _ensure_running(_own_server)
    await databases.drop(name)


async def _ensure_running(server: EmbeddedServer | None) -> None:
    """Start the server again where a test left it stopped."""
    if server is not None and not server.is_running:
        await server.start()
