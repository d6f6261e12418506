"""The pool, for those who only hand it on: doors open it here and give it to operations."""

from __future__ import annotations

from jobqueue.store.pool import Database

__all__ = ["Database", "open_database"]


async def open_database(dsn: str, *, size: int, application_name: str) -> Database:
    """Connect a pool of at most `size`. Raises DatabaseUnavailable when the server cannot be reached."""
    return await Database.open(dsn, size=size, application_name=application_name)
