"""Is this a database the promise can stand on, and is its schema new enough?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.domain.errors import SchemaTooOld, UnsafeDatabase
from jobqueue.store import upkeep
from jobqueue.store.pool import Database

SCHEMA_NEEDED: Final = "0010"
"""The migration this program needs; a constant, so that roles do not load Alembic. A test holds it to the newest migration."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What matters of the server."""

    version: int
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str

    @property
    def is_safe(self) -> bool:
        """Whether what was committed survives a crash of the machine."""
        return self.fsync and self.full_page_writes


async def facts(db: Database) -> ServerFacts:
    """Read them."""
    row = await upkeep.server_settings(db)
    return ServerFacts(row["version"], row["fsync"] == "on", row["full_page_writes"] == "on", row["synchronous_commit"])


async def check(db: Database, *, is_unsafe_accepted: bool) -> ServerFacts:
    """Refuse a server that would lose accepted jobs. Raises UnsafeDatabase."""
    found = await facts(db)
    if not found.is_safe and not is_unsafe_accepted:
        off = "fsync" if not found.fsync else "full_page_writes"
        raise UnsafeDatabase(f"the database runs with {off}=off; turn it on, or set JOBQUEUE_ACCEPT_UNSAFE_DATABASE=true")
    return found


async def raise_wall(db: Database) -> bool:
    """Have single-tenant statements run as the role that row-level security binds; False: the database is not set up for it."""
    db.has_wall = bool(await upkeep.has_wall(db))
    return db.has_wall


async def check_schema(db: Database, *, needed: str) -> None:
    """Refuse a schema older than this program needs; versions are numbers that grow. Raises SchemaTooOld."""
    version = await upkeep.schema_version(db)
    if version is None or version < needed:
        raise SchemaTooOld(f"the schema is at {version or 'nothing'}, this program needs {needed}: run `jobqueue migrate`")
