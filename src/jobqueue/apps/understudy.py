"""The understudy's process: `python -m jobqueue.apps.understudy PID FD`, started by worker/understudy.py and by nobody else.

It watches the pulse on the board and does nothing, with nothing imported that it does not need for that, until the worker's interpreter
is held. Then it opens a Backend of its own and renews the posted leases. When stdin ends the worker is gone, and it ends, too.
"""

from __future__ import annotations

import asyncio
import pickle
import select
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from jobqueue.worker.board import PostedBoard

if TYPE_CHECKING:
    from jobqueue.worker.backend import Backend

POSTGRES, HTTP = "postgres", "http"
LENGTH_BYTES: Final = 4
LOOK_S: Final = 0.25
LEASE_S_LEAST: Final = 5.0
"""Taken for leases whose length the service decides."""
STALL_PART: Final = 0.1
STALL_S: Final = (0.5, 2.0)
"""A tenth of a lease without a pulse, within these bounds, and the interpreter is taken for held."""
BEATS_PER_LEASE: Final = 4
BEATS_MAX: Final = 500
LEASE_S_SHORT: Final = 15.0
"""With shorter leases there is no time left to import a backend once it is needed."""
IDLE_S_MAX: Final = 30.0
"""After the pulse is back, how long the connection is kept for the next time."""
DEAD_STATES: Final = frozenset("TtZXx")
"""proc(5): stopped, traced, ended."""


def request_of(kind: str, options: Any, *, lease_s: float | None) -> bytes:
    """Write what the process is told: which Backend, its options, and how long leases are; None: the service decides."""
    body = pickle.dumps((kind, lease_s, pickle.dumps(options)))
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def open_backend(kind: str, options: Any) -> Backend:
    """Make the Backend that only beats."""
    from jobqueue.aio.clock import SystemClock

    if kind == POSTGRES:
        from jobqueue.worker.backends.postgres import factory as on_postgres

        return on_postgres(options, clock=SystemClock())[1]()
    from jobqueue.worker.backends.http import factory as over_http

    return over_http(options, clock=SystemClock())[1]()


def is_running(pid: int) -> bool:
    """Say whether a process is there and neither stopped nor ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in DEAD_STATES
    except (OSError, IndexError):
        return False


class StandIn:
    """Renews what is posted, with a loop and a Backend of its own that are made when they are needed."""

    def __init__(self, board: PostedBoard, kind: str, options_pickle: bytes) -> None:
        self._board = board
        self._kind = kind
        self._options_pickle = options_pickle
        self._runner = asyncio.Runner()
        self._backend: Backend | None = None
        self._over: set[tuple[int, UUID]] = set()

    def prepare(self) -> None:
        """Import what a beat needs."""
        open_backend(self._kind, pickle.loads(self._options_pickle))  # noqa: S301 - the worker itself wrote it, into a pipe

    def beat(self) -> None:
        """Renew every posted lease that is not known to be over, and mark what was renewed."""
        try:
            self._runner.run(self._beat())
        except Exception:  # noqa: BLE001 - whatever it is, the next beat tries anew; of a database that is away the worker itself tells
            self.close()

    async def _beat(self) -> None:
        from jobqueue.aio.clock import SystemClock
        from jobqueue.domain.lease import Beat, BeatStatus

        posted = [lease for lease in self._board.leases() if (lease[0], lease[2]) not in self._over]
        self._over &= {(place, token) for place, _, token in self._board.leases()}
        if not posted:
            return
        if self._backend is None:
            self._backend = open_backend(self._kind, pickle.loads(self._options_pickle))  # noqa: S301
            await self._backend.open()
        for at in range(0, len(posted), BEATS_MAX):
            batch = posted[at : at + BEATS_MAX]
            sent_at = SystemClock().boottime()
            statuses = await self._backend.heartbeat([Beat(job_id, token, None) for _, job_id, token in batch])
            for (place, _, token), status in zip(batch, statuses, strict=True):
                if status is BeatStatus.LOST:
                    self._over.add((place, token))
                elif status is not BeatStatus.BUSY:
                    self._board.mark(place, token, sent_at=sent_at)

    def close(self) -> None:
        """Let go of the connection."""
        backend, self._backend = self._backend, None
        if backend is not None:
            with suppress(Exception):
                self._runner.run(backend.close())


class Watch:
    """Decides, look by look, whether to stand in."""

    def __init__(self, board: PostedBoard, stand_in: StandIn, *, pid: int, lease_s: float | None) -> None:
        self._board = board
        self._stand_in = stand_in
        self._pid = pid
        known_s = LEASE_S_LEAST if lease_s is None else lease_s
        self._stall_s = min(max(known_s * STALL_PART, STALL_S[0]), STALL_S[1])
        self._gap_s = known_s / BEATS_PER_LEASE
        self._beat_at = 0.0

    def look(self, boot: float) -> None:
        """Beat if the worker's interpreter is held and it is time to; let go of the connection some time after. boot: boottime."""
        pulse_at = self._board.pulse_at
        if not pulse_at or boot - pulse_at < self._stall_s:
            if boot - self._beat_at > IDLE_S_MAX:
                self._stand_in.close()
        elif boot - self._beat_at >= self._gap_s and is_running(self._pid):
            self._beat_at = boot
            self._stand_in.beat()


def main(pid: int, fd: int) -> None:
    """Watch until stdin ends."""
    stdin = sys.stdin.buffer
    kind, lease_s, options_pickle = pickle.loads(stdin.read(int.from_bytes(stdin.read(LENGTH_BYTES), "big")))  # noqa: S301 - as above
    board = PostedBoard(fd)
    stand_in = StandIn(board, kind, options_pickle)
    if lease_s is not None and lease_s < LEASE_S_SHORT:
        stand_in.prepare()
    watch = Watch(board, stand_in, pid=pid, lease_s=lease_s)
    while not select.select([stdin], [], [], LOOK_S)[0]:  # it never has more to read, so this is its end
        watch.look(time.clock_gettime(time.CLOCK_BOOTTIME))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
