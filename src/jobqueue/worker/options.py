"""How a worker is set up, and the bounds that are not settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.worker.surroundings import JobsAddress, Smtp, Surroundings

CLAIM_JOBS_MAX: Final = 1_000
"""One claim's size: pays for what a call costs by itself (1 ms of CPU), and is answered in some ms. Over HTTP it is 500."""

SETTLE_JOBS_MAX: Final = 1_000
"""One settle's size, for the same reason."""

UNSETTLED_JOBS_MAX: Final = 4 * SETTLE_JOBS_MAX
"""Beyond its slots a worker holds at most this many more leases (ahead, or ended and not yet settled); then it stops claiming."""

BACKOFF_S_BASE: Final = 0.05
BACKOFF_S_MAX: Final = 2.0
"""Waits between tries while the database is away: short, since leases run out meanwhile."""

BACKOFF_DOUBLINGS_MAX: Final = 16


def backoff_s(failures_in_a_row: int, *, jitter: float) -> float:
    """Say how long to wait after that many failures, counted from 1. jitter is in [0, 1): half of the wait is drawn."""
    assert failures_in_a_row >= 1
    wait_s = min(BACKOFF_S_BASE * 2.0 ** min(failures_in_a_row - 1, BACKOFF_DOUBLINGS_MAX), BACKOFF_S_MAX)
    return wait_s * (0.5 + 0.5 * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """A worker's settings; all durations are seconds.

    worker_id is what metrics call this process. A handler that is told to stop gets cancel_grace_s to end, then it is left behind.
    isolated_memory_bytes bounds the memory of an isolated run's process, where its handler names no bound; None: memory.default_bytes().
    files_dir is what `ctx.files` is below of, an absolute path; None: handlers read and write no files. smtp, outbound_networks and jobs
    are handed on to handlers too (surroundings.py).
    """

    worker_id: str = "worker"
    concurrency: int = 100
    poll_interval_s: float = 1.0
    shutdown_grace_s: float = 30.0
    cancel_grace_s: float = 30.0
    isolated_memory_bytes: int | None = None
    files_dir: str | None = None
    smtp: Smtp | None = None
    outbound_networks: tuple[str, ...] = ()
    jobs: JobsAddress | None = None

    @property
    def surroundings(self) -> Surroundings:
        """What handlers get of these."""
        return Surroundings(files_dir=self.files_dir, smtp=self.smtp, outbound_networks=self.outbound_networks, jobs=self.jobs)

    def __post_init__(self) -> None:
        assert self.concurrency >= 1
        assert self.poll_interval_s > 0
        assert self.shutdown_grace_s >= 0
        assert self.cancel_grace_s >= 0
