"""The leases in a worker's hands, written where another process can read them: memory shared with its understudy (understudy.py).

The worker posts a claim's leases in one block before any of their handlers starts, and takes the block back when all of them are gone;
the understudy reads all posted blocks and, when it has renewed a lease, marks it so. There is no lock, and none is needed: a block read
while it changes at worst names a lease that is over, for which a beat is refused by its token; and a mark names the token it is for, so
it never counts for the next lease in its place. Single stores of eight bytes are whole on every processor this runs on.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from uuid import UUID

from jobqueue.domain.lease import Lease

JOBS_MAX: Final = 500
"""In one block: one claim's size at the most (options.CLAIM_JOBS_MAX)."""
BLOCKS: Final = 1_024
"""Claims in hand at once; the leases of more are not posted. Pages that were never written take no memory."""
HEADER_BYTES: Final = 4_096
ENTRY: Final = struct.Struct("=16s16sd8s")  # job, token, marked at (boottime), what is marked: the token's first half
COUNT: Final = struct.Struct("=Q")
TIME: Final = struct.Struct("=d")
BLOCK_BYTES: Final = COUNT.size + JOBS_MAX * ENTRY.size
BOARD_BYTES: Final = HEADER_BYTES + BLOCKS * BLOCK_BYTES
UNMARKED: Final = bytes(TIME.size + 8)
MARKED_AT: Final = 32
MARK: Final = 40


class Posted(Protocol):
    """A run, as far as the board is concerned. place: where its entry is; 0: not on the board."""

    lease: Lease
    place: int


def is_available() -> bool:
    """Whether this system has what a board and an understudy need (Linux)."""
    if not hasattr(os, "memfd_create") or not os.path.exists("/proc/self/stat"):
        return False
    try:
        os.close(os.memfd_create("jobqueue-probe"))
    except OSError:  # a sandbox that forbids it
        return False
    return True


class Board:
    """The worker's side. Its main loop posts and takes down; its heartbeater's thread writes the pulse."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("jobqueue-leases")
        os.ftruncate(self.fd, BOARD_BYTES)
        self._memory = mmap.mmap(self.fd, BOARD_BYTES)
        self._free = list(range(BLOCKS - 1, -1, -1))
        self._left = [0] * BLOCKS

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)

    def beat_pulse(self, boot: float) -> None:
        """Say that this interpreter runs. boot: boottime."""
        TIME.pack_into(self._memory, 0, boot)

    def post(self, runs: Sequence[Posted]) -> None:
        """Write down the leases of one claim."""
        if not runs or not self._free or len(runs) > JOBS_MAX:
            return
        block = self._free.pop()
        at = HEADER_BYTES + block * BLOCK_BYTES
        first = at + COUNT.size
        entries = b"".join([part for run in runs for part in (run.lease.job_id.bytes, run.lease.token.bytes, UNMARKED)])
        self._memory[first : first + len(entries)] = entries
        self._left[block] = len(runs)
        for place, run in enumerate(runs):
            run.place = first + place * ENTRY.size
        COUNT.pack_into(self._memory, at, len(runs))

    def take_down(self, run: Posted) -> None:
        """Forget a lease; its block is free again once all of it are forgotten."""
        if not run.place:
            return
        block = (run.place - HEADER_BYTES) // BLOCK_BYTES
        run.place = 0
        self._left[block] -= 1
        if not self._left[block]:
            COUNT.pack_into(self._memory, HEADER_BYTES + block * BLOCK_BYTES, 0)
            self._free.append(block)

    def marked_at(self, run: Posted) -> float | None:
        """Say when the beat was sent by which the understudy last renewed this lease (boottime); None: it has not."""
        if not run.place:
            return None
        _, token, marked_at, mark = ENTRY.unpack_from(self._memory, run.place)
        return marked_at if token == run.lease.token.bytes and mark == token[:8] else None


class PostedBoard:
    """The understudy's side."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, BOARD_BYTES)

    @property
    def pulse_at(self) -> float:
        """When the worker's interpreter last said that it runs (boottime); 0: not yet."""
        return float(TIME.unpack_from(self._memory, 0)[0])

    def leases(self) -> Iterator[tuple[int, UUID, UUID]]:
        """Read every posted lease: its place, its job, its token."""
        for block in range(BLOCKS):
            at = HEADER_BYTES + block * BLOCK_BYTES
            (count,) = COUNT.unpack_from(self._memory, at)
            for place in range(at + COUNT.size, at + COUNT.size + min(count, JOBS_MAX) * ENTRY.size, ENTRY.size):
                job, token, _, _ = ENTRY.unpack_from(self._memory, place)
                yield place, UUID(bytes=job), UUID(bytes=token)

    def mark(self, place: int, token: UUID, *, sent_at: float) -> None:
        """Say that a lease was renewed by a beat sent then: first when, then which, so that no reader takes one for the other."""
        TIME.pack_into(self._memory, place + MARKED_AT, sent_at)
        self._memory[place + MARK : place + MARK + 8] = token.bytes[:8]
