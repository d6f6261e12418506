"""Turn driver errors into what a caller can do about them (failures.md 4.9)."""

from __future__ import annotations

from typing import Final

import asyncpg

from jobqueue.domain.errors import DatabaseUnavailable, InvalidRequest, JobQueueError


class RolledBack(JobQueueError):
    """The statement did not happen for certain, and may pass when tried again (deadlock, serialisation, changed plan)."""

    code = "rolled_back"


class LockNotAvailable(RolledBack):
    """A lock was not granted in time: somebody's open transaction holds it."""

    code = "lock_not_available"


class DataRefused(InvalidRequest):
    """The database cannot hold a value: it happened to nothing, and never will."""

    code = "data_refused"


TRY_AGAIN: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.exceptions.InvalidCachedStatementError,
    asyncpg.exceptions.OutdatedSchemaCacheError,
)
"""Rolled back for certain."""

UNKNOWN: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # also raised after a backend was killed
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # 57P01.. and 57014: shut down, crashed, cancelled
    asyncpg.InsufficientResourcesError,  # 53xxx: connections, disk, memory
    asyncpg.PostgresSystemError,  # 58xxx: the server's disk fails
    asyncpg.ReadOnlySQLTransactionError,  # a demoted primary
    asyncpg.CannotConnectNowError,
)
"""Not known whether it happened, or nothing can happen now: try again with the same key or token."""

REFUSED: Final = (asyncpg.DataError, asyncpg.exceptions.ProgramLimitExceededError)


def translate(error: BaseException) -> JobQueueError | None:
    """Name the reaction to a driver error; None: it is a mistake of ours and shall surface as it is."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        return LockNotAvailable("a lock was not granted in time")
    if isinstance(error, TRY_AGAIN):
        return RolledBack(f"rolled back: {type(error).__name__}")
    if isinstance(error, UNKNOWN):
        return DatabaseUnavailable(f"the database did not answer: {type(error).__name__}")
    if isinstance(error, REFUSED):
        return DataRefused(f"the database refused a value: {type(error).__name__}: {error}")
    return None


def is_healthy_after(error: BaseException) -> bool:
    """Whether the connection may be used again: the server answered, with an error of the statement."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
    )
