"""Names outside, numbers inside: look up, add, and name again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from jobqueue.store.pool import Database
from jobqueue.store.statements import statement

Noun = Literal["queues", "job_types"]
TRIES_MAX: Final = 3


async def numbers(db: Database, noun: Noun, names: Iterable[str], *, is_new_allowed: bool) -> dict[str, int]:
    """Answer the numbers of names; unknown ones are added, or left out."""
    wanted = sorted(set(names))
    for _ in range(TRIES_MAX):
        found = {row["name"]: row["number"] for row in await db.fetch(statement(f"{noun}/find"), names=wanted)}
        missing = [name for name in wanted if name not in found]
        if not missing or not is_new_allowed:
            return found
        # what a concurrent caller adds in between is found by the next look
        found |= {row["name"]: row["number"] for row in await db.fetch(statement(f"{noun}/add"), names=missing)}
        if len(found) == len(wanted):
            return found
    raise AssertionError(f"{noun} cannot be added: {wanted}")


async def key_numbers(db: Database, tenant_id: int, queue_id: int, names: Iterable[str]) -> dict[str, int]:
    """Answer the numbers of a queue's concurrency keys; unknown ones are added."""
    wanted = sorted(set(names))
    for _ in range(TRIES_MAX):
        rows = await db.fetch(statement("concurrency_keys/find"), tenant_id=tenant_id, queue_id=queue_id, names=wanted)
        found = {row["name"]: row["key_id"] for row in rows}
        missing = [name for name in wanted if name not in found]
        if missing:
            rows = await db.fetch(statement("concurrency_keys/add"), tenant_id=tenant_id, queue_id=queue_id, names=missing)
            found |= {row["name"]: row["key_id"] for row in rows}
        if len(found) == len(wanted):
            return found
    raise AssertionError(f"concurrency keys cannot be added: {wanted}")


async def names_of(db: Database, noun: Literal["queues", "job_types", "tenants"], numbers: Iterable[int]) -> dict[int, str]:
    """Answer the names of numbers."""
    rows = await db.fetch(statement(f"{noun}/name"), numbers=list(numbers))
    return {row["number"]: row["name"] for row in rows}
