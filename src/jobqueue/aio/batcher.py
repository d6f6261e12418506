"""Gather items of many callers into few calls.

An item that finds a free lane is flushed at once; while all lanes are busy the waiting items gather, so batches grow with load and
nothing ever waits on a timer. Invariants: every accepted item gets exactly one answer; at most `waiting_max` items wait; a caller that
goes away takes only its own item with it (left out if it still waits, its answer dropped if it is under way).

This is on the hot path of submit: one future and one deque entry per item, no task and no lock.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from jobqueue.aio.supervise import spawn

Item = TypeVar("Item")
Result = TypeVar("Result")

DRAIN_S_MAX = 5.0


class Batcher(Generic[Item, Result]):
    """Coalesce concurrent submits. A service: enter it with run(); its cancellation flushes what waits before it ends."""

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        name: str,
        items_max: int,
        waiting_max: int,
        overloaded: Callable[[], Exception],
        closed: Callable[[], Exception],
        lanes: int = 1,
        drain_s_max: float = DRAIN_S_MAX,
    ) -> None:
        """Wire it up.

        flush gets 1..items_max items and answers one result or exception for each, in order; if it raises, all its items get that.
        It must bound its own time. overloaded and closed make what submit raises when too many wait, and after the end.
        lanes is how many flushes may be under way at once: fewer make larger batches.
        """
        assert items_max >= 1
        assert waiting_max >= items_max
        assert lanes >= 1
        self.name = name
        self._flush = flush
        self._items_max = items_max
        self._waiting_max = waiting_max
        self._overloaded = overloaded
        self._closed = closed
        self._lanes = lanes
        self._drain_s_max = drain_s_max
        self._is_closed = False
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._in_flight = 0
        self._drained: asyncio.Event = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Count the items no flush has taken yet."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Hand in one item and await its own result.

        Raises what flush answered for this item, overloaded() at once when waiting_max items wait, closed() once it is closed.
        Cancellation withdraws the item if no flush has taken it; if one has, the item may or may not have been carried out.
        """
        if self._is_closed:
            raise self._closed()
        if len(self._waiting) >= self._waiting_max:
            raise self._overloaded()
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._idle:
            self._wake_one()
        return await answer

    async def run(self) -> None:
        """Flush for ever. When cancelled: refuse new items, flush what waits for up to drain_s_max, fail the rest with closed()."""
        try:
            async with asyncio.TaskGroup() as group:
                lanes = [spawn(group, self._run_lane(), f"{self.name}-{number}") for number in range(self._lanes)]
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    await self.close(within_s=self._drain_s_max)
                    for lane in lanes:
                        lane.cancel()
        finally:
            self._is_closed = True
            self._refuse_waiting()

    async def close(self, *, within_s: float) -> bool:
        """Refuse new items and wait until all accepted ones are answered; False when that took longer than within_s."""
        self._is_closed = True
        if not self._waiting and not self._in_flight:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def _run_lane(self) -> None:
        while True:
            while not self._waiting:
                await self._rest()
            batch = self._take()
            if self._waiting and self._idle:
                self._wake_one()
            if batch:
                await self._carry_out(batch)
            if self._is_closed and not self._waiting and not self._in_flight:
                self._drained.set()

    async def _rest(self) -> None:
        bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(bell)
        await bell

    def _wake_one(self) -> None:
        bell = self._idle.popleft()
        if not bell.done():
            bell.set_result(None)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take the next batch, without the items whose callers have gone."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._items_max:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        return batch

    async def _carry_out(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Flush one batch and answer each of its items, whatever happens."""
        self._in_flight += 1
        try:
            results = await self._flush([item for item, _ in batch])
            assert len(results) == len(batch), f"{self.name}: {len(results)} results for {len(batch)} items"
            for (_, answer), result in zip(batch, results, strict=True):
                _answer(answer, result)
        except Exception as error:  # noqa: BLE001 - the one site: a fault of the flush belongs to the callers of its items
            for _, answer in batch:
                _answer(answer, error)
        finally:
            self._in_flight -= 1
            for _, answer in batch:  # only when the flush itself was cancelled
                if not answer.done():
                    answer.set_exception(self._closed())

    def _refuse_waiting(self) -> None:
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(self._closed())


def _answer(answer: asyncio.Future[Result], result: Result | Exception) -> None:
    if answer.done():  # its caller was cancelled
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
