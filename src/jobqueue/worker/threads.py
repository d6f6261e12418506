"""Threads for plain `def` handlers.

Not concurrent.futures: its threads are joined when the interpreter ends, so one handler that hangs would keep a stopped worker alive.
These are daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class ThreadPool:
    """Up to threads_max daemon threads, started when needed. Work must not raise."""

    def __init__(self, *, threads_max: int, name: str) -> None:
        self._threads_max = threads_max
        self._name = name
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, work: Work) -> None:
        """Run work on a free thread. Called from one thread only."""
        if not self._idle.acquire(blocking=False) and self._started < self._threads_max:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        self._queue.put(work)

    def close(self) -> None:
        """Let the threads end as they become free; does not wait for them."""
        for _ in range(self._started):
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work  # else an idle thread keeps the last job's data
            self._idle.release()
