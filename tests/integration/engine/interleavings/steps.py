"""The harness of a meeting: the first transition has done its work in an open transaction, the second arrives, the first ends.

Nothing sleeps: the second is known to have arrived when Postgres shows it waiting for the first, or when it has answered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from jobqueue.domain.errors import JobQueueError
from tests.engine import WAIT_S_MAX, Engine, OneConnection

Act = Callable[[], Awaitable[Any]]

WAITS_FOR: Final = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))"


class First:
    """The transition that came first: what it did on `db` is done, its transaction is open until `end`."""

    def __init__(self, engine: Engine, connection: Any) -> None:
        self._raw = engine.raw
        self._transaction = connection.transaction()
        self.pid = connection.get_server_pid()
        self.db = OneConnection(connection)
        self.connection = connection

    async def begin(self) -> None:
        """Open the transaction."""
        await self._transaction.start()

    async def end(self, *, commits: bool) -> None:
        """Commit it or roll it back."""
        await (self._transaction.commit() if commits else self._transaction.rollback())

    async def is_waited_for(self, second: "asyncio.Task[Any]") -> bool:
        """Return once the second has arrived: True when it waits for the first, False when it has answered without."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not second.done():
                if await self._raw.fetchval(WAITS_FOR, self.pid):
                    return True
        return False

    async def meet(self, second: Act, *, waits: bool, commits: bool = True) -> Any:
        """Let the second arrive, end the first, and answer what the second answered. waits: whether it has to wait for the first."""
        task = asyncio.create_task(caught(second))
        try:
            assert await self.is_waited_for(task) is waits
            await self.end(commits=commits)
            return await task
        finally:
            task.cancel()


async def caught(act: Act) -> Any:
    """What an act answered or raised."""
    try:
        return await act()
    except JobQueueError as error:
        return error


@asynccontextmanager
async def held_open(engine: Engine, connection: Any) -> AsyncIterator[First]:
    """A transaction on a connection that stays; what `end` has not ended is rolled back."""
    made = First(engine, connection)
    await made.begin()
    try:
        yield made
    finally:
        if connection.is_in_transaction():
            await made.end(commits=False)


@asynccontextmanager
async def first(engine: Engine) -> AsyncIterator[First]:
    """A transaction of its own on a connection of its own, gone at the end whatever happened."""
    connection = await engine.connect()
    try:
        async with held_open(engine, connection) as made:
            yield made
    finally:
        connection.terminate()
