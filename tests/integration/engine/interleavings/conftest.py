"""An engine that a module's tests share, emptied after each: a connection's first use of a function costs more than a meeting does."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from jobqueue.operations.naming import NameBook
from tests.engine import Engine, open_engine
from tests.integration.engine.conftest import RESTORE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_engine(engine_database: str) -> AsyncIterator[Engine]:
    """The operations, on connections that stay."""
    async with open_engine(engine_database) as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_connection(shared_engine: Engine) -> AsyncIterator[Any]:
    """The connection of whoever comes first."""
    connection = await shared_engine.connect()
    yield connection
    connection.terminate()


@pytest_asyncio.fixture(loop_scope="module")
async def warm_engine(shared_engine: Engine) -> AsyncIterator[Engine]:
    """The operations on an empty database."""
    yield shared_engine
    await empty(shared_engine)


async def empty(engine: Engine) -> None:
    """Bring the database and what the engine knows of it back to the start."""
    await engine.raw.execute(RESTORE, timeout=30)
    engine.names = NameBook(engine.db)
    engine._worker_ids.clear()
    engine.woken.clear()
