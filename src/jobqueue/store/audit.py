"""The audit trail: rows are written and read, never changed.

A page of a tenant's with one filter is read by that filter's index. With several, or over all tenants, it reads the newest SCANNED_ROWS_MAX
rows by the one that narrows most; where the others leave few of those, the page is short and the next one goes on where it stopped reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, literal, select
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Uuid

from jobqueue.domain.audit import Action, ActorKind, AuditFilter, AuditRow, Author, Target
from jobqueue.domain.job_filter import SCANNED_ROWS_MAX
from jobqueue.store.job_lists import compile_core
from jobqueue.store.pool import Database, Record, Transaction
from jobqueue.store.statements import statement
from jobqueue.store.tables import audit, tenant

RECORD: Final = statement("audit/record")
HIDDEN: Final = (ActorKind.OPERATOR, ActorKind.CLI)
"""Whose names and addresses are no tenant's to read."""
PAGE_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a page, newest first. stopped_at: the last id read when reading ended before the rows did, else None."""

    rows: list[AuditRow]
    stopped_at: UUID | None


async def record(transaction: Transaction, tenant_id: int, by: Author, action: Action, target: Target, *, data_json: str) -> None:
    """Write one row."""
    await transaction.fetch(
        RECORD,
        tenant_id=tenant_id,
        actor_kind=by.kind,
        actor_id=by.id,
        actor_name=by.name,
        action=action,
        target_kind=target.kind,
        target_id=target.id,
        request_id=by.request_id,
        correlation_id=by.correlation_id,
        address=by.address,
        data=data_json,
    )


async def page(
    db: Database, tenant_id: int | None, audit_filter: AuditFilter, *, before: UUID | None, limit: int, is_operator: bool
) -> Found:
    """Find up to limit rows older than `before`, newest first; tenant_id None: of all. Unless is_operator, HIDDEN actors are only kinds."""
    conditions = _conditions(audit_filter)
    is_complete = len(conditions) <= (0 if tenant_id is None else 1)  # then the driver finds the page itself
    rows_max = limit if is_complete else SCANNED_ROWS_MAX
    read = _driver(tenant_id, audit_filter, conditions, before=before).limit(rows_max).subquery("read")
    columns = [column for column in read.c if column.name != "tenant_id"]
    rows = (
        select(*columns, tenant.c.name.label("tenant"))
        .select_from(read.outerjoin(tenant, tenant.c.tenant_id == read.c.tenant_id))
        .where(*(read.c[name] == value for name, value in conditions))
        .order_by(read.c.audit_id.desc())
        .limit(limit)
    )
    end = select(read.c.audit_id).order_by(read.c.audit_id.desc()).offset(rows_max - 1).limit(1)

    async def work(transaction: Transaction) -> Found:
        found = await _fetch(transaction, rows, "audit/list")
        is_read_on = len(found) < limit and not is_complete
        last: Sequence[Record] = await _fetch(transaction, end, "audit/list_end") if is_read_on else []
        return Found([_row(row, is_operator=is_operator) for row in found], last[0]["audit_id"] if last else None)

    found = await db.in_transaction(work, deadline_s=PAGE_S_MAX, is_snapshot=True, tenant_id=tenant_id)
    if audit_filter.actor is not None and not is_operator and any(row.author.kind in HIDDEN for row in found.rows):
        return Found([], None)  # nor does a filter tell who it was
    return found


def _conditions(audit_filter: AuditFilter) -> list[tuple[str, Any]]:
    """Pairs (column, value), the one that narrows most first."""
    asked = (("target_id", audit_filter.target), ("actor_id", audit_filter.actor), ("action", audit_filter.action))
    return [(name, value) for name, value in asked if value is not None]


def _driver(tenant_id: int | None, audit_filter: AuditFilter, conditions: list[tuple[str, Any]], *, before: UUID | None) -> Select[Any]:
    """The newest rows within the bounds, by the index of the first condition; over all tenants by the rows' own order."""
    top: Any = UUID(int=2**128 - 1) if before is None else before
    if audit_filter.until is not None:
        top = func.least(literal(top, Uuid), func.jobqueue.id_at(audit_filter.until))
    bounds: list[ColumnElement[bool]] = [audit.c.audit_id < top]
    if audit_filter.since is not None:
        bounds.append(audit.c.audit_id >= func.jobqueue.id_at(audit_filter.since))
    if tenant_id is not None:
        bounds.append(audit.c.tenant_id == tenant_id)
        bounds += [audit.c[name] == value for name, value in conditions[:1]]
    return select(audit).where(*bounds).order_by(audit.c.audit_id.desc())


async def _fetch(transaction: Transaction, query: Any, name: str) -> list[Record]:
    compiled, arguments = compile_core(query, name)
    return await transaction.fetch(compiled, **dict(zip(compiled.parameters, arguments, strict=True)))


def _row(row: Record, *, is_operator: bool) -> AuditRow:
    kind = ActorKind(row["actor_kind"])
    if kind in HIDDEN and not is_operator:
        author = Author(kind, request_id=row["request_id"])
    else:
        author = Author(kind, row["actor_id"], row["actor_name"], row["request_id"], row["correlation_id"], row["address"])
    return AuditRow(
        row["audit_id"], row["at"], row["tenant"], author, row["action"], Target(row["target_kind"], row["target_id"]), row["data"]
    )


async def make_months(db: Database, *, months: int, now: datetime | None = None) -> int:
    """Make the partitions from this month on; answers how many were missing."""
    return int(await db.fetch_value(statement("audit/make_months"), months=months, now=now))


async def drop_month(db: Database, *, kept_s: float, now: datetime | None, deadline_s: float) -> str | None:
    """Drop the oldest month that is over for longer than kept_s; answers its partition's name."""
    name: str | None = await db.fetch_value(statement("audit/drop_month"), deadline_s=deadline_s, kept_s=kept_s, now=now)
    return name
