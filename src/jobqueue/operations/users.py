"""People: they register with a tenant of their own, log in, and are known by their tokens until they are disabled.

Tries are paced in Postgres, so that all processes together keep to the rates: of one account from one address, of one account, and of one
address. A login that succeeds gives its try back. Whether the account exists makes no difference in any of this.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.access import REFUSAL, TENANT_SCOPES, Principal
from jobqueue.domain.audit import NOBODYS, SYSTEM, Action, ActorKind, Author, Target
from jobqueue.domain.errors import InvalidFields, NameTaken, NotFound, TooManyAttempts, Unauthenticated
from jobqueue.domain.job import TENANT_NAME
from jobqueue.domain.person import normalise_email, password_fault
from jobqueue.operations import audit
from jobqueue.operations.passwords import Passwords
from jobqueue.operations.remembered import Remembered
from jobqueue.store import tenants as tenant_store
from jobqueue.store import users as store
from jobqueue.store.pool import Database, Record, Transaction

WINDOW_S: Final = 600.0
TRIES_OF_PAIR, TRIES_OF_ACCOUNT, TRIES_OF_ADDRESS = 10, 50, 100
"""Tries in a window: of an account from one address; of an account from anywhere, so that a stranger alone cannot lock its owner out; of an
address, which may be a whole office's."""
SWEPT_MAX: Final = 10_000
NETWORK_BITS: Final = 64
"""What one caller has of IPv6 addresses."""
FREE_PLAN: Final = "free"
ANYBODY: Final = Author(ActorKind.UNKNOWN)


class UserRing:
    """Knows the users that tokens name, and remembers them for a few seconds."""

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._users: Remembered[Principal] = Remembered(self._find, clock=clock)

    async def still_lives(self, user_id: str) -> Principal:
        """Answer whom a token we signed speaks for. Raises Unauthenticated when the user is gone or disabled."""
        found = await self._users.get(user_id)
        if found is None:
            raise Unauthenticated(REFUSAL)
        return found

    async def _find(self, user_id: str) -> Principal | None:
        try:
            number = UUID(user_id)
        except ValueError:
            return None
        return await store.find(self._db, number)


async def register(
    db: Database, passwords: Passwords, *, email: str, password: str, tenant: str, address: str, by: Author = ANYBODY
) -> Principal:
    """Make a tenant and its owner, both or neither. by: where the request came from; who it was is known only then.

    Raises InvalidFields, TooManyAttempts, NameTaken (the tenant's name or the email), Overloaded.
    """
    normal = _check_registration(email, password, tenant)
    await _spend(db, {_subject("address", _network(address)): TRIES_OF_ADDRESS})
    if await tenant_store.find(db, tenant) is not None:
        raise NameTaken(f"there is a tenant {tenant} already")
    password_hash = await passwords.hash(password)

    async def make(transaction: Transaction) -> Principal:
        tenant_id = await store.create_tenant(transaction, tenant, plan=FREE_PLAN)
        if tenant_id is None:
            raise NameTaken(f"there is a tenant {tenant} already")
        scopes = [str(scope) for scope in TENANT_SCOPES]
        user_id = await store.create(transaction, tenant_id=tenant_id, email=normal, password_hash=password_hash, scopes=scopes)
        if user_id is None:
            raise NameTaken("there is an account for this email address already")
        author = replace(by, kind=ActorKind.USER, id=str(user_id), name=normal)
        await audit.record(transaction, tenant_id, author, Action.TENANT_CREATED, Target("tenant", tenant), {"plan": FREE_PLAN})
        await audit.record(transaction, tenant_id, author, Action.USER_REGISTERED, Target("user", str(user_id)))
        return Principal("user", str(user_id), tenant_id, tenant, frozenset(scopes), normal)

    return await db.in_transaction(make)


def _check_registration(email: str, password: str, tenant: str) -> str:
    """Answer the email as it is kept. Raises InvalidFields."""
    normal = normalise_email(email)
    faults = [("/email", "this is not an email address")] if normal is None else []
    if not TENANT_NAME.fullmatch(tenant):
        faults.append(("/tenant", "a tenant's name is 1-63 of a-z, 0-9 and -"))
    if (fault := password_fault(password, email=normal or "", tenant=tenant)) is not None:
        faults.append(("/password", fault))
    if normal is None or faults:
        raise InvalidFields(faults)
    return normal


async def log_in(db: Database, passwords: Passwords, *, email: str, password: str, address: str, by: Author = ANYBODY) -> Principal:
    """Answer who an email and password belong to.

    Raises Unauthenticated, in the same words and about the same time for whatever is wrong; TooManyAttempts, Overloaded.
    """
    normal = normalise_email(email) or ""
    subjects = {
        _subject("pair", normal, _network(address)): TRIES_OF_PAIR,
        _subject("account", normal): TRIES_OF_ACCOUNT,
        _subject("address", _network(address)): TRIES_OF_ADDRESS,
    }
    await _spend(db, subjects)
    row = await store.find_by_email(db, normal)
    verdict = await passwords.check(None if row is None else row["password_hash"], password)
    if row is None or not verdict.is_right or row["is_disabled"]:
        await _note_refusal(db, row, by, is_disabled=verdict.is_right)
        raise Unauthenticated(REFUSAL)
    principal, number = store.principal_of(row), row["user_id"]

    async def let_in(transaction: Transaction) -> None:
        await store.note_login(transaction, tenant_id=principal.tenant_id, user_id=number, password_hash=verdict.fresh_hash)
        author = replace(by, kind=ActorKind.USER, id=principal.id, name=principal.name)
        await audit.record(transaction, principal.tenant_id, author, Action.USER_LOGGED_IN, Target("user", principal.id))

    await db.in_transaction(let_in, tenant_id=principal.tenant_id)
    await store.refund_tries(db, subjects=list(subjects), steps_s=_steps_s(subjects))
    return principal


async def _note_refusal(db: Database, row: Record | None, by: Author, *, is_disabled: bool) -> None:
    """Write down a login that failed: in the account's tenant, or in none's when there is no such account.

    What was typed is not kept: people type passwords into the wrong field.
    """
    tenant_id = NOBODYS if row is None else row["tenant_id"]
    target = Target("user", None if row is None else str(row["user_id"]))
    why = "no such account" if row is None else "disabled" if is_disabled else "wrong password"
    await db.in_transaction(
        lambda transaction: audit.record(transaction, tenant_id, by, Action.USER_LOGIN_FAILED, target, {"why": why}), tenant_id=tenant_id
    )


async def set_disabled(db: Database, email: str, *, is_disabled: bool, by: Author = SYSTEM) -> None:
    """Disable a user, whose tokens then stop within 5 s, or let them in again. Raises NotFound."""
    action = Action.USER_DISABLED if is_disabled else Action.USER_ENABLED

    async def act(transaction: Transaction) -> None:
        found = await store.set_disabled(transaction, normalise_email(email) or "", is_disabled=is_disabled)
        if found is None:
            raise NotFound(f"there is no user {email}")
        user_id, tenant_id = found
        await audit.record(transaction, tenant_id, by, action, Target("user", str(user_id)))

    await db.in_transaction(act)


async def sweep_tries(db: Database) -> int:
    """Forget accounts and addresses that tried nothing for long; answers how many, at most SWEPT_MAX."""
    return await store.sweep_tries(db, limit=SWEPT_MAX)


async def _spend(db: Database, subjects: dict[UUID, int]) -> None:
    """Let all of the subjects try, or none. Raises TooManyAttempts."""

    async def spend(transaction: Transaction) -> None:
        wait_s = await store.spend_tries(transaction, subjects=list(subjects), steps_s=_steps_s(subjects), window_s=WINDOW_S)
        if wait_s is not None:
            raise TooManyAttempts("too many attempts for this account or from this address", retry_after_s=wait_s)

    await db.in_transaction(spend)


def _steps_s(subjects: dict[UUID, int]) -> list[float]:
    """Seconds between two tries of each at its rate."""
    return [WINDOW_S / tries for tries in subjects.values()]


def _subject(kind: str, *parts: str) -> UUID:
    text = "\0".join((kind, *parts))
    return UUID(bytes=hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])


def _network(address: str) -> str:
    """What stands for a caller's address: itself, or its network where one caller has a whole one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, NETWORK_BITS), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
