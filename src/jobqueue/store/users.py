"""People, and how fast logins may be tried."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from jobqueue.domain.access import Principal
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement


async def create(transaction: Transaction, *, tenant_id: int, email: str, password_hash: str, scopes: Sequence[str]) -> UUID | None:
    """Make a user; answers the id, None when the email belongs to somebody."""
    user_id: UUID | None = await transaction.fetch_value(
        statement("users/create"), tenant_id=tenant_id, email=email, password_hash=password_hash, scopes=list(scopes)
    )
    return user_id


async def create_tenant(transaction: Transaction, name: str, *, plan: str) -> int | None:
    """Make the tenant of a user who registers; answers its number, None when the name is taken."""
    number: int | None = await transaction.fetch_value(
        statement("tenants/create"), name=name, plan=plan, max_concurrent=None, max_queued=None, rate_per_minute=None
    )
    return number


async def find_by_email(db: Database, email: str) -> Record | None:
    """Read a user who wants to log in; columns as in sql/users/find_by_email.sql."""
    return await db.fetch_row(statement("users/find_by_email"), email=email)


async def find(db: Database, user_id: UUID) -> Principal | None:
    """Read a user who is not disabled."""
    row = await db.fetch_row(statement("users/find"), user_id=user_id)
    return None if row is None else principal_of(row)


def principal_of(row: Record) -> Principal:
    """Make a caller of a user's row."""
    return Principal("user", str(row["user_id"]), row["tenant_id"], row["tenant"], frozenset(row["scopes"]), row["email"])


async def note_login(transaction: Transaction, *, tenant_id: int, user_id: UUID, password_hash: str | None) -> None:
    """Note a login; password_hash: kept from now on, None: the old one stays."""
    await transaction.fetch(statement("users/logged_in"), tenant_id=tenant_id, user_id=user_id, password_hash=password_hash)


async def set_disabled(transaction: Transaction, email: str, *, is_disabled: bool) -> tuple[UUID, int] | None:
    """Disable a user or let them in again; answers the user and the tenant, None when there is none."""
    row = await transaction.fetch_row(statement("users/set_disabled"), email=email, is_disabled=is_disabled)
    return None if row is None else (row["user_id"], row["tenant_id"])


async def spend_tries(transaction: Transaction, *, subjects: Sequence[UUID], steps_s: Sequence[float], window_s: float) -> float | None:
    """Let each subject try once more; answers None, or the seconds to wait, and then the caller rolls back."""
    values = {"subjects": list(subjects), "steps_s": list(steps_s), "window_s": window_s}
    if len(await transaction.fetch(statement("login_buckets/spend"), **values)) == len(subjects):
        return None
    return float(await transaction.fetch_value(statement("login_buckets/wait"), **values))


async def refund_tries(db: Database, *, subjects: Sequence[UUID], steps_s: Sequence[float]) -> None:
    """Take back what a try had spent."""
    await db.fetch(statement("login_buckets/refund"), subjects=list(subjects), steps_s=list(steps_s))


async def sweep_tries(db: Database, *, limit: int) -> int:
    """Forget subjects that have not run ahead; answers how many."""
    return len(await db.fetch(statement("login_buckets/sweep"), limit=limit))
