"""How a role is told to end.

The first SIGTERM or SIGINT (SIGHUP too: the terminal is gone) asks it to stop and drain, the second to give everything up at once. A role
started by one of ours also ends with its parent: its stdin is a pipe that the parent holds open and never writes to, so its end means that
the parent is gone, however it went.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
READ_BYTES: Final = 1024
ORPHAN_STOP_S_MAX: Final = 15.0
"""What an orphan may take beyond its shutdown grace; then it kills itself."""


@dataclass(frozen=True, slots=True)
class Stops:
    """What a role listens to: stop asks it to drain, abort to end at once. abort is never set before stop."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    abort: asyncio.Event = field(default_factory=asyncio.Event)

    def press(self) -> None:
        """Ask once more: the first time to stop, then to abort."""
        if self.stop.is_set():
            self.abort.set()
        self.stop.set()


@contextmanager
def heeded_signals() -> Iterator[Stops]:
    """Turn signals into stops while the block runs, on the running loop. Later signals do nothing more, until the process ends."""
    stops = Stops()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stops.press)
    yield stops


def end_with_parent(*, grace_s: float) -> None:
    """Ask this process to stop when its stdin ends, and kill it when it has not ended within its grace and a bit.

    A thread watches, so that a blocked event loop does not make an orphan.
    """

    def watch() -> None:
        while os.read(0, READ_BYTES):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s + ORPHAN_STOP_S_MAX)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
