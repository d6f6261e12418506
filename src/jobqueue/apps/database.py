"""Open the database a role works on, and refuse one it cannot rely on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobqueue.config import Settings
from jobqueue.operations import server
from jobqueue.operations.database import Database, open_database
from jobqueue.operations.intake import SubmitDefaults
from jobqueue.operations.leases import LeaseTerms
from jobqueue.telemetry.logs import get_logger


@asynccontextmanager
async def opened(settings: Settings, *, size: int, purpose: str) -> AsyncIterator[Database]:
    """Connect a pool while the block runs.

    Raises DatabaseUnavailable, UnsafeDatabase, and SchemaTooOld where `jobqueue migrate` has not run.
    """
    assert settings.database_url is not None
    db = await open_database(settings.database_url, size=size, application_name=f"jobqueue-{purpose}")
    try:
        await server.check(db, is_unsafe_accepted=settings.accept_unsafe_database)
        await server.check_schema(db, needed=server.SCHEMA_NEEDED)
        if not await server.raise_wall(db):
            get_logger().warning("database.without_row_security", remedy="run `jobqueue migrate` and do what it says")
        yield db
    finally:
        await db.close()


def lease_terms(settings: Settings) -> LeaseTerms:
    """What the settings grant leases under."""
    return LeaseTerms(
        lease_s=settings.lease_seconds,
        timeout_s=max(1, round(settings.job_timeout_seconds)),
        cancel_grace_s=settings.cancel_grace_seconds,
        tenant_cap=settings.tenant_max_concurrent,
        crashes_max=settings.max_crashes,
        retry_delay_s_base=settings.retry_base_seconds,
        retry_delay_s_max=settings.retry_max_seconds,
    )


def submit_defaults(settings: Settings) -> SubmitDefaults:
    """What the settings give jobs that do not say otherwise."""
    return SubmitDefaults(
        max_attempts=settings.max_attempts,
        expires_in_s=settings.pending_timeout_seconds,
        max_queued=settings.tenant_max_queued,
    )
