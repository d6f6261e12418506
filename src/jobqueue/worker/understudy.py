"""Keep the leases while the interpreter is held: a process that stands in for the heartbeater's thread.

A handler that does not let go of the interpreter (a long regular expression, C code that keeps the lock) stops every thread of its
worker, the heartbeater's too, and with it the renewal of all its neighbours' leases. The understudy is a small process beside the worker
that sees the worker's pulse stop and then renews what is posted on the board, until the pulse is back.

It must not keep alive what is dead. It does nothing when the worker's process is stopped, traced or gone, and ends when the worker does;
and however long an interpreter is held, a job's deadline stands in the database, where the reaper takes an overdue lease back although
it is renewed. Where the system has no shared memory of this kind (other than Linux) there is no understudy.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.worker.board import Board

CHILD_MODULE: Final = "jobqueue.apps.understudy"
AGAIN_S: Final = 5.0
"""After a process that died, when to start another."""


class Understudy:
    """Starts the process, starts it again when it dies, ends it."""

    name = "understudy"

    def __init__(self, board: Board, request: bytes, *, clock: Clock) -> None:
        """request: what the process is to beat with, as apps/understudy.py reads it. It holds a password or key, so it goes by a pipe."""
        self._board = board
        self._request = request
        self._clock = clock

    async def run(self) -> None:
        """Have the process there until cancelled."""
        while True:
            with suppress(OSError):  # no room for a process: the worker does without until there is
                await self._stand_by()
            await self._clock.sleep(AGAIN_S)

    async def _stand_by(self) -> None:
        process = await self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(self._request)
            await process.wait()
        finally:
            _end(process)

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", CHILD_MODULE, str(os.getpid()), str(self._board.fd)),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            pass_fds=(self._board.fd,),
            start_new_session=True,  # a signal to the worker's group is not for it
        )


def _end(process: Process) -> None:
    """It holds nothing that could be lost."""
    with suppress(ProcessLookupError):
        process.kill()
