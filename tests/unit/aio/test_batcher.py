"""The batcher: at once when idle, in batches under load, one answer for each item, bounded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.aio.batcher import Batcher
from tests.fake_clock import settle


class Full(Exception):
    pass


class Closed(Exception):
    pass


class Door:
    """A flush that records its batches and can be held shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.under_way_max = 0
        self._under_way = 0

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self._under_way += 1
        self.under_way_max = max(self.under_way_max, self._under_way)
        try:
            await self.open.wait()
        finally:
            self._under_way -= 1
        if 666 in items:
            raise RuntimeError("whole batch")
        return [ValueError(item) if item < 0 else item * 10 for item in items]


def make(door: Door, *, items_max: int = 100, waiting_max: int = 1000, lanes: int = 1, drain_s_max: float = 5.0) -> Batcher[int, int]:
    return Batcher(
        door.flush,
        name="door",
        items_max=items_max,
        waiting_max=waiting_max,
        lanes=lanes,
        overloaded=Full,
        closed=Closed,
        drain_s_max=drain_s_max,
    )


@asynccontextmanager
async def running(batcher: Batcher[int, int]) -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(batcher.run())
        await settle()
        yield group
        task.cancel()


async def test_single_item_is_flushed_at_once_without_a_timer() -> None:
    door = Door()
    batcher = make(door)
    async with running(batcher):
        assert await batcher.submit(7) == 70
    assert door.batches == [[7]]


async def test_items_gather_while_a_flush_is_under_way() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door)
    async with running(batcher) as group:
        first = group.create_task(batcher.submit(1))
        await settle()
        rest = [group.create_task(batcher.submit(item)) for item in (2, 3, 4)]
        await settle()
        assert door.batches == [[1]]
        door.open.set()
        assert [await task for task in (first, *rest)] == [10, 20, 30, 40]
    assert door.batches == [[1], [2, 3, 4]]


async def test_batches_are_bounded() -> None:
    door = Door()
    batcher = make(door, items_max=3)
    async with running(batcher) as group:
        tasks = [group.create_task(batcher.submit(item)) for item in range(8)]
        assert [await task for task in tasks] == [item * 10 for item in range(8)]
    assert door.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_lanes_bound_the_flushes_under_way() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door, items_max=2, lanes=3)
    async with running(batcher) as group:
        tasks = [group.create_task(batcher.submit(item)) for item in range(12)]
        await settle()
        assert len(door.batches) == 3
        door.open.set()
        assert [await task for task in tasks] == [item * 10 for item in range(12)]
    assert door.under_way_max == 3


async def test_one_bad_item_fails_alone() -> None:
    door = Door()
    batcher = make(door)
    async with running(batcher) as group:
        good, bad = group.create_task(batcher.submit(1)), group.create_task(wait_quietly(batcher, -1))
        assert await good == 10
        assert isinstance(await bad, ValueError)
    assert door.batches == [[1, -1]]


async def wait_quietly(batcher: Batcher[int, int], item: int) -> int | Exception:
    try:
        return await batcher.submit(item)
    except Exception as error:
        return error


async def test_raising_flush_fails_its_batch_and_the_next_batch_works() -> None:
    door = Door()
    batcher = make(door)
    async with running(batcher) as group:
        answers = [group.create_task(wait_quietly(batcher, item)) for item in (1, 666)]
        assert [str(await answer) for answer in answers] == ["whole batch"] * 2
        assert await batcher.submit(2) == 20


async def test_too_few_results_fail_the_batch() -> None:
    async def forget(items: list[int]) -> Sequence[int | Exception]:
        return []

    batcher: Batcher[int, int] = Batcher(forget, name="forget", items_max=1, waiting_max=1, overloaded=Full, closed=Closed)
    async with running(batcher):
        with pytest.raises(AssertionError, match="0 results for 1 items"):
            await batcher.submit(1)


async def test_full_queue_refuses_and_passes_again_when_it_has_room() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door, items_max=2, waiting_max=2)
    async with running(batcher) as group:
        under_way = group.create_task(batcher.submit(1))
        await settle()
        waiting = [group.create_task(batcher.submit(item)) for item in (2, 3)]
        await settle()
        assert batcher.waiting == 2
        with pytest.raises(Full):
            await batcher.submit(4)
        door.open.set()
        assert [await task for task in (under_way, *waiting)] == [10, 20, 30]
        assert await batcher.submit(5) == 50


async def test_cancelled_caller_takes_only_its_own_waiting_item_along() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door)
    async with running(batcher) as group:
        first = group.create_task(batcher.submit(1))
        await settle()
        leaver, stayer = group.create_task(batcher.submit(2)), group.create_task(batcher.submit(3))
        await settle()
        leaver.cancel()
        await settle()
        door.open.set()
        assert (await first, await stayer) == (10, 30)
    assert door.batches == [[1], [3]]


async def test_cancelled_caller_under_way_does_not_cancel_its_neighbours() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door)
    async with running(batcher) as group:
        leaver, stayer = group.create_task(batcher.submit(1)), group.create_task(batcher.submit(2))
        await settle()
        leaver.cancel()
        await settle()
        door.open.set()
        assert await stayer == 20
    assert door.batches == [[1, 2]]


async def test_close_flushes_what_waits_and_refuses_new_items() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door)
    async with running(batcher) as group:
        tasks = [group.create_task(batcher.submit(1))]
        await settle()
        tasks.append(group.create_task(batcher.submit(2)))
        closing = group.create_task(batcher.close(within_s=30))
        await settle()
        with pytest.raises(Closed):
            await batcher.submit(3)
        assert not closing.done()
        door.open.set()
        assert await closing is True
        assert [await task for task in tasks] == [10, 20]


async def test_close_gives_up_after_its_deadline() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door)
    async with running(batcher) as group:
        task = group.create_task(wait_quietly(batcher, 1))
        await settle()
        assert await batcher.close(within_s=0.001) is False
        door.open.set()
        assert await task == 10


async def test_close_of_an_idle_batcher_returns_at_once() -> None:
    batcher = make(Door())
    async with running(batcher):
        assert await batcher.close(within_s=0.001) is True


async def test_cancelled_run_flushes_what_waits_before_it_ends() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door, items_max=1)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(batcher.run())
        tasks = [group.create_task(batcher.submit(item)) for item in (1, 2, 3)]
        await settle()
        run.cancel()
        await settle()
        assert not run.done()
        door.open.set()
        assert [await task for task in tasks] == [10, 20, 30]


async def test_cancelled_run_fails_what_it_cannot_flush_in_time() -> None:
    door = Door()
    door.open.clear()
    batcher = make(door, items_max=1, drain_s_max=0.001)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(batcher.run())
        tasks = [group.create_task(wait_quietly(batcher, item)) for item in (1, 2)]
        await settle()
        run.cancel()
        assert [type(await task) for task in tasks] == [Closed, Closed]
    with pytest.raises(Closed):
        await batcher.submit(3)


@given(
    items=st.lists(st.integers(min_value=-5, max_value=500), max_size=60),
    items_max=st.integers(1, 7),
    lanes=st.integers(1, 4),
    turns=st.integers(0, 3),
)
def test_every_item_gets_its_own_answer_once(items: list[int], items_max: int, lanes: int, turns: int) -> None:
    async def drive() -> None:
        door = Door()
        batcher = make(door, items_max=items_max, lanes=lanes)
        async with running(batcher) as group:
            tasks = []
            for item in items:
                tasks.append(group.create_task(wait_quietly(batcher, item)))
                for _ in range(turns):
                    await asyncio.sleep(0)
            answers = [await task for task in tasks]
        for item, answer in zip(items, answers, strict=True):
            assert answer == item * 10 if item >= 0 else isinstance(answer, ValueError)
        assert sorted(item for batch in door.batches for item in batch) == sorted(items)
        assert all(1 <= len(batch) <= items_max for batch in door.batches)

    asyncio.run(drive())
