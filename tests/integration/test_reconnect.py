"""A database that is far away, or slow to let one in, can be come back to."""

from __future__ import annotations

import contextlib

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.operations import server
from jobqueue.operations.database import open_database
from jobqueue.store import pool
from tests.faults.proxy import Mood, Proxy


async def test_a_connection_that_takes_longer_than_the_wait_for_a_free_one_is_made(database: str) -> None:
    port = int(database.rsplit(":", 1)[1].partition("/")[0])
    async with Proxy("far", port).running() as proxy:
        db = await open_database(database.replace(f":{port}/", f":{proxy.port}/"), size=2, application_name="test")
        try:
            proxy.behave(Mood(delay_s=pool.POOL_WAIT_S_MAX / 6))  # some five round trips make a connection
            proxy.reset()
            for _ in range(2):  # the cut ones may be noticed only now
                with contextlib.suppress(DatabaseUnavailable):
                    await server.check(db, is_unsafe_accepted=True)
            await server.check(db, is_unsafe_accepted=True)
        finally:
            await db.close()
