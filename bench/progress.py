"""How far a worker process of a peer is: it counts what its handlers did, and keeps a file with that and when the first and last ended.

Peers keep what they did in tables of many forms; this is the same for all of them. Times are of the handlers' ends, so the last settle is
not in them: that favours the peer.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

VARIABLE: Final = "BENCH_PROGRESS"
"""Names the file, in the environment of a worker."""
WRITE_S: Final = 0.02


class Progress:
    """The worker's side."""

    def __init__(self) -> None:
        self._path = Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None
        self._count = 0
        self._first_at = self._last_at = 0.0

    def note(self) -> None:
        """Count a handler's end."""
        self._last_at = time.time()
        if not self._count:
            self._first_at = self._last_at
        self._count += 1

    async def keep(self) -> None:
        """Write the file until cancelled."""
        while self._path is not None:
            written = self._path.with_suffix(".new")
            written.write_text(f"{self._count} {self._first_at} {self._last_at}")
            written.replace(self._path)
            await asyncio.sleep(WRITE_S)


def read(path: Path) -> tuple[int, float, float]:
    """Read it from outside: how many, the first end, the last end (epoch)."""
    try:
        count, first, last = path.read_text().split()
    except OSError:
        return 0, 0.0, 0.0
    return int(count), float(first), float(last)
