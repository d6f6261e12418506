"""Tenants, their keys and the workers that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobqueue.domain.access import Principal
from jobqueue.store.pool import Database, Record
from jobqueue.store.statements import statement


async def create(db: Database, name: str, *, plan: str, max_concurrent: int | None, rate_per_minute: int | None) -> int | None:
    """Make a tenant; answers its number, None when the name is taken."""
    number: int | None = await db.fetch_value(
        statement("tenants/create"), name=name, plan=plan, max_concurrent=max_concurrent, rate_per_minute=rate_per_minute
    )
    return number


async def find(db: Database, name: str) -> Record | None:
    """Look a tenant up by name; columns as in sql/tenants/find.sql."""
    return await db.fetch_row(statement("tenants/find"), name=name)


async def page(db: Database, *, after: str, limit: int) -> list[Record]:
    """List tenants by name; columns as in sql/tenants/list.sql."""
    return await db.fetch(statement("tenants/list"), after=after, limit=limit)


async def create_api_key(
    db: Database, *, api_key_id: str, tenant_id: int, name: str, secret_sha256: str, scopes: Sequence[str], expires_at: datetime | None
) -> None:
    """Store a key's hash."""
    await db.fetch(
        statement("api_keys/create"),
        api_key_id=api_key_id,
        tenant_id=tenant_id,
        name=name,
        secret_sha256=secret_sha256,
        scopes=list(scopes),
        expires_at=expires_at,
    )


async def find_api_key(db: Database, api_key_id: str) -> tuple[Principal, str] | None:
    """Read a live key by its id; answers whom it speaks for and its secret's SHA-256."""
    row = await db.fetch_row(statement("api_keys/find"), api_key_id=api_key_id)
    if row is None:
        return None
    return Principal("key", row["api_key_id"], row["tenant_id"], row["tenant"], frozenset(row["scopes"])), row["secret_sha256"]
