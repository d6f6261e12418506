"""The fixtures themselves: each test's database is fresh, migrated and its own."""

import asyncpg
import pytest

from jobqueue.apps.embedded import EmbeddedServer
from tests.postgres import Databases


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        return await connection.fetchval(query, timeout=30)
    finally:
        await connection.close(timeout=30)


async def test_database_is_migrated(database: str) -> None:
    assert await fetch(database, "SELECT to_regclass('jobqueue.job') IS NOT NULL")


@pytest.mark.parametrize("turn", [1, 2])
async def test_database_is_not_shared_between_tests(database: str, turn: int) -> None:
    await fetch(database, "CREATE TABLE public.mine AS SELECT 1 AS kept")  # would fail where the other turn's table was left


async def test_empty_database_has_no_schema(empty_database: str) -> None:
    assert await fetch(empty_database, "SELECT to_regclass('jobqueue.job') IS NULL")


async def test_dropped_database_is_gone_even_with_a_session_open(databases: Databases) -> None:
    name = await databases.create()
    holder = await asyncpg.connect(databases.dsn(name), timeout=30)
    try:
        await databases.drop(name)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(databases.dsn(name), timeout=30)
    finally:
        holder.terminate()


async def test_databases_outlive_a_crash_of_the_server(server: EmbeddedServer, database: str) -> None:
    await fetch(database, "CREATE TABLE public.mine AS SELECT 1 AS kept")
    await server.stop_immediately()
    await server.start()
    assert await fetch(database, "SELECT kept FROM public.mine") == 1


async def test_server_left_stopped_runs_again_for_the_next_test(server: EmbeddedServer, database: str) -> None:
    await server.stop()
    assert not server.is_running


async def test_next_test_finds_its_server_running(database: str) -> None:
    assert await fetch(database, "SELECT 1") == 1
