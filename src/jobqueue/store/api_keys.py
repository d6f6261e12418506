"""Tenants' API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobqueue.domain.access import Principal
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def create(
    transaction: Transaction,
    *,
    api_key_id: str,
    tenant_id: int,
    name: str,
    secret_sha256: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    keys_max: int,
) -> bool:
    """Store a key's hash; answers False when the tenant has keys_max already, or the expiry is past."""
    created_at = await transaction.fetch_value(
        statement("api_keys/create"),
        api_key_id=api_key_id,
        tenant_id=tenant_id,
        name=name,
        secret_sha256=secret_sha256,
        scopes=list(scopes),
        expires_at=expires_at,
        keys_max=keys_max,
    )
    return created_at is not None


async def find(db: Database, api_key_id: str) -> tuple[Principal, str] | None:
    """Read a live key by its id; answers whom it speaks for and its secret's SHA-256."""
    row = await db.fetch_row(statement("api_keys/find"), api_key_id=api_key_id)
    if row is None:
        return None
    principal = Principal("key", row["api_key_id"], row["tenant_id"], row["tenant"], frozenset(row["scopes"]), row["name"])
    return principal, row["secret_sha256"]


async def page(db: Database | Transaction, tenant_id: int, *, before: tuple[datetime, str] | None, limit: int) -> list[Record]:
    """List a tenant's keys, newest first; columns as in sql/api_keys/list.sql."""
    before_at, before_id = before or (None, None)
    return await db.fetch(statement("api_keys/list"), tenant_id=tenant_id, before_at=before_at, before_id=before_id, limit=limit)


async def delete(transaction: Transaction, tenant_id: int, api_key_id: str) -> str | None:
    """Delete a key; answers its name, None when the tenant has none of this id."""
    name: str | None = await transaction.fetch_value(statement("api_keys/delete"), tenant_id=tenant_id, api_key_id=api_key_id)
    return name


async def note_use(db: Database, tenant_id: int, api_key_id: str, *, period_s: float) -> None:
    """Note that a key was used, unless that was done within the period."""
    await db.fetch(statement("api_keys/used"), tenant_id=tenant_id, api_key_id=api_key_id, period_s=period_s)
