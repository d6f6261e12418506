"""The migrations: they make what the metadata says, go down and up again on filled tables, and may be started several times at once."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from jobqueue.apps.embedded import packaged_binaries
from jobqueue.domain.lifecycle import Status
from jobqueue.operations import jobs, migrations
from jobqueue.operations.server import SCHEMA_NEEDED
from jobqueue.store.tables import SCHEMA, metadata
from scripts.schema_dump import dump
from tests import postgres
from tests.engine import open_engine, outcome, request

PROCESSES = 5
WALL = re.compile(r"^CREATE POLICY|ENABLE ROW LEVEL SECURITY;$|^CREATE TRIGGER insert_only")
"""What the end of each migration adds to the tables, and what guards those that are only added to."""


def engine_of(dsn: str) -> Any:
    settings = {"server_settings": {"search_path": "public"}}  # not "$user": then defaults would be told without their schema
    return create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool, connect_args=settings)


async def test_metadata_is_what_the_migrations_make(database: str) -> None:
    def compare(connection: Connection) -> list[Any]:
        partitions = {
            row[0]
            for row in connection.exec_driver_sql(
                f"SELECT relname FROM pg_class WHERE relispartition AND relnamespace = '{SCHEMA}'::regnamespace"
            )
        }

        def include(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
            return kind != "table" or (name not in partitions and name != "schema_version")

        options = {"include_schemas": True, "include_object": include, "compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with engine_of(database).connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_metadata_makes_the_same_tables_to_the_last_check(database: str, empty_database: str) -> None:
    """Alembic does not compare checks, partitioning, storage settings and expressions of indexes; Postgres tells them all."""
    if postgres.chosen_dsn() is not None:
        pytest.skip("needs the server's own pg_dump")

    async with engine_of(empty_database).begin() as connection:
        await connection.execute(CreateSchema(SCHEMA))
        await connection.run_sync(metadata.create_all)
    binaries = postgres.chosen_binaries() or packaged_binaries()
    options = (f"--table={SCHEMA}.*", f"--exclude-table={SCHEMA}.schema_version", f"--exclude-table={SCHEMA}.jobs")
    migrated, made = [await asyncio.to_thread(dump, dsn, binaries=binaries, options=options) for dsn in (database, empty_database)]
    assert sorted(part for part in migrated.strip().split("\n\n") if not WALL.search(part)) == sorted(made.strip().split("\n\n"))


async def fill(dsn: str) -> None:
    """A row in every table the engine writes."""
    async with open_engine(dsn) as engine:
        caller = await engine.tenant()
        await engine.queue(caller, max_concurrent=5)
        await engine.dlq(caller, key="k")
        await engine.failed(caller)
        await engine.submit_all(caller, [request(concurrency_key="key")] * 3 + [request(delay_s=60.0)])
        for lease in await engine.claim():
            await engine.start(lease)
        await engine.succeeded(caller, key="other", job_type="t")


async def test_filled_schema_goes_down_and_up_again(database: str) -> None:
    await fill(database)
    await migrations.downgrade(database, revision="base")
    connection = await asyncpg.connect(database, timeout=30)
    left = await connection.fetch(
        f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')"
        f" UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace"
    )
    assert [row[0] for row in left] == ["schema_version"]
    await connection.close()
    await migrations.upgrade(database)
    async with open_engine(database) as engine:
        caller = await engine.tenant()
        job_id = await engine.submit(caller)
        await engine.settle_all([(await engine.claim_one(), outcome())])
        assert await engine.status(caller, job_id) is Status.SUCCEEDED
        assert (await jobs.count(engine.db, caller)).by_status[Status.SUCCEEDED] == 1


async def test_upgrade_at_head_does_nothing(database: str) -> None:
    await fill(database)
    await migrations.upgrade(database)
    connection = await asyncpg.connect(database, timeout=30)
    assert await connection.fetchval("SELECT count(*) FROM jobqueue.job") > 0
    await connection.close()


async def test_started_from_several_processes_at_once_migrates_once(empty_database: str) -> None:
    program = "import asyncio, sys; from jobqueue.operations import migrations; asyncio.run(migrations.upgrade(sys.argv[1]))"
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_database, stderr=asyncio.subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    ended = [await process.communicate() for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, ended
    connection = await asyncpg.connect(empty_database, timeout=30)
    assert await connection.fetchval("SELECT version_num FROM jobqueue.schema_version") == SCHEMA_NEEDED
    await connection.close()


async def test_migration_that_fails_leaves_nothing(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database, timeout=30)
    await connection.execute("CREATE SCHEMA jobqueue; CREATE TABLE jobqueue.job_type (mine int)")
    with pytest.raises(Exception, match="already exists"):
        await migrations.upgrade(empty_database)
    left = await connection.fetch(f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r'")
    assert [row[0] for row in left] == ["job_type"]
    await connection.close()


def test_migrations_are_one_line_of_numbers() -> None:
    versions = sorted(path.stem for path in (Path(__file__).parents[2] / "alembic" / "versions").glob("*.py"))
    assert [name[:4] for name in versions] == [f"{number + 1:04}" for number in range(len(versions))]
