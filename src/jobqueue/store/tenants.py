"""Tenants, their keys and the workers that serve them."""

from __future__ import annotations

from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def create(
    db: Database | Transaction,
    name: str,
    *,
    plan: str,
    max_concurrent: int | None,
    max_queued: int | None = None,
    rate_per_minute: int | None,
) -> int | None:
    """Make a tenant; answers its number, None when the name is taken."""
    number: int | None = await db.fetch_value(
        statement("tenants/create"),
        name=name,
        plan=plan,
        max_concurrent=max_concurrent,
        max_queued=max_queued,
        rate_per_minute=rate_per_minute,
    )
    return number


async def find(db: Database, name: str) -> Record | None:
    """Look a tenant up by name; columns as in sql/tenants/find.sql."""
    return await db.fetch_row(statement("tenants/find"), name=name)


async def page(db: Database, *, after: str, limit: int) -> list[Record]:
    """List tenants by name; columns as in sql/tenants/list.sql."""
    return await db.fetch(statement("tenants/list"), after=after, limit=limit)


async def get(db: Database, name: str) -> Record | None:
    """Read a tenant with its limits and what it has now; columns as in sql/tenants/get.sql."""
    return await db.fetch_row(statement("tenants/get"), name=name)


async def hold(transaction: Transaction, tenant_id: int) -> None:
    """Lock a tenant's gate until the transaction ends."""
    await transaction.fetch(statement("tenants/hold"), tenant_id=tenant_id)


async def lock(transaction: Transaction, name: str) -> Record | None:
    """Lock a tenant's gate until the transaction ends; columns as in sql/tenants/lock.sql."""
    return await transaction.fetch_row(statement("tenants/lock"), name=name)


async def change(transaction: Transaction, name: str, *, changes_json: str) -> Record:
    """Change a tenant that is locked; changes_json: an object of column -> value, null for the plan's. Answers columns as `lock`."""
    row = await transaction.fetch_row(statement("tenants/set"), name=name, changes=changes_json)
    assert row is not None
    return row
