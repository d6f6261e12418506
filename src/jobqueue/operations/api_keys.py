"""API keys: made, listed, deleted by their tenant; verified at the door, and remembered for a few seconds."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.access import (
    ID_BYTES,
    REFUSAL,
    SECRET_BYTES,
    TENANT_SCOPES,
    Principal,
    Scope,
    hash_api_key,
    make_api_key,
    read_api_key,
)
from jobqueue.domain.audit import SYSTEM, Action, Author, Target
from jobqueue.domain.errors import InvalidFields, JobQueueError, KeysExhausted, NotFound, ScopeMissing, Unauthenticated
from jobqueue.operations import audit
from jobqueue.operations.remembered import VERIFIED_MAX, Remembered
from jobqueue.store import api_keys as store
from jobqueue.store.pool import Database, Transaction

KEYS_MAX: Final = 1_000
"""Of a tenant. Two for every program and one to spare are far fewer."""
NO_SUCH_KEY: Final = "there is no such API key"
USE_NOTED_S: Final = 60.0
"""last_used_at is written at most this often, and is at most this much behind."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its tenant sees it; the secret is not kept."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


async def create(
    db: Database,
    tenant_id: int,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    random_bytes: bytes,
    by: Author = SYSTEM,
) -> tuple[str, str]:
    """Make a key with known scopes; answers (its id, the key itself, shown once). random_bytes: ID_BYTES + SECRET_BYTES.

    Raises InvalidFields, KeysExhausted.
    """
    key_id, key = make_api_key(id_bytes=random_bytes[:ID_BYTES], secret_bytes=random_bytes[ID_BYTES : ID_BYTES + SECRET_BYTES])
    listed = [str(scope) for scope in scopes]

    async def act(transaction: Transaction) -> None:
        is_stored = await store.create(
            transaction,
            api_key_id=key_id,
            tenant_id=tenant_id,
            name=name,
            secret_sha256=hash_api_key(key),
            scopes=listed,
            expires_at=expires_at,
            keys_max=KEYS_MAX,
        )
        if not is_stored:
            if len(await store.page(transaction, tenant_id, before=None, limit=KEYS_MAX)) >= KEYS_MAX:
                raise KeysExhausted(f"a tenant has at most {KEYS_MAX:,} API keys; delete one that is not used any more")
            raise InvalidFields([("/expires_at", "must be in the future")])
        data = {"name": name, "scopes": listed, "expires_at": expires_at}
        await audit.record(transaction, tenant_id, by, Action.API_KEY_CREATED, Target("api_key", key_id), data)

    await db.in_transaction(act, tenant_id=tenant_id)
    return key_id, key


def scopes_for(maker: Principal, asked: Sequence[str] | None) -> list[str]:
    """Answer the scopes of a key that somebody makes: at most their own. None: all of them.

    Raises InvalidFields for what is no scope, ScopeMissing for what the maker has not. `operator` is given from the command line only.
    """
    if asked is None:
        return [scope for scope in TENANT_SCOPES if scope in maker.scopes]
    faults = [(f"/scopes/{place}", f"must be one of {', '.join(Scope)}") for place, scope in enumerate(asked) if scope not in tuple(Scope)]
    if faults:
        raise InvalidFields(faults)
    for place, scope in enumerate(asked):
        if scope not in maker.scopes:
            raise ScopeMissing(scope)
        if scope == Scope.OPERATOR:
            raise InvalidFields(
                [(f"/scopes/{place}", "operator is given from the command line only: jobqueue keys create --scope operator")]
            )
    return [scope for scope in Scope if scope in asked]


async def page(db: Database, tenant_id: int, *, before: tuple[datetime, str] | None, limit: int) -> list[KeyView]:
    """List a tenant's keys, newest first, from the one after `before` (its created_at and id) on."""
    rows = await store.page(db, tenant_id, before=before, limit=limit)
    return [
        KeyView(row["api_key_id"], row["name"], row["scopes"], row["created_at"], row["expires_at"], row["last_used_at"]) for row in rows
    ]


class KeyRing:
    """Verifies API keys, and remembers those it verified for a few seconds."""

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._keys: Remembered[tuple[Principal, str]] = Remembered(lambda key_id: store.find(db, key_id), clock=clock)
        self._noted_s: dict[str, float] = {}

    async def verify(self, key: str) -> Principal:
        """Answer whom a key speaks for. Raises Unauthenticated, the same for every reason."""
        key_id = read_api_key(key)
        found = None if key_id is None else await self._keys.get(key_id)
        if found is None or not hmac.compare_digest(found[1], hash_api_key(key)):
            raise Unauthenticated(REFUSAL)
        await self._note_use(found[0])
        return found[0]

    async def still_lives(self, key_id: str) -> Principal:
        """Answer whom a key speaks for that a token we signed names by its id.

        Raises Unauthenticated when it was deleted or has expired.
        """
        found = await self._keys.get(key_id)
        if found is None:
            raise Unauthenticated(REFUSAL)
        await self._note_use(found[0])
        return found[0]

    async def delete(self, tenant_id: int, key_id: str, *, by: Author = SYSTEM) -> None:
        """Delete a key of a tenant: here at once, in other processes when they look again. Raises NotFound."""

        async def act(transaction: Transaction) -> None:
            name = await store.delete(transaction, tenant_id, key_id)
            if name is None:
                raise NotFound(NO_SUCH_KEY)
            await audit.record(transaction, tenant_id, by, Action.API_KEY_DELETED, Target("api_key", key_id), {"name": name})

        await self._db.in_transaction(act, tenant_id=tenant_id)
        self._keys.forget(key_id)

    async def _note_use(self, principal: Principal) -> None:
        """Write down that a key is used, now and then; that it cannot be written stops nobody."""
        now_s = self._clock.monotonic()
        noted_s = self._noted_s.get(principal.id)
        if noted_s is not None and now_s - noted_s < USE_NOTED_S:
            return
        if len(self._noted_s) >= VERIFIED_MAX:
            self._noted_s.clear()
        self._noted_s[principal.id] = now_s
        with contextlib.suppress(JobQueueError):
            await store.note_use(self._db, principal.tenant_id, principal.id, period_s=USE_NOTED_S)
