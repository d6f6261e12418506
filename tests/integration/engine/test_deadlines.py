"""A call whose link has gone silent ends at its deadline: asyncpg's own cancellation would wait for an answer."""

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest

from jobqueue.domain.errors import DatabaseUnavailable
from jobqueue.store.pool import Database
from jobqueue.store.statements import statement
from tests.engine import Engine
from tests.faults.proxy import CALM, Mood, Proxy

DEADLINE_S, SLACK_S = 0.3, 3.0


def through(dsn: str, port: int) -> str:
    """The same database by way of a proxy."""
    parts = urlsplit(dsn)
    account = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{port}"))


async def test_call_on_a_frozen_link_ends_at_its_deadline_and_the_pool_is_whole_after(engine: Engine) -> None:
    port = urlsplit(engine.dsn).port
    assert port is not None
    async with Proxy("frozen", port).running() as proxy:
        db = await Database.open(through(engine.dsn, proxy.port), size=2, application_name="frozen")  # not full: waits are long
        clock = statement("server/clock")
        await db.fetch(clock)
        proxy.behave(Mood(is_frozen=True))
        async with asyncio.timeout(DEADLINE_S + SLACK_S):
            with pytest.raises(DatabaseUnavailable):
                await db.fetch(clock, deadline_s=DEADLINE_S)
        proxy.behave(CALM)
        assert await db.fetch(clock)
        await db.close()
