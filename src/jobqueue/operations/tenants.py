"""Tenants and their keys."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.access import ID_BYTES, SECRET_BYTES, TENANT_SCOPES, Principal, Scope, hash_api_key, make_api_key, read_api_key
from jobqueue.domain.errors import InvalidFields, NameTaken, NotFound, Unauthenticated
from jobqueue.domain.job import TENANT_NAME
from jobqueue.store import tenants as store
from jobqueue.store.pool import Database

PLANS: Final = ("free", "pro", "business", "enterprise")
VERIFIED_S_MAX: Final = 4.0
"""A verified key is trusted this long without looking again: a deleted one stops within 5 s."""
VERIFIED_MAX: Final = 10_000
PAGE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant as operators see it. Limits None: the plan's, else the settings'."""

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
    db: Database, name: str, *, plan: str = "free", max_concurrent: int | None = None, rate_per_minute: int | None = None
) -> int:
    """Make a tenant; answers its number. Raises InvalidFields, NameTaken."""
    if not TENANT_NAME.fullmatch(name):
        raise InvalidFields([("/name", "a tenant's name is 1-63 of a-z, 0-9 and -")])
    if plan not in PLANS:
        raise InvalidFields([("/plan", f"a plan is one of {', '.join(PLANS)}")])
    number = await store.create(db, name, plan=plan, max_concurrent=max_concurrent, rate_per_minute=rate_per_minute)
    if number is None:
        raise NameTaken(f"there is a tenant {name} already")
    return number


async def find(db: Database, name: str) -> int:
    """Answer a tenant's number. Raises NotFound."""
    row = await store.find(db, name)
    if row is None:
        raise NotFound(f"there is no tenant {name}")
    return int(row["tenant_id"])


async def page(db: Database, *, after: str = "", limit: int = PAGE_MAX) -> list[TenantView]:
    """List tenants by name, from the one after `after` on."""
    return [TenantView(**dict(row)) for row in await store.page(db, after=after, limit=limit)]


async def create_api_key(
    db: Database,
    tenant_id: int,
    *,
    name: str,
    scopes: Sequence[str] | None,
    expires_at: datetime | None = None,
    random_bytes: bytes,
) -> tuple[str, str]:
    """Make a key; answers (its id, the key itself, shown once). scopes None: all of its tenant's. random_bytes: ID_BYTES + SECRET_BYTES."""
    unknown = [scope for scope in scopes or () if scope not in tuple(Scope)]
    if unknown:
        raise InvalidFields([("/scopes", f"{unknown[0]} is not a scope; there are {', '.join(Scope)}")])
    key_id, key = make_api_key(id_bytes=random_bytes[:ID_BYTES], secret_bytes=random_bytes[ID_BYTES : ID_BYTES + SECRET_BYTES])
    await store.create_api_key(
        db,
        api_key_id=key_id,
        tenant_id=tenant_id,
        name=name,
        secret_sha256=hash_api_key(key),
        scopes=[str(scope) for scope in (TENANT_SCOPES if scopes is None else scopes)],
        expires_at=expires_at,
    )
    return key_id, key


class KeyRing:
    """Verifies API keys, and remembers those it verified for a few seconds."""

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._verified: dict[str, tuple[Principal, str, float]] = {}

    async def verify(self, key: str) -> Principal:
        """Answer whom a key speaks for. Raises Unauthenticated, the same for every reason."""
        key_id = read_api_key(key)
        if key_id is None:
            raise Unauthenticated("the credential is not valid")
        principal, secret_sha256 = await self._find(key_id)
        if not hmac.compare_digest(secret_sha256, hash_api_key(key)):
            raise Unauthenticated("the credential is not valid")
        return principal

    async def still_lives(self, key_id: str) -> Principal:
        """Answer whom a key speaks for that a token we signed names by its id.

        Raises Unauthenticated when it was deleted or has expired.
        """
        principal, _ = await self._find(key_id)
        return principal

    async def _find(self, key_id: str) -> tuple[Principal, str]:
        now_s = self._clock.monotonic()
        known = self._verified.get(key_id)
        if known is not None and now_s - known[2] < VERIFIED_S_MAX:
            return known[0], known[1]
        found = await store.find_api_key(self._db, key_id)
        if found is None:
            self._verified.pop(key_id, None)
            raise Unauthenticated("the credential is not valid")
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[key_id] = (*found, now_s)
        return found
