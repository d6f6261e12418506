"""Children are kept alive, told to stop, and never left behind."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import spawn
from jobqueue.apps import children
from jobqueue.apps.children import RESTART_S_BASE, RESTART_S_MAX, ChildCommand, Children, describe_exit, restart_wait_s
from jobqueue.apps.refusals import ChildRefused
from jobqueue.apps.signals import Stops

SAYS_WHO_IT_IS = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0) if sys.argv[2] == "obeys" else None)
path = Path(sys.argv[1])
path.with_suffix(".new").write_text(str(os.getpid()))
path.with_suffix(".new").rename(path)
while True:
    signal.pause()
"""
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _any_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run Python itself instead of jobqueue."""
    monkeypatch.setattr(children, "PROGRAM", (children.PROGRAM[0],))


async def pid_in(path: Path, *, other_than: int = 0) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists() or int(path.read_text()) == other_than:
            await SystemClock().sleep(0.01)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def command(path: Path, manner: str = "obeys") -> ChildCommand:
    return ChildCommand(path.name, ["-c", SAYS_WHO_IT_IS, str(path), manner])


async def test_killed_child_is_started_again_and_stop_ends_all(tmp_path: Path) -> None:
    stops = Stops()
    family = Children([command(tmp_path / "a"), command(tmp_path / "b")], stop_s_max=PATIENCE_S, clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        spawn(group, family.run(stops), "children")
        first, other = await pid_in(tmp_path / "a"), await pid_in(tmp_path / "b")
        os.kill(first, signal.SIGKILL)
        second = await pid_in(tmp_path / "a", other_than=first)
        stops.press()
    assert not any(is_alive(pid) for pid in (first, second, other))


async def test_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    stops = Stops()
    family = Children([command(tmp_path / "a", "stays")], stop_s_max=0.05, clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        spawn(group, family.run(stops), "children")
        pid = await pid_in(tmp_path / "a")
        stops.press()
    assert not is_alive(pid)


async def test_cancellation_leaves_no_child(tmp_path: Path) -> None:
    family = Children([command(tmp_path / "a", "stays")], stop_s_max=PATIENCE_S, clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        running = spawn(group, family.run(Stops()), "children")
        pid = await pid_in(tmp_path / "a")
        running.cancel()
    assert not is_alive(pid)


async def test_child_that_refuses_ends_the_others(tmp_path: Path) -> None:
    stops = Stops()
    refusing = ChildCommand("refusing", ["-c", "raise SystemExit(2)"])
    family = Children([command(tmp_path / "a"), refusing], stop_s_max=PATIENCE_S, clock=SystemClock())
    with pytest.raises(ChildRefused):
        await family.run(stops)
    assert stops.stop.is_set()
    assert not (tmp_path / "a").exists() or not is_alive(int((tmp_path / "a").read_text()))


def test_wait_before_a_restart_grows_to_a_cap() -> None:
    waits = [restart_wait_s(deaths) for deaths in range(1, 100)]
    assert waits[0] == RESTART_S_BASE
    assert waits[-1] == RESTART_S_MAX
    assert waits == sorted(waits)


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-250, "signal 250")])
def test_exit_is_described(code: int, words: str) -> None:
    assert describe_exit(code) == words
