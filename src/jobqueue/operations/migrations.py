"""Bring the schema to head. Safe to start from several places at once (alembic/env.py)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic.command import downgrade as alembic_downgrade
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from jobqueue.aio.clock import SystemClock
from jobqueue.store.pool import connect

PACKAGED: Final = Path(__file__).parents[1] / "_alembic"
CHECKOUT: Final = Path(__file__).parents[3] / "alembic"
LOCK_TRIES_MAX: Final = 100
LOCK_RETRY_S: Final = (0.5, 2.0)
"""Between tries for a table's lock, by chance, so that what it held up meanwhile gets through."""
LOCK_NOT_AVAILABLE: Final = "55P03"
_ONE_AT_A_TIME: Final = asyncio.Lock()  # Alembic keeps its context in module globals; other processes wait at the lock in env.py


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(PACKAGED if PACKAGED.is_dir() else CHECKOUT))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def upgrade(dsn: str, *, revision: str = "head") -> str | None:
    """Migrate up, in one transaction. dsn: `postgresql://...`, the direct one, not through a pooler.

    One that does not get a table's lock in 2 s (alembic/env.py) is undone and tried again.

    Answers None, or what stands in the way of the second wall (row-level security); everything works without it.
    """
    obstacles: list[str | None] = []

    def migrate(connection: Connection) -> None:
        alembic_upgrade(_config(connection), revision)
        if connection.exec_driver_sql("SELECT to_regproc('jobqueue.raise_wall_v1') IS NOT NULL").scalar():
            obstacles.append(connection.exec_driver_sql("SELECT jobqueue.raise_wall_v1()").scalar())

    await _run(dsn, migrate)
    return obstacles[0] if obstacles else None


async def downgrade(dsn: str, *, revision: str) -> None:
    """Migrate down, in one transaction."""
    await _run(dsn, lambda connection: alembic_downgrade(_config(connection), revision))


async def _run(dsn: str, migrate: Callable[[Connection], None]) -> None:
    async with _ONE_AT_A_TIME:
        for tries_left in range(LOCK_TRIES_MAX - 1, -1, -1):
            try:
                return await _run_alone(dsn, migrate)
            except DBAPIError as error:
                if not tries_left or getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
            await SystemClock().sleep(random.uniform(*LOCK_RETRY_S))
        raise AssertionError


async def _run_alone(dsn: str, migrate: Callable[[Connection], None]) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(dsn, application_name="jobqueue-migrate"), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()
