"""The engine, on a database that a test process makes once: emptied after each test, which takes a tenth of a fresh copy's time."""

from collections.abc import AsyncIterator

import pytest_asyncio

from jobqueue.operations.jobs import Caller
from jobqueue.store.tables import metadata
from tests.engine import Engine, open_engine
from tests.postgres import Databases, migrate

EMPTY = "; ".join(f"DELETE FROM {table.fullname}" for table in metadata.tables.values() if table.name != "plan")
RESTORE = (  # as a replica, so that the audit trail's guards let its rows go
    f"SET lock_timeout = '5s'; SET session_replication_role = replica; {EMPTY}; RESET session_replication_role;"
    "UPDATE jobqueue.plan SET max_concurrent = NULL;"
    "SELECT jobqueue.make_partitions_v1(clock_timestamp() - interval '7 days', 6)"
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine_database(databases: Databases) -> AsyncIterator[str]:
    """The address of the database the engine's tests share."""
    await databases.ensure_template(migrate)
    name = await databases.copy()
    yield databases.dsn(name)
    await databases.drop(name)


@pytest_asyncio.fixture
async def engine(engine_database: str) -> AsyncIterator[Engine]:
    """The operations on an empty, migrated database."""
    async with open_engine(engine_database) as engine:
        yield engine
    async with open_engine(engine_database, size=1) as engine:
        await engine.raw.execute(RESTORE, timeout=30)


@pytest_asyncio.fixture
async def acme(engine: Engine) -> Caller:
    """A tenant without limits."""
    return await engine.tenant("acme")
