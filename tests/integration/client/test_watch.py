"""Watching through the client: the whole history, once, through whatever breaks in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from jobqueue import AsyncClient, Client
from jobqueue.client.problems import Unreachable
from jobqueue.domain.errors import Unauthenticated
from jobqueue.protocol.live import JobChanged, Reset, SnapshotEnd, SnapshotJob
from tests.faults.proxy import CALM, Mood, Proxy
from tests.integration.api.test_live import HOST, SIMPLE, Live, live, run_one

__all__ = ["live"]


@asynccontextmanager
async def watching(live: Live, *, port: int | None = None, retry_for: float = 30, **chosen: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """A watch that has begun."""
    client = AsyncClient(f"http://{HOST}:{port or live.port}", api_key=live.api.key, retry_for=retry_for)
    async with client, aclosing(client.watch(**chosen)) as told:  # type: ignore[type-var]
        yield told


async def take(told: AsyncIterator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(30):
        return [await anext(told) for _ in range(count)]


async def test_watch_tells_what_happens(live: Live) -> None:
    async with watching(live, after="0", queue="mail") as told:
        first = asyncio.create_task(take(told, 4))
        await run_one(live.api)
        job_id = await run_one(live.api, queue="mail")
        events = await first
    assert [event.type for event in events] == SIMPLE
    assert {event.job.id for event in events} == {job_id}


async def test_watch_begins_with_a_snapshot_when_asked(live: Live) -> None:
    job_id = await live.api.engine.submit(live.api.caller)
    async with watching(live, snapshot=True) as told:
        shown, end = await take(told, 2)
        assert isinstance(shown, SnapshotJob)
        assert isinstance(end, SnapshotEnd)
        assert (shown.job.id, shown.job.status) == (job_id, "queued")
        await live.api.engine.settle(await live.api.engine.claim_one())
        assert [event.type for event in await take(told, 3)] == SIMPLE[1:]


async def test_watch_comes_back_where_it_was(live: Live) -> None:
    async with Proxy("clients", live.port).running() as proxy, watching(live, port=proxy.port, after="0") as told:
        cursors = []
        for number in range(3):
            await run_one(live.api)
            cursors += [int(event.cursor) for event in await take(told, 2)]
            proxy.behave(Mood(refuses=True))
            proxy.reset()
            await run_one(live.api)
            proxy.behave(CALM)
            cursors += [int(event.cursor) for event in await take(told, 6)]
            assert len(cursors) == 8 * (number + 1)
    rows = await live.api.engine.raw.fetch("SELECT seq, leased_at, started_at FROM jobqueue.event ORDER BY seq")
    known = [row["seq"] * 8 + place for row in rows for place in range(3) if place == 2 or row[1 + place] is not None]
    assert cursors == known


async def test_watch_says_that_history_is_gone_and_goes_on(live: Live) -> None:
    await live.api.engine.raw.execute("INSERT INTO jobqueue.forgotten (seq) VALUES (10)")
    async with watching(live, after="8") as told:
        (reset,) = await take(told, 1)
        assert isinstance(reset, Reset)
        await run_one(live.api)
        assert all(isinstance(event, JobChanged) for event in await take(told, 4))


async def test_watch_that_is_refused_says_why(live: Live) -> None:
    async with AsyncClient(f"http://{HOST}:{live.port}", api_key="jq_no") as client:
        with pytest.raises(Unauthenticated):
            await anext(client.watch())  # type: ignore[arg-type]


async def test_watch_of_a_service_that_stays_away_ends(live: Live) -> None:
    async with Proxy("clients", live.port).running() as proxy:
        proxy.behave(Mood(refuses=True))
        async with watching(live, port=proxy.port, retry_for=0.2) as told:
            with pytest.raises(Unreachable):
                await take(told, 1)


async def test_blocking_client_watches_the_same(live: Live) -> None:
    await run_one(live.api)

    def watch() -> list[str]:
        with Client(f"http://{HOST}:{live.port}", api_key=live.api.key) as client:
            told = client.watch(after="0")
            return [next(told).type for _ in range(4)]  # type: ignore[call-overload]

    assert await asyncio.to_thread(watch) == SIMPLE
