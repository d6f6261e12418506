"""Supervision: ordered start, stop in reverse one at a time, and no service lost silently."""

import asyncio

import pytest

from jobqueue.aio.supervise import ServiceEnded, run_services, spawn
from tests.fake_clock import settle


class Recorded:
    """A service that writes down when it starts and ends."""

    def __init__(self, name: str, diary: list[str], *, stubborn: asyncio.Event | None = None) -> None:
        self.name = name
        self._diary = diary
        self._stubborn = stubborn

    async def run(self) -> None:
        self._diary.append(f"+{self.name}")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self._stubborn is not None:
                try:
                    await self._stubborn.wait()
                except asyncio.CancelledError:
                    self._diary.append(f"!{self.name}")
            await settle()  # ending takes some turns; the next one must not begin to end meanwhile
            self._diary.append(f"-{self.name}")


class Failing:
    name = "failing"

    async def run(self) -> None:
        raise RuntimeError("broken")


class Returning:
    name = "returning"

    async def run(self) -> None:
        return


async def test_services_start_in_order_and_stop_in_reverse_one_at_a_time() -> None:
    diary: list[str] = []
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        spawn(group, run_services([Recorded(name, diary) for name in "abc"], stop, stop_s_max=30), "all")
        await settle()
        assert diary == ["+a", "+b", "+c"]
        stop.set()
    assert diary == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_late_service_is_told_cancelled_again_and_does_not_hold_up_the_others() -> None:
    diary: list[str] = []
    late: list[str] = []
    stop = asyncio.Event()
    services = [Recorded("a", diary), Recorded("b", diary, stubborn=asyncio.Event())]
    async with asyncio.TaskGroup() as group:
        spawn(group, run_services(services, stop, stop_s_max=0.5, on_late=late.append), "all")
        await settle()
        stop.set()
    assert late == ["b"]
    assert sorted(diary[2:]) == ["!b", "-a", "-b"]


@pytest.mark.parametrize(("broken", "fault"), [(Failing(), RuntimeError), (Returning(), ServiceEnded)])
async def test_service_that_fails_or_returns_ends_all_others(broken: Failing | Returning, fault: type[Exception]) -> None:
    diary: list[str] = []
    with pytest.raises(ExceptionGroup) as raised:
        await run_services([Recorded("a", diary), broken], asyncio.Event(), stop_s_max=30)
    assert raised.group_contains(fault)
    assert diary == ["+a", "-a"]


async def test_cancelled_caller_ends_all_services() -> None:
    diary: list[str] = []
    async with asyncio.TaskGroup() as group:
        task = spawn(group, run_services([Recorded("a", diary)], asyncio.Event(), stop_s_max=30), "all")
        await settle()
        task.cancel()
    assert diary == ["+a", "-a"]


async def test_spawned_task_carries_its_name_and_result() -> None:
    async def answer() -> int:
        return 42

    async with asyncio.TaskGroup() as group:
        task = spawn(group, answer(), "answer")
    assert (task.get_name(), task.result()) == ("answer", 42)
