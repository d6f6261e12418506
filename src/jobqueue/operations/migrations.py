"""Bring the schema to head. Safe to start from several places at once (alembic/env.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic.command import downgrade as alembic_downgrade
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from jobqueue.store.pool import connect

PACKAGED: Final = Path(__file__).parents[1] / "_alembic"
CHECKOUT: Final = Path(__file__).parents[3] / "alembic"
_ONE_AT_A_TIME: Final = asyncio.Lock()  # Alembic keeps its context in module globals; other processes wait at the lock in env.py


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(PACKAGED if PACKAGED.is_dir() else CHECKOUT))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def upgrade(dsn: str, *, revision: str = "head") -> str | None:
    """Migrate up, in one transaction. dsn: `postgresql://...`, the direct one, not through a pooler.

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
        await _run_alone(dsn, migrate)


async def _run_alone(dsn: str, migrate: Callable[[Connection], None]) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(dsn, application_name="jobqueue-migrate"), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()
