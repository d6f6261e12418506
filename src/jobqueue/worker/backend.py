"""What a worker needs from the world: claim, heartbeat, settle. Two implementations, one contract suite (tests/contracts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jobqueue.domain.lease import Beat, BeatStatus, Directive, Lease, Settled, Settlement


class Backend(Protocol):
    """Where jobs come from and go home to.

    Every call ends within its own deadline and raises `domain.errors.Unavailable` when the answer did not come: then it is not known
    whether it happened, and calling again with the same tokens is right. A backend is used from one event loop only;
    the heartbeater opens its own, in its own thread.
    """

    @property
    def directive(self) -> Directive:
        """Say what the last heartbeat was answered with; to run before the first."""

    async def open(self) -> None:
        """Connect and make the worker known. Raises `domain.errors.JobQueueError` when it cannot."""

    async def close(self) -> None:
        """Let go of connections; leases stay as they are."""

    async def claim(self, *, jobs_max: int) -> list[Lease]:
        """Lease up to jobs_max (1..1000) due jobs of the handled types, at once; empty when there are none."""

    async def wait(self, *, timeout_s: float) -> None:
        """Return when there may be something to claim, at the latest after timeout_s."""

    async def heartbeat(self, beats: Sequence[Beat]) -> list[BeatStatus]:
        """Renew the named leases and tell progress. Answers in order. Called every tick, also without beats: the worker lives."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Report how runs ended, committed when this returns. Answers in order; a lost lease is an answer, not an error.

        Settlements come sorted by job id. Raises `domain.errors.InvalidRequest`, with nothing written, when one holds what cannot be
        stored: the caller then finds out which.
        """


OpenBackend = Callable[[], Backend]
"""Makes a Backend that is not open yet; called in the thread that will use it."""
