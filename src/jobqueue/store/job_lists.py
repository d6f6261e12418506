"""Find a tenant's jobs by filter, newest first, reading a bounded number of rows.

A job's place decides where to read: each status has a source whose index is (tenant, ..., job id), so a page costs the same at any depth.
Filters the source cannot answer are applied to its newest rows, at most `SCANNED_ROWS_MAX` of them; then the page may be short and the
next one goes on where this one stopped reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CompoundSelect, Select, and_, bindparam, exists, func, literal, select, union_all
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Text, Uuid

from jobqueue.domain.job_filter import SCANNED_ROWS_MAX, JobFilter
from jobqueue.domain.lifecycle import Status
from jobqueue.store.pool import Transaction
from jobqueue.store.statements import Statement
from jobqueue.store.tables import blocked, ended, inbox, job, lease, outcome, parked, ready, scheduled

DIALECT: Final = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
JOINED_ROWS_MAX: Final = 2_000
"""Rows read where each needs a look into another table; keeps a page of a rare match under 20 ms."""
FILTERED: Final = ("queue_id", "type_id", "priority", "tags", "correlation_id")
"""Columns of job that filters ask for; place tables carry the first three too."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A filter's names as numbers; None: not filtered. An unknown name has no number, so an empty list matches nothing."""

    queue_ids: list[int] | None
    type_ids: list[int] | None


@dataclass(frozen=True, slots=True)
class Found:
    """Ids of a page, newest first. stopped_at: the last id read when reading ended before the tenant's jobs did, else None."""

    job_ids: list[UUID]
    stopped_at: UUID | None


def _source(status: Status) -> list[tuple[Any, list[ColumnElement[bool]]]]:
    match status:
        case Status.QUEUED:
            return [(ready, []), (parked, []), (inbox, [])]
        case Status.SCHEDULED:
            return [(scheduled, [scheduled.c.reason != "retry"])]
        case Status.FAILED:
            return [(scheduled, [scheduled.c.reason == "retry"])]
        case Status.BLOCKED:
            return [(blocked, [])]
        case Status.LEASED:
            return [(lease, [lease.c.started_at.is_(None)])]
        case Status.RUNNING:
            return [(lease, [lease.c.started_at.is_not(None)])]
        case Status.SUCCEEDED:
            return [(outcome, [outcome.c.state == "succeeded"])]
        case Status.DLQ | Status.CANCELLED | Status.EXPIRED:
            return [(ended, [ended.c.status == status.value])]


def _newest(table: Any, conditions: Sequence[ColumnElement[bool]], window: _Window) -> Select[Any]:
    """The newest rows of one source within the window, with those of their columns that filters ask for."""
    bounds = [table.c.tenant_id == window.tenant_id, table.c.job_id < window.before, table.c.job_id >= window.since]
    columns = [table.c[name] for name in window.columns if name in table.c]
    return select(table.c.job_id, *columns).where(and_(*bounds, *conditions)).order_by(table.c.job_id.desc()).limit(window.rows_max)


@dataclass(frozen=True, slots=True)
class _Window:
    tenant_id: int
    before: Any
    since: Any
    rows_max: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A source of ids, newest first; whether its rows carry all that filters ask for; and statuses still to be looked up."""

    driver: Select[Any] | CompoundSelect[Any]
    is_complete: bool
    rows_max: int
    statuses: tuple[Status, ...] = ()


def _plans(job_filter: JobFilter, numbers: Numbers, window: _Window) -> Iterator[_Plan]:
    """The ways to answer a filter, the likelier one first."""
    if job_filter.statuses:
        sources = [source for status in job_filter.statuses for source in _source(status)]
        is_complete = all(name in table.c for table, _ in sources for name in window.columns)
        window = window if is_complete else replace(window, columns=(), rows_max=JOINED_ROWS_MAX)
        yield _Plan(_union([_newest(*source, window) for source in sources], window), is_complete, window.rows_max)
    if numbers.type_ids is not None:  # a type that is rare among the jobs of these statuses is found by its own index
        window = replace(window, columns=(), rows_max=JOINED_ROWS_MAX) if job_filter.statuses else window
        driver = _union([_newest(job, [job.c.type_id == type_id], window) for type_id in numbers.type_ids], window)
        yield _Plan(driver, not job_filter.statuses, window.rows_max, job_filter.statuses)
    elif not job_filter.statuses:
        yield _Plan(_newest(job, [], window), is_complete=True, rows_max=window.rows_max)


def _union(parts: list[Select[Any]], window: _Window) -> Select[Any] | CompoundSelect[Any]:
    assert parts
    if len(parts) == 1:
        return parts[0]
    merged = union_all(*(part.subquery().select() for part in parts)).subquery()
    return select(*merged.c).order_by(merged.c.job_id.desc()).limit(window.rows_max)


def _columns(job_filter: JobFilter, numbers: Numbers) -> tuple[str, ...]:
    """The columns a filter asks for."""
    asked = (numbers.queue_ids is not None, numbers.type_ids is not None, *map(bool, (job_filter.priorities, job_filter.tags)))
    return tuple(name for name, is_asked in zip(FILTERED, (*asked, bool(job_filter.correlation_ids)), strict=True) if is_asked)


def _matches(columns: Any, job_filter: JobFilter, numbers: Numbers) -> list[ColumnElement[bool]]:
    """What must hold for a row that carries the columns."""
    conditions: list[ColumnElement[bool]] = []
    if numbers.queue_ids is not None:
        conditions.append(columns.queue_id.in_(numbers.queue_ids))
    if numbers.type_ids is not None:
        conditions.append(columns.type_id.in_(numbers.type_ids))
    if job_filter.priorities:
        conditions.append(columns.priority.in_(job_filter.priorities))
    if job_filter.tags:
        conditions.append(columns.tags.contains(bindparam("tags", list(job_filter.tags), type_=ARRAY(Text))))
    if job_filter.correlation_ids:
        conditions.append(columns.correlation_id.in_(job_filter.correlation_ids))
    return conditions


def _in_status(statuses: tuple[Status, ...]) -> list[ColumnElement[bool]]:
    if not statuses:
        return []
    if statuses == (Status.SUCCEEDED,):
        own = (outcome.c.tenant_id == job.c.tenant_id, outcome.c.job_id == job.c.job_id)
        return [exists().where(*own, outcome.c.state == "succeeded")]
    status = func.jobqueue.status_v1(job.c.tenant_id, job.c.job_id)
    return [status.in_([each.value for each in statuses])]


def _page(tenant_id: int, plan: _Plan, job_filter: JobFilter, numbers: Numbers, limit: int) -> Select[Any]:
    """The page: reading stops as soon as it is full, since nothing in it sorts."""
    read = plan.driver.subquery("read")
    if plan.is_complete:
        return select(read.c.job_id).where(*_matches(read.c, job_filter, numbers)).limit(limit)
    conditions = _matches(job.c, job_filter, numbers) + _in_status(plan.statuses)
    own = (job.c.tenant_id == tenant_id, job.c.job_id == read.c.job_id)
    match = select(job.c.job_id).where(*own, *conditions).offset(0).lateral("match")
    return select(match.c.job_id).select_from(read.join(match, literal(value=True))).limit(limit)


def compile_core(query: Any, name: str) -> tuple[Statement, list[Any]]:
    """Turn a Core query into positional text and its arguments."""
    compiled = query.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    return Statement(name, str(compiled), tuple(compiled.positiontup)), [compiled.params[key] for key in compiled.positiontup]


async def find(
    transaction: Transaction, tenant_id: int, job_filter: JobFilter, numbers: Numbers, *, before: UUID | None, limit: int
) -> Found:
    """Find up to limit jobs older than `before`, newest first. Of two ways that both stop short, the one that read further back counts."""
    if numbers.queue_ids == [] or numbers.type_ids == []:
        return Found([], None)  # only names nobody ever used
    window = _window(tenant_id, job_filter, before=before, columns=_columns(job_filter, numbers))
    best: Found | None = None
    for plan in _plans(job_filter, numbers, window):
        page = _page(tenant_id, plan, job_filter, numbers, limit)
        found = await _read(transaction, plan, page, limit=limit)
        if found.stopped_at is None:
            return found
        if best is None or best.stopped_at is None or found.stopped_at < best.stopped_at:
            best = found
    assert best is not None
    return best


def _window(tenant_id: int, job_filter: JobFilter, *, before: UUID | None, columns: tuple[str, ...]) -> _Window:
    top: Any = UUID(int=2**128 - 1) if before is None else before
    if job_filter.created_before is not None:
        top = func.least(literal(top, Uuid), func.jobqueue.id_at(job_filter.created_before))
    since: Any = UUID(int=0) if job_filter.created_after is None else func.jobqueue.id_at(job_filter.created_after)
    return _Window(tenant_id, top, since, SCANNED_ROWS_MAX, columns)


async def _read(transaction: Transaction, plan: _Plan, page: Select[Any], *, limit: int) -> Found:
    rows = await _fetch(transaction, page, "jobs/list")
    job_ids = [row[0] for row in rows]
    if len(job_ids) >= limit:
        return Found(job_ids, None)
    read = plan.driver.subquery("read")
    end = select(read.c.job_id).order_by(read.c.job_id.desc()).offset(plan.rows_max - 1).limit(1)
    last = await _fetch(transaction, end, "jobs/list_end")
    return Found(job_ids, last[0][0] if last else None)


async def _fetch(transaction: Transaction, query: Any, name: str) -> list[Any]:
    statement, arguments = compile_core(query, name)
    return await transaction.fetch(statement, **dict(zip(statement.parameters, arguments, strict=True)))
