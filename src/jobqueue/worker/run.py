"""One lease in this worker's hands, and the book of all of them: what the two threads of a worker share.

The main loop claims, runs and settles; the heartbeater renews from a thread of its own. There is no lock, because

- every field of a Run has one writing thread (below), each write is one store, and readers cope with an old value: the fence is only
  ever moved later, and a beat for a lease that is settled meanwhile answers `lost` for a run whose outcome is known, which is ignored;
- runs are put into and taken out of the Book by the main loop only, and the heartbeater looks at `snapshot()`, one atomic copy.

The Book also keeps the board, where a process beside this one finds the leases when no thread of this one runs (understudy.py).

A run's life: leased (started_at None) -> started -> ended (outcome set, waits for its settle) -> out of the book.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from jobqueue.domain.lease import BEATS_PER_LEASE, SELF_FENCE_MARGIN_S

if TYPE_CHECKING:
    import asyncio

    from jobqueue.domain.lease import Lease
    from jobqueue.domain.outcome import Outcome
    from jobqueue.telemetry.traces import RunTrace
    from jobqueue.worker.board import Board


class StopReason(Enum):
    """Why a run was told to stop."""

    TIMEOUT = auto()
    CANCELLED = auto()
    SHUTDOWN = auto()
    LOST = auto()
    """The lease is gone or not proven to be ours any more; whatever the handler does now is not reported."""


class Run:
    """One held lease. Made once a job on the hot path, hence slots and no dataclass."""

    __slots__ = (
        "deadline_at",
        "fence_at",
        "is_cancel_told",
        "is_isolated",
        "is_left",
        "is_start_reported",
        "is_thread",
        "lease",
        "message",
        "outcome",
        "percent",
        "place",
        "progress_reported",
        "progress_told",
        "renew_at",
        "started_at",
        "stop_reason",
        "stopped_at",
        "task",
        "trace",
    )

    def __init__(self, lease: Lease, *, sent_at: float) -> None:
        """sent_at: boottime from before the claim was sent; the lease is trusted from there on."""
        self.lease = lease
        # written by the main loop
        self.started_at: float | None = None  # monotonic
        self.deadline_at = math.inf  # monotonic: start + timeout
        self.stop_reason: StopReason | None = None
        self.stopped_at = math.inf  # monotonic: when it was told to stop
        self.outcome: Outcome | None = None
        self.task: asyncio.Task[None] | None = None
        self.trace: RunTrace | None = None  # of a sampled job, where this process has traces
        self.is_thread = False
        self.is_isolated = False
        self.is_left = False  # did not end within the grace; nothing of it counts any more
        self.place = 0  # on the board; 0: not there
        # written by the handler's thread; told is written last
        self.percent: float | None = None
        self.message: str | None = None
        self.progress_told = 0
        # written by the heartbeater
        self.renew_at = sent_at + lease.lease_s / BEATS_PER_LEASE  # boottime
        self.fence_at = sent_at + lease.lease_s - SELF_FENCE_MARGIN_S  # boottime
        self.progress_reported = 0
        self.is_start_reported = False
        self.is_cancel_told = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler should end."""
        return self.stop_reason is not None

    def report_progress(self, percent: float, message: str) -> None:
        """Keep the newest progress for the next beat."""
        self.percent = percent
        self.message = message
        self.progress_told += 1

    def renewed(self, *, sent_at: float) -> None:
        """Trust the lease anew, from before the beat was sent."""
        lease_s = self.lease.lease_s
        self.renew_at = sent_at + lease_s / BEATS_PER_LEASE
        self.fence_at = sent_at + lease_s - SELF_FENCE_MARGIN_S


class Book:
    """Every run this worker holds a lease for, from claim to settle."""

    def __init__(self, board: Board | None = None) -> None:
        """board: where an understudy reads the leases; None: there is none."""
        self._runs: set[Run] = set()
        self._board = board

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run: Run) -> bool:
        return run in self._runs

    def enter(self, runs: Sequence[Run]) -> None:
        """Hold these, of one claim. Main loop only."""
        self._runs.update(runs)
        if self._board is not None:
            self._board.post(runs)

    def drop(self, run: Run) -> None:
        """Hold it no more: it is settled, lost or left. Main loop only."""
        self._runs.discard(run)
        if self._board is not None:
            self._board.take_down(run)

    def drop_all(self, runs: Collection[Run]) -> None:
        """Hold none of these any more. Main loop only."""
        self._runs.difference_update(runs)
        if self._board is not None:
            for run in runs:
                self._board.take_down(run)

    def snapshot(self) -> list[Run]:
        """Copy the set in one step that no other thread can come between. Any thread."""
        return list(self._runs)

    def is_fenced(self, run: Run, boot: float) -> bool:
        """Say whether a lease may be somebody else's by now: neither this process nor its understudy renewed it. Main loop only."""
        if boot < run.fence_at:
            return False
        marked_at = None if self._board is None else self._board.marked_at(run)
        return marked_at is None or boot >= marked_at + run.lease.lease_s - SELF_FENCE_MARGIN_S

    def beat_pulse(self, boot: float) -> None:
        """Tell the understudy that this interpreter runs. The heartbeater's thread only."""
        if self._board is not None:
            self._board.beat_pulse(boot)
