"""Tell another process of this machine when a handler started: a datagram with the job's number and the monotonic clock.

The monotonic clock is one for all processes of a machine, so that two of them can time what happens between them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

VARIABLE: Final = "BENCH_STAMPS"
"""Names the socket, in the environment of a worker."""
_FORM: Final = struct.Struct("qd")


@cache
def _sender() -> socket.socket:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect(os.environ[VARIABLE])
    return sender


def send(number: int) -> None:
    """Say that job `number` starts now."""
    _sender().send(_FORM.pack(number, time.monotonic()))


class Stamps:
    """The receiving end."""

    def __init__(self, receiver: socket.socket, path: Path) -> None:
        self._receiver = receiver
        self.path = path

    async def started_at(self, number: int) -> float:
        """Wait for the stamp of one job; answers its monotonic time. Stamps of other jobs are passed over."""
        loop = asyncio.get_running_loop()
        while True:
            found, at = _FORM.unpack(await loop.sock_recv(self._receiver, _FORM.size))
            if found == number:
                return float(at)


@contextmanager
def receiving(directory: Path) -> Iterator[Stamps]:
    """Listen on a socket in a directory while the block runs."""
    path = directory / "stamps.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        try:
            yield Stamps(receiver, path)
        finally:
            path.unlink()
