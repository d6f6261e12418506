"""Which jobs a list, a bulk replay or a bulk cancel is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jobqueue.domain.lifecycle import Status

PAGE_SIZE_MAX: Final = 200
PAGE_SIZE_DEFAULT: Final = 50
SCANNED_ROWS_MAX: Final = 10_000
"""Rows one page reads: beyond that it is short and says there is more."""
BULK_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Each of the several values of one kind is enough, but for tags, of which all must be there. Empty: any.

    priorities are their positions, 0 critical to 3 low.
    """

    statuses: tuple[Status, ...] = ()
    queues: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    priorities: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    correlation_ids: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
