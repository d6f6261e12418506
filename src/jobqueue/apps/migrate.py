"""Bring the schema to head."""

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from jobqueue.apps.refusals import RoleFailed
from jobqueue.operations import migrations, server
from jobqueue.store.failures import translate
from jobqueue.telemetry.logs import get_logger


async def migrate(direct_url: str) -> str:
    """Migrate, alone or after whoever is at it already; answers the version the schema has now.

    Raises DatabaseUnavailable, RoleFailed, and the driver's error when the address or the credential in it is wrong.
    """
    try:
        obstacle = await migrations.upgrade(direct_url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError) as error:
        cause = driver_error(error)
        if (reaction := translate(cause)) is not None:
            raise reaction from error
        if isinstance(cause, (OSError, asyncpg.PostgresError)):
            raise cause from error
        raise RoleFailed(f"cannot migrate: {type(cause).__name__}: {' '.join(str(cause).split())}") from error
    if obstacle is not None:
        get_logger().warning("migrate.without_row_security", obstacle=obstacle)
    return server.SCHEMA_NEEDED


def driver_error(error: BaseException) -> BaseException:
    """Find what the driver said under what SQLAlchemy made of it."""
    while isinstance(error, SQLAlchemyError) or type(error).__module__.startswith("sqlalchemy."):
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            break
        error = inner
    return error
