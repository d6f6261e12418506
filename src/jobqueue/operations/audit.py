"""The audit trail: an act is written down in its own transaction, so that there is no act without its row and no row without its act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from jobqueue.domain.audit import FIELD_BYTES_MAX, FIELDS_MAX, Action, AuditFilter, AuditRow, Author, Target
from jobqueue.store import audit as store
from jobqueue.store.pool import Database, Transaction


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Rows, newest first. next_before: the next page holds rows older than this id, None at the end."""

    rows: Sequence[AuditRow]
    next_before: UUID | None


async def record(
    transaction: Transaction, tenant_id: int, by: Author, action: Action, target: Target, data: Mapping[str, Any] | None = None
) -> None:
    """Write down an act, in the transaction that does it. tenant_id: whose thing it was done to; NOBODYS: none's.

    data: what changed, in JSON's types; no secrets, no payloads. A field that is too long is replaced by its size.
    """
    fields = data or {}
    assert len(fields) <= FIELDS_MAX
    content = {name: _bounded(value) for name, value in fields.items()}
    await store.record(transaction, tenant_id, by, action, target, data_json=orjson.dumps(content).decode())


def _bounded(value: Any) -> Any:
    size = len(orjson.dumps(value))
    return value if size <= FIELD_BYTES_MAX else {"left_out_bytes": size}


async def page(
    db: Database, tenant_id: int | None, audit_filter: AuditFilter, *, before: UUID | None, limit: int, is_operator: bool = False
) -> AuditPage:
    """Read a page of a tenant's rows, or with None of all there are. It may be short while there is more.

    Unless is_operator, who an operator is and where they sit is left out.
    """
    found = await store.page(db, tenant_id, audit_filter, before=before, limit=limit + 1, is_operator=is_operator)
    rows = found.rows[:limit]
    return AuditPage(rows, rows[-1].audit_id if len(found.rows) > limit else found.stopped_at)
