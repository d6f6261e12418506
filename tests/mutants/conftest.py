"""One database for the mutants of a test process, apart from everybody else's."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.postgres import Databases, migrate


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mutant_database(databases: Databases) -> AsyncIterator[str]:
    """The address of an empty, migrated database."""
    await databases.ensure_template(migrate)
    name = await databases.copy()
    yield databases.dsn(name)
    await databases.drop(name)
