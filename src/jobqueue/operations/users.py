"""People: they register with a tenant of their own, log in, and are known by their tokens until they are disabled.

Tries are paced in Postgres, so that all processes together keep to the rates: of one account from one address, of one account, and of one
address. A login that succeeds gives its try back. Whether the account exists makes no difference in any of this.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.domain.access import REFUSAL, TENANT_SCOPES, Principal
from jobqueue.domain.errors import InvalidFields, NameTaken, NotFound, TooManyAttempts, Unauthenticated
from jobqueue.domain.job import TENANT_NAME
from jobqueue.domain.person import normalise_email, password_fault
from jobqueue.operations.passwords import Passwords
from jobqueue.operations.remembered import Remembered
from jobqueue.store import tenants as tenant_store
from jobqueue.store import users as store
from jobqueue.store.pool import Database, Transaction

WINDOW_S: Final = 600.0
TRIES_OF_PAIR, TRIES_OF_ACCOUNT, TRIES_OF_ADDRESS = 10, 50, 100
"""Tries in a window: of an account from one address; of an account from anywhere, so that a stranger alone cannot lock its owner out; of an
address, which may be a whole office's."""
SWEPT_MAX: Final = 10_000
NETWORK_BITS: Final = 64
"""What one caller has of IPv6 addresses."""
FREE_PLAN: Final = "free"


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


async def register(db: Database, passwords: Passwords, *, email: str, password: str, tenant: str, address: str) -> Principal:
    """Make a tenant and its owner, both or neither.

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
        return Principal("user", str(user_id), tenant_id, tenant, frozenset(scopes))

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


async def log_in(db: Database, passwords: Passwords, *, email: str, password: str, address: str) -> Principal:
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
        raise Unauthenticated(REFUSAL)
    await store.note_login(db, tenant_id=row["tenant_id"], user_id=row["user_id"], password_hash=verdict.fresh_hash)
    await store.refund_tries(db, subjects=list(subjects), steps_s=_steps_s(subjects))
    return store.principal_of(row)


async def set_disabled(db: Database, email: str, *, is_disabled: bool) -> None:
    """Disable a user, whose tokens then stop within 5 s, or let them in again. Raises NotFound."""
    if not await store.set_disabled(db, normalise_email(email) or "", is_disabled=is_disabled):
        raise NotFound(f"there is no user {email}")


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
