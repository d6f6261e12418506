"""Tenants: their plans, their limits, and what they have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from jobqueue.domain.access import TENANT_SCOPES, Scope
from jobqueue.domain.audit import SYSTEM, Action, Author, Target
from jobqueue.domain.audit import changes as differing
from jobqueue.domain.errors import InvalidFields, NameTaken, NotFound
from jobqueue.domain.job import TENANT_NAME
from jobqueue.operations import api_keys, audit
from jobqueue.store import tenants as store
from jobqueue.store.pool import Database, Transaction

PLANS: Final = ("free", "pro", "business", "enterprise")
PAGE_MAX: Final = 200
NO_SUCH_TENANT: Final = "there is no such tenant"


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant, its limits and what it has now.

    A limit is its own, else its plan's; None: neither has one, the settings decide; 0: none.
    """

    tenant_id: int
    name: str
    plan: str
    weight: int
    max_concurrent: int | None
    max_queued: int | None
    rate_per_minute: int | None
    created_at: datetime
    running: int
    queued: int


async def create(
    db: Database,
    name: str,
    *,
    plan: str = "free",
    max_concurrent: int | None = None,
    max_queued: int | None = None,
    rate_per_minute: int | None = None,
    by: Author = SYSTEM,
) -> int:
    """Make a tenant; answers its number. Raises InvalidFields, NameTaken."""
    if not TENANT_NAME.fullmatch(name):
        raise InvalidFields([("/name", "a tenant's name is 1-63 of a-z, 0-9 and -")])
    if plan not in PLANS:
        raise InvalidFields([("/plan", f"a plan is one of {', '.join(PLANS)}")])
    limits = {"max_concurrent": max_concurrent, "max_queued": max_queued, "rate_per_minute": rate_per_minute}

    async def act(transaction: Transaction) -> int:
        number = await store.create(transaction, name, plan=plan, **limits)
        if number is None:
            raise NameTaken(f"there is a tenant {name} already")
        given = {field: value for field, value in limits.items() if value is not None}
        await audit.record(transaction, number, by, Action.TENANT_CREATED, Target("tenant", name), {"plan": plan, **given})
        return number

    return await db.in_transaction(act)


async def find(db: Database, name: str) -> int:
    """Answer a tenant's number. Raises NotFound."""
    row = await store.find(db, name)
    if row is None:
        raise NotFound(f"there is no tenant {name}")
    return int(row["tenant_id"])


async def get(db: Database, name: str) -> TenantView:
    """Read a tenant. Raises NotFound."""
    row = await store.get(db, name)
    if row is None:
        raise NotFound(NO_SUCH_TENANT)
    return TenantView(**dict(row))


async def page(db: Database, *, after: str = "", limit: int = PAGE_MAX) -> list[TenantView]:
    """List tenants by name, from the one after `after` on."""
    return [TenantView(**dict(row)) for row in await store.page(db, after=after, limit=limit)]


async def change(db: Database, name: str, changes: Mapping[str, Any], *, by: Author = SYSTEM) -> TenantView:
    """Change what is named of plan, weight, max_concurrent, max_queued, rate_per_minute, under the tenant's gate; None: the plan's.

    Another plan brings its weight along. Limits hold for every claim after this returns, and for submits within seconds. Raises NotFound.
    """

    async def act(transaction: Transaction) -> None:
        before = await store.lock(transaction, name)
        if before is None:
            raise NotFound(NO_SUCH_TENANT)
        after = await store.change(transaction, name, changes_json=orjson.dumps(dict(changes)).decode())
        differences = differing(dict(before), dict(after))
        await audit.record(transaction, before["tenant_id"], by, Action.TENANT_CHANGED, Target("tenant", name), differences)

    await db.in_transaction(act)
    return await get(db, name)


async def create_api_key(
    db: Database,
    tenant_id: int,
    *,
    name: str,
    scopes: Sequence[str] | None,
    expires_at: datetime | None = None,
    random_bytes: bytes,
    by: Author = SYSTEM,
) -> tuple[str, str]:
    """Make a key as an operator; answers (its id, the key itself, shown once). scopes None: all of its tenant's. random_bytes: ID_BYTES +
    SECRET_BYTES. Raises InvalidFields, KeysExhausted.
    """
    unknown = [scope for scope in scopes or () if scope not in tuple(Scope)]
    if unknown:
        raise InvalidFields([("/scopes", f"{unknown[0]} is not a scope; there are {', '.join(Scope)}")])
    chosen = TENANT_SCOPES if scopes is None else scopes
    return await api_keys.create(db, tenant_id, name=name, scopes=chosen, expires_at=expires_at, random_bytes=random_bytes, by=by)
