"""What is compared: anything that takes jobs into a database and has a worker process that runs them.

Every contender works on a database of its own, all on the same server. Its figures come from the same programs: `submit.py` calls its
producer, `drain.py` and `pickup.py` start its worker and watch from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

NOOP: Final = "noop"
"""The type of job that does nothing."""
STAMP: Final = "stamp"
"""The type of job that reports when its handler started (stamps.py)."""
TENANTS: Final = 10
"""They submit in turn, where there are tenants."""
MANY: Final = 10_000_000
"""No bound."""
CLIENTS: Final = 16
"""How many submit at once, each one job at a time."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start. environment is added to ours."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Producer(Protocol):
    """The way in. The number of a job is its data: {"n": number}."""

    async def submit(self, number: int, *, job_type: str) -> None:
        """Submit one job; it is committed when this returns."""

    async def submit_many(self, first: int, count: int, *, job_type: str) -> None:
        """Submit jobs first, first+1, ... in one statement; committed when this returns."""

    async def load(self, rows: int, *, job_type: str) -> None:
        """Submit the rows of a file; committed when this returns."""


class Contender(Protocol):
    """One of those compared."""

    name: str
    is_drained_sql: str | None
    """Answers whether no job waits or runs. None: this and what follows is told by the worker's progress (progress.py)."""
    drained_sql: str | None
    """Answers how many jobs succeeded, and when (epoch) the first claim and the last settle were, as the database timed them."""
    ended_sql: str | None
    """Answers how many jobs ended in each tenth of a second: (slot, count)."""
    drain_jobs_max: int
    """More would take too long."""

    async def install(self, dsn: str) -> None:
        """Make its tables in an empty database."""

    def producer(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        """Open its way in, for CLIENTS at once."""

    def worker(self, dsn: str) -> Command:
        """Name the command of its worker process, for NOOP and STAMP jobs."""
