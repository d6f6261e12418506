"""The engine on a fresh database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from jobqueue.operations.jobs import Caller
from tests.engine import Engine, open_engine


@pytest_asyncio.fixture
async def engine(database: str) -> AsyncIterator[Engine]:
    """The operations on a fresh database."""
    async with open_engine(database) as engine:
        yield engine


@pytest_asyncio.fixture
async def acme(engine: Engine) -> Caller:
    """A tenant without limits."""
    return await engine.tenant("acme")
