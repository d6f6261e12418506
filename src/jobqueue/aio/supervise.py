"""Run services together: started in order, stopped in reverse, one at a time.

A service ends only by cancellation. One that fails or returns brings all others down: a process with a part missing is worse than none,
because nobody restarts it. `spawn` is the only place that makes a task, so that every task has a parent.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

Value = TypeVar("Value")


class Service(Protocol):
    """Something that runs until it is cancelled."""

    @property
    def name(self) -> str:
        """Name the task in logs and debuggers."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class ServiceEnded(Exception):
    """A service returned although only cancellation may end it: a mistake in its code."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def spawn(group: asyncio.TaskGroup, work: Coroutine[Any, Any, Value], name: str) -> asyncio.Task[Value]:
    """Start work as a child of the group."""
    return group.create_task(work, name=name)


async def run_services(
    services: Sequence[Service], stop: asyncio.Event, *, stop_s_max: float, on_late: Callable[[str], None] | None = None
) -> None:
    """Run all services until stop is set, then end them in reverse order.

    stop_s_max bounds the wait for each one; whoever is late is cancelled once more and told to on_late, and the next one's turn comes.
    Raises an ExceptionGroup when a service fails; the others are then cancelled together. A cancellation of the caller does the same.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [spawn(group, _run_for_ever(service), service.name) for service in services]
        await stop.wait()
        for task in reversed(tasks):
            await _end(task, stop_s_max, on_late)


async def _run_for_ever(service: Service) -> None:
    await service.run()
    raise ServiceEnded(service.name)


async def _end(task: asyncio.Task[None], stop_s_max: float, on_late: Callable[[str], None] | None) -> None:
    task.cancel()
    _, late = await asyncio.wait([task], timeout=stop_s_max)
    if late:
        task.cancel()
        if on_late is not None:
            on_late(task.get_name())
