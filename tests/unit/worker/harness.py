"""A worker over a fake engine, started and stopped around a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from jobqueue.telemetry.events import Event
from jobqueue.worker.options import WorkerOptions
from jobqueue.worker.registry import Registry
from jobqueue.worker.runtime import Worker
from tests.fakes.backend import FakeBackend, FakeEngine


@dataclass
class Running:
    """A worker at work. stop and abort are its signals; events is what it told."""

    worker: Worker
    stop: asyncio.Event
    abort: asyncio.Event
    task: asyncio.Task[None]
    events: list[Event] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_told(self, kind: type[Any]) -> Any:
        """Wait for the first event of a kind."""
        async with asyncio.timeout(10):
            while not (told := self.told(kind)):
                self.news.clear()
                await self.news.wait()
        return told[0]

    async def ends(self) -> None:
        """Tell it to stop and wait until it has."""
        self.stop.set()
        await self.task

    def told(self, kind: type[Any]) -> list[Any]:
        """Give the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def working(engine: FakeEngine, registry: Registry, **options: Any) -> AsyncIterator[Running]:
    """Run a worker for the length of the block; after it nothing of it runs."""
    given = {"poll_interval_s": 0.05, "shutdown_grace_s": 5.0, "cancel_grace_s": 5.0, **options}
    events: list[Event] = []
    news, stop, abort = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        events.append(event)
        loop.call_soon_threadsafe(news.set)

    worker = Worker(registry, lambda: FakeBackend(engine), WorkerOptions(**given), tell=tell)
    task = asyncio.create_task(worker.run(stop, abort))
    running = Running(worker, stop, abort, task, events, news)
    try:
        yield running
    finally:
        stop.set()
        abort.set()
        await task
