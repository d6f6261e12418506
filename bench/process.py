"""Start a process for as long as a block runs, and end it by its own handle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from bench.contender import Command

ROOT: Final = Path(__file__).parents[1]
STOP_S_MAX: Final = 15.0
LAST_WORDS_BYTES: Final = 2_000
Result = TypeVar("Result")


class ProcessEnded(Exception):
    """A process that was to go on has ended; the message has its last words."""


class Running:
    """A started process."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def check(self) -> None:
        """Raise ProcessEnded if it has."""
        if (code := self._process.returncode) is not None:
            raise ProcessEnded(f"the process ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Quote the end of its output."""
        return self._log.read_bytes()[-LAST_WORDS_BYTES:].decode("utf-8", "replace")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a program; a SIGTERM (of `timeout`, say) ends it in order, so that nothing it started stays behind."""
    try:
        return uvloop.run(_until_told(work))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


async def _until_told(work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work


@asynccontextmanager
async def running(command: Command, log: Path) -> AsyncIterator[Running]:
    """Start it in the root of the project, its output in a file; then SIGTERM, and SIGKILL if that does not help."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")} | dict(command.environment)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command.arguments, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield Running(process, log)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
