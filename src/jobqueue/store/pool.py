"""The pool: one per process, and every await on it has a deadline that ends in `terminate()`.

asyncpg's own cancellation waits for the server's answer, so on a frozen link it hangs (failures.md 1.6). Here a connection whose call did
not end by an answer of the server is terminated, never handed back. No session state is kept, so connections are not reset between
uses and a transaction pooler may stand in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar, cast

import asyncpg

from jobqueue.domain.errors import DatabaseUnavailable, JobQueueError
from jobqueue.store import wall
from jobqueue.store.failures import LockNotAvailable, RolledBack, is_healthy_after, translate
from jobqueue.store.statements import Statement

DEADLINE_S: Final = 4.5
"""How long one call may take that does not say more. With CONNECT_S_MAX before it, less than 10 s in all; longer ones count the wait."""
CONNECT_S_MAX: Final = 5.0
POOL_WAIT_S_MAX: Final = 1.0
"""Waiting longer for one of the pool's connections is overload: the caller is told to come back.

While the pool has not all of its connections, a wait may be for one that is being made, and gets CONNECT_S_MAX: cut off sooner, a
connection that takes longer than this to make (a far server, a busy machine after all were lost at once) would be begun for ever and
never made.
"""
TRIES_MAX: Final = 5
"""Of a statement that was rolled back for certain."""
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT, USER_TIMEOUT_MS = 5, 2, 3, 10_000

Record = asyncpg.Record
Result = TypeVar("Result")


def connect_arguments(dsn: str, *, application_name: str) -> dict[str, Any]:
    """What every connection of ours is opened with. Several hosts: only one that accepts writes will do."""
    arguments: dict[str, Any] = {"dsn": dsn, "timeout": CONNECT_S_MAX, "server_settings": {"application_name": application_name}}
    authority = dsn.split("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]
    if "," in authority:
        arguments["target_session_attrs"] = "read-write"
    return arguments


async def connect(dsn: str, *, application_name: str) -> Any:
    """Open one connection outside the pool. dsn: any asyncpg takes, several hosts and `?sslmode=` too."""
    return await asyncpg.connect(**connect_arguments(dsn, application_name=application_name))


async def keep_alive(connection: Any) -> None:
    """Let the kernel notice a dead peer: asyncpg sets neither keepalives nor a user timeout."""
    handle = connection._transport.get_extra_info("socket")
    if handle is None or handle.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(handle.fileno())) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ):
            if hasattr(socket, option):
                duplicate.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _no_reset(_: Any) -> None:
    """Connections carry no session state, so nothing needs to be undone."""


@dataclass(slots=True)
class Transaction:
    """Statements that commit together; made by `Database.transaction`."""

    _connection: Any

    async def fetch(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Run a statement and return its rows."""
        return cast(list[Record], await self._connection.fetch(statement.text, *statement.arguments(values)))

    async def fetch_row(self, statement: Statement, /, **values: Any) -> Record | None:
        """Run a statement and return its first row."""
        return cast("Record | None", await self._connection.fetchrow(statement.text, *statement.arguments(values)))

    async def fetch_value(self, statement: Statement, /, **values: Any) -> Any:
        """Run a statement and return the first column of its first row."""
        return await self._connection.fetchval(statement.text, *statement.arguments(values))


async def _open_pool(dsn: str, *, size: int, size_min: int, application_name: str, **options: Any) -> tuple[Any, bool]:
    """Make the driver's pool; answers also whether its first connection goes through a transaction pooler."""
    found: list[bool] = []

    async def prepare(connection: Any) -> None:
        await keep_alive(connection)
        if not found:
            found.append(await is_behind_pooler(connection))

    pool = asyncpg.create_pool(
        min_size=max(1, size_min),
        max_size=size,
        reset=_no_reset,
        init=prepare,
        max_inactive_connection_lifetime=0,
        **options,
        **connect_arguments(dsn, application_name=application_name),
    )
    try:
        async with asyncio.timeout(CONNECT_S_MAX * 2):
            await pool
    except BaseException as error:
        if (reaction := translate(error)) is not None:
            raise reaction from error
        raise
    return pool, found[0]


async def is_behind_pooler(connection: Any) -> bool:
    """Say whether the process that answers is another one than the one that greeted: a pooler makes up the number it greets with.

    Asked by the simple protocol, which prepares nothing; its answer is in the number of rows.
    """
    told: str = await connection.execute(f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid():d}")
    return told == "SELECT 0"


class Database:
    """A pool of connections to one database. Every method raises the errors of `failures.translate`, chained to the driver's."""

    is_pooled = False
    """Whether a transaction pooler stands in between: then only what is inside a transaction stays on one server connection."""

    has_wall = False
    """Whether statements of one tenant run as the role that row-level security binds; set once the database is known to have it."""

    def __init__(self, pool: Any, *, size: int, is_pooled: bool = False) -> None:
        self._pool = pool
        self.size = size
        self.is_pooled = is_pooled
        self.on_wait: Callable[[float], None] | None = None
        """Is told how long somebody waited for a connection, s, when none was free; must not raise."""

    @classmethod
    async def open(cls, dsn: str, *, size: int, application_name: str, size_min: int = 1) -> Self:
        """Connect. Raises DatabaseUnavailable when the server cannot be reached.

        A transaction pooler in between is noticed by itself. Prepared statements are then left out: PgBouncer before 1.21 hands a
        connection on without them.
        """
        pool, is_pooled = await _open_pool(dsn, size=size, size_min=size_min, application_name=application_name)
        if is_pooled:  # nothing was prepared yet
            pool.terminate()
            pool, _ = await _open_pool(dsn, size=size, size_min=size_min, application_name=application_name, statement_cache_size=0)
        return cls(pool, size=size, is_pooled=is_pooled)

    async def close(self) -> None:
        """Close every connection; one that does not answer within a second is cut."""
        try:
            async with asyncio.timeout(1):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()

    @property
    def idle(self) -> int:
        """Connections nobody uses now."""
        return int(self._pool.get_idle_size())

    def connections(self) -> tuple[int, int]:
        """Count the pool's connections that somebody uses now, and those that nobody does."""
        idle = self.idle
        return int(self._pool.get_size()) - idle, idle

    async def fetch(self, statement: Statement, /, *, deadline_s: float = DEADLINE_S, **values: Any) -> list[Record]:
        """Run one statement in a transaction of its own and return its rows; committed when this returns."""
        tenant_id = values["tenant_id"] if self.has_wall and statement.is_of_one_tenant else None
        if self.is_pooled:
            return await self.in_transaction(
                lambda transaction: transaction.fetch(statement, **values), deadline_s=deadline_s, tenant_id=tenant_id
            )
        arguments = statement.arguments(values)
        if tenant_id is not None:
            walled = await self._try(lambda connection: wall.fetch(connection, statement, arguments, tenant_id), deadline_s)
            return cast(list[Record], walled)
        return cast(list[Record], await self._try(lambda connection: connection.fetch(statement.text, *arguments), deadline_s))

    async def fetch_row(self, statement: Statement, /, *, deadline_s: float = DEADLINE_S, **values: Any) -> Record | None:
        """Like `fetch`, the first row or None."""
        rows = await self.fetch(statement, deadline_s=deadline_s, **values)
        return rows[0] if rows else None

    async def fetch_value(self, statement: Statement, /, *, deadline_s: float = DEADLINE_S, **values: Any) -> Any:
        """Like `fetch`, the first column of the first row or None."""
        rows = await self.fetch(statement, deadline_s=deadline_s, **values)
        return rows[0][0] if rows else None

    async def in_transaction(
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        deadline_s: float = DEADLINE_S,
        is_snapshot: bool = False,
        tenant_id: int | None = None,
    ) -> Result:
        """Run `work` in one transaction; committed when this returns. After a certain rollback it is run again from its start.

        is_snapshot: it only reads, and all it reads is of one moment. tenant_id: all its statements are of this tenant (store/wall.py).
        """
        options: dict[str, Any] = {"isolation": "repeatable_read", "readonly": True} if is_snapshot else {}

        async def run(connection: Any) -> Result:
            async with connection.transaction(**options):
                if tenant_id is not None and self.has_wall:
                    await connection.execute(wall.settings(tenant_id))
                return await work(Transaction(connection))

        return cast(Result, await self._try(run, deadline_s))

    async def _try(self, work: Callable[[Any], Awaitable[Any]], deadline_s: float) -> Any:
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            try:
                asked_at = time.monotonic()
                async with self._connection() as connection, _deadline(connection, left_s(deadline_s, time.monotonic() - asked_at)):
                    return await work(connection)
            except LockNotAvailable:
                raise
            except RolledBack:
                if not tries_left:
                    raise DatabaseUnavailable("the database rolled the statement back too often") from None
        raise AssertionError

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        wait_s = POOL_WAIT_S_MAX if self._pool.get_size() >= self.size else CONNECT_S_MAX
        asked_at = None if self.on_wait is None or self._pool.get_idle_size() else time.monotonic()
        try:
            async with asyncio.timeout(wait_s):  # given to acquire(), it would make a task of it before Python 3.12
                connection = await self._pool.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no connection was free or could be made within {wait_s:g} s") from error
        except Exception as error:
            raise (translate(error) or error) from error
        finally:
            if asked_at is not None and self.on_wait is not None:
                self.on_wait(time.monotonic() - asked_at)
        try:
            yield connection
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection)


def left_s(deadline_s: float, waited_s: float) -> float:
    """Say how long a call may still take that has waited for its connection: the wait counts, except against DEADLINE_S."""
    return max(min(deadline_s, DEADLINE_S), deadline_s - waited_s)


@contextlib.asynccontextmanager
async def _deadline(connection: Any, deadline_s: float) -> AsyncIterator[None]:
    """Bound what is done on a connection; unless the server answered, terminate it, for cancelling can hang."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except BaseException as error:
        if not isinstance(error, JobQueueError) and not is_healthy_after(error):
            with contextlib.suppress(asyncpg.InterfaceError):  # a killed one has left for the pool by itself
                connection.terminate()
        if isinstance(error, JobQueueError) or (reaction := translate(error)) is None:
            raise
        raise reaction from error
