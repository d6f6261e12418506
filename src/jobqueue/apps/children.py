"""Child processes kept alive: one of ours each, started again with a growing wait when it dies.

A child leads a session of its own, so that a terminal's Ctrl-C reaches its parent only, and its stdin is a pipe from the parent: when the
parent is gone, however it went, the pipe ends and so does the child (apps/signals.py). Invariant: no child is left when run() ends.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.apps.refusals import ChildRefused
from jobqueue.apps.signals import Stops
from jobqueue.telemetry.logs import get_logger

PROGRAM: Final = (sys.executable, "-P", "-m", "jobqueue.cli.main")
"""This program by its Python, so that it need not be on the path; -P: no file of the working directory hides a module of ours."""

RESTART_S_BASE: Final = 0.1
RESTART_S_MAX: Final = 5.0
STEADY_S: Final = 10.0
"""A child that lived this long starts again at the shortest wait."""
RESTARTS_COUNTED_MAX: Final = 16
EXIT_REFUSED: Final = 2
STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class ChildCommand:
    """One child: its name in logs, the arguments of `jobqueue`, variables beside those it inherits, descriptors it is to hold open."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    held_fds: Sequence[int] = ()


def restart_wait_s(deaths_in_a_row: int) -> float:
    """Say how long to wait before the next start, after that many deaths, counted from 1."""
    assert deaths_in_a_row >= 1
    return float(min(RESTART_S_BASE * 2.0 ** min(deaths_in_a_row - 1, RESTARTS_COUNTED_MAX), RESTART_S_MAX))


class Children:
    """Runs the commands as child processes until told to stop."""

    def __init__(self, commands: Sequence[ChildCommand], *, stop_s_max: float, clock: Clock) -> None:
        """stop_s_max: how long children may take to end once asked; then they are killed."""
        self._commands = commands
        self._stop_s_max = stop_s_max
        self._clock = clock
        self._processes: dict[str, Process] = {}
        self._refused: str | None = None

    def pid(self, name: str) -> int | None:
        """Tell the process id of a child that runs now."""
        process = self._processes.get(name)
        return None if process is None else process.pid

    async def run(self, stops: Stops) -> None:
        """Keep the children alive until stop is set; then end them all together, and at once when abort is.

        Raises ChildRefused when one says by its exit code that it was set up wrongly: starting it again would not help.
        """
        async with asyncio.TaskGroup() as group:
            keeping = [spawn(group, self._keep(command, stops), command.name) for command in self._commands]
            await stops.stop.wait()
            aborting = spawn(group, self._abort_when_set(stops), "abort")
            self._signal_all(signal.SIGTERM)
            await asyncio.wait(keeping, timeout=self._stop_s_max)
            aborting.cancel()
            self._signal_all(signal.SIGKILL)
        if self._refused is not None:
            raise ChildRefused(self._refused)

    async def _abort_when_set(self, stops: Stops) -> None:
        await stops.abort.wait()
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, command: ChildCommand, stops: Stops) -> None:
        deaths = 0
        while not stops.stop.is_set():
            started_s = self._clock.monotonic()
            code = await self._run_once(command, stops)
            if stops.stop.is_set():
                return
            if code == EXIT_REFUSED:
                self._refused = command.name
                stops.stop.set()
                return
            deaths = 1 if self._clock.monotonic() - started_s >= STEADY_S else deaths + 1
            get_logger().warning("child.died", child=command.name, how=describe_exit(code))
            await self._rest(restart_wait_s(deaths), stops)

    async def _run_once(self, command: ChildCommand, stops: Stops) -> int:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *command.arguments,
            stdin=PIPE,
            stdout=STDERR,
            env={**os.environ, **command.environment},
            pass_fds=tuple(command.held_fds),
            start_new_session=True,
        )
        self._processes[command.name] = process
        if stops.stop.is_set():  # asked while it was being started
            process.terminate()
        try:
            return await process.wait()
        finally:
            if process.returncode is None:  # we were cancelled
                process.kill()
                await process.wait()
            del self._processes[command.name]

    async def _rest(self, seconds: float, stops: Stops) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stops.stop.wait()


def describe_exit(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
