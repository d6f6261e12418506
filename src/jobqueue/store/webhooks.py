"""Tenants' webhook endpoints, and how far the history has been turned into deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def create(
    db: Database | Transaction,
    tenant_id: int,
    *,
    url: str,
    description: str | None,
    event_types: Sequence[str],
    queues: Sequence[str],
    job_types: Sequence[str],
    secret_sealed: str,
    webhooks_max: int,
) -> Record | None:
    """Store an endpoint; None: the tenant has webhooks_max already."""
    return await db.fetch_row(
        statement("webhooks/create"),
        tenant_id=tenant_id,
        url=url,
        description=description,
        event_types=event_types,
        queues=queues,
        job_types=job_types,
        secret_sealed=secret_sealed,
        webhooks_max=webhooks_max,
    )


async def get(db: Database | Transaction, tenant_id: int, webhook_id: UUID) -> Record | None:
    """Read an endpoint; columns as in sql/webhooks/get.sql."""
    return await db.fetch_row(statement("webhooks/get"), tenant_id=tenant_id, webhook_id=webhook_id)


async def page(db: Database, tenant_id: int, *, before_id: UUID | None, limit: int) -> list[Record]:
    """List a tenant's endpoints, newest first."""
    return await db.fetch(statement("webhooks/list"), tenant_id=tenant_id, before_id=before_id, limit=limit)


async def change(db: Database | Transaction, tenant_id: int, webhook_id: UUID, **given: Any) -> Record | None:
    """Change what is given, by the parameters of sql/webhooks/change.sql; None: there is none such."""
    names = ("url", "has_description", "description", "event_types", "queues", "job_types", "is_active")
    values: dict[str, Any] = {name: given.get(name) for name in names}
    assert set(given) <= set(names)
    return await db.fetch_row(statement("webhooks/change"), tenant_id=tenant_id, webhook_id=webhook_id, **values)


async def rotate(db: Database | Transaction, tenant_id: int, webhook_id: UUID, *, secret_sealed: str, grace_s: float) -> Record | None:
    """Give an endpoint a new secret; None: there is none such."""
    return await db.fetch_row(
        statement("webhooks/rotate"), tenant_id=tenant_id, webhook_id=webhook_id, secret_sealed=secret_sealed, grace_s=grace_s
    )


async def delete(db: Database | Transaction, tenant_id: int, webhook_id: UUID) -> bool:
    """Delete an endpoint; answers whether the tenant had it."""
    return await db.fetch_value(statement("webhooks/delete"), tenant_id=tenant_id, webhook_id=webhook_id) is not None


async def endpoints(transaction: Transaction) -> list[Record]:
    """Read what every endpoint wants to be told."""
    return await transaction.fetch(statement("webhooks/endpoints"))


async def lock_cursor(transaction: Transaction, *, idle_s: float) -> int | None:
    """Lock the cursor for the transaction, which the server ends when it is idle for idle_s, and read it; None: there is none yet."""
    seq = await transaction.fetch_value(statement("webhooks/lock_cursor"), idle_ms=int(idle_s * 1000))
    return None if seq is None else int(seq)


async def move_cursor(transaction: Transaction, seq: int) -> None:
    """Note up to which number deliveries have been made."""
    await transaction.fetch(statement("webhooks/move_cursor"), seq=seq)


async def sealed(db: Database, *, after_id: UUID, limit: int) -> list[Record]:
    """Read sealed secrets after an endpoint, in order."""
    return await db.fetch(statement("webhooks/sealed"), after_id=after_id, limit=limit)


async def reseal(db: Database, before: Record, *, secret_sealed: str, previous_sealed: str | None) -> None:
    """Replace the sealed form of an endpoint's secrets, unless they changed since they were read."""
    await db.fetch(
        statement("webhooks/reseal"),
        webhook_id=before["webhook_id"],
        secret_before=before["secret_sealed"],
        previous_before=before["previous_sealed"],
        secret_sealed=secret_sealed,
        previous_sealed=previous_sealed,
    )


async def forget_previous(db: Database, *, now: datetime | None = None) -> int:
    """Forget secrets whose grace is over; answers how many."""
    return len(await db.fetch(statement("webhooks/forget_previous"), now=now))
