"""Wake-ups are hints: many become one NOTIFY, a dead link is noticed and made again, and nothing that was missed is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from jobqueue.domain.rotation import Lane
from jobqueue.operations import wakeups
from jobqueue.operations.wakeups import CHANNEL, Ear, Waker
from jobqueue.store import listener
from tests.engine import Engine
from tests.faults.proxy import CALM, Mood, Proxy
from tests.whole.roles import until

pytestmark = pytest.mark.timeout(60)
NOTICED_S_MAX = 10.0


@asynccontextmanager
async def running(service: Ear | Waker) -> AsyncIterator[None]:
    task = asyncio.create_task(service.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_frozen_link_is_noticed_within_ten_seconds_and_made_again(engine: Engine) -> None:
    parts = urlsplit(engine.dsn)
    assert parts.port is not None
    heard: list[list[Lane] | None] = []
    connects: list[float] = []
    loop = asyncio.get_running_loop()
    async with Proxy("ear", parts.port).running() as proxy:
        dsn = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()
        ear = Ear(dsn, heard=heard.append, reconnected=lambda: connects.append(loop.time()), clock=engine.clock)
        async with running(ear), running(waker := Waker(engine.db, clock=engine.clock)):
            await until(has(connects, 1), within_s=10)
            waker.wake((1, 2, 3, 0))
            await until(has(heard, 1), within_s=5)
            proxy.behave(Mood(is_frozen=True))
            frozen_s = loop.time()
            waker.wake((1, 2, 3, 1))

            async def tries_anew() -> bool:
                return len(proxy._tasks) > 1

            await until(tries_anew, within_s=NOTICED_S_MAX)
            assert len(heard) == 1
            proxy.behave(CALM)
            await until(has(connects, 2), within_s=20)
            assert connects[1] > frozen_s
            waker.wake((1, 2, 3, 2))
            await until(has(heard, 2), within_s=5)
    assert heard[-1] == [(1, 2, 3, 2)]
    assert wakeups.PING_INTERVAL_S + listener.PING_S_MAX < NOTICED_S_MAX


def has(items: list[object] | list[float] | list[list[Lane] | None] | list[list[Lane]], count: int):  # type: ignore[no-untyped-def]
    async def look() -> bool:
        return len(items) >= count

    return look


async def test_a_thousand_wake_ups_at_once_are_few_notifications(engine: Engine) -> None:
    told: list[str] = []
    raw = await engine.connect()
    await raw.add_listener(CHANNEL, lambda *args: told.append(args[-1]))
    async with running(waker := Waker(engine.db, clock=engine.clock)):
        for number in range(1_000):
            waker.wake((1, 1, number % 10, 0))
        await until(has(told, 1), within_s=5)
    raw.terminate()
    assert len(told) <= 2


async def test_claimers_of_the_same_process_are_told_without_the_database(engine: Engine) -> None:
    here: list[list[Lane]] = []
    async with running(waker := Waker(engine.db, clock=engine.clock, here=here.append)):
        await engine.db.close()
        waker.wake_all([(1, 2, 3, 0), (1, 2, 3, 1)])
        await until(has(here, 1), within_s=5)
    assert here == [[(1, 2, 3, 0), (1, 2, 3, 1)]]
