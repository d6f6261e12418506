"""The only list of a job's states and of what may follow what.

Everything else that knows an edge (the `-- edges:` headers of the SQL, docs/lifecycle.md) is tested against `TRANSITIONS`.
A state is where the row is (docs/adr/0001): `queued` is a row of ready or parked, `leased` and `running` a row of lease, and so on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """What a job is, as users see it."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DLQ = "dlq"


class Event(StrEnum):
    """What happened to a job; public names are `job.` + value."""

    SUBMITTED = "submitted"
    BLOCKED = "blocked"
    QUEUED = "queued"
    LEASED = "leased"
    STARTED = "started"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    SNOOZED = "snoozed"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DLQ = "dlq"
    RETRIED = "retried"
    UPDATED = "updated"
    FORCE_SUCCEEDED = "force_succeeded"


FINAL: Final = frozenset({Status.SUCCEEDED, Status.CANCELLED, Status.EXPIRED, Status.DLQ})
"""A job here has ended; only a person moves it on."""

WAITING: Final = frozenset({Status.SCHEDULED, Status.BLOCKED, Status.QUEUED, Status.FAILED})
"""A job here counts against max_queued and is cancelled at once."""

HELD: Final = frozenset({Status.LEASED, Status.RUNNING})
"""A job here counts against every max_concurrent."""

RETRYABLE: Final = frozenset({Status.DLQ, Status.CANCELLED, Status.EXPIRED, Status.SUCCEEDED, Status.FAILED})
"""A person may send a job in one of these back to queued."""

S, E = Status, Event

TRANSITIONS: Final[dict[tuple[Status | None, Event], frozenset[Status]]] = {
    # in
    (None, E.SUBMITTED): frozenset({S.QUEUED, S.SCHEDULED}),
    (S.SCHEDULED, E.QUEUED): frozenset({S.QUEUED}),
    (S.FAILED, E.QUEUED): frozenset({S.QUEUED}),
    # out
    (S.QUEUED, E.LEASED): frozenset({S.LEASED}),
    (S.LEASED, E.STARTED): frozenset({S.RUNNING}),
    # home: settled by the holder. A lease whose job is asked to cancel ends cancelled unless it succeeded.
    **{
        (held, event): following
        for held in (S.LEASED, S.RUNNING)
        for event, following in {
            E.SUCCEEDED: frozenset({S.SUCCEEDED}),
            E.FAILED: frozenset({S.FAILED, S.DLQ, S.CANCELLED}),
            E.SNOOZED: frozenset({S.SCHEDULED, S.CANCELLED}),
            E.RELEASED: frozenset({S.QUEUED, S.CANCELLED}),
            E.CANCELLED: frozenset({S.CANCELLED}),
            # lost: settled by the reaper
            E.LEASE_EXPIRED: frozenset({S.QUEUED, S.DLQ, S.CANCELLED}),
            E.CANCEL_REQUESTED: frozenset({held}),
        }.items()
    },
    # changed by hand, while it waits
    (S.QUEUED, E.UPDATED): frozenset({S.QUEUED, S.SCHEDULED}),
    (S.SCHEDULED, E.UPDATED): frozenset({S.SCHEDULED, S.QUEUED}),
    (S.FAILED, E.UPDATED): frozenset({S.FAILED, S.QUEUED}),
    (S.BLOCKED, E.UPDATED): frozenset({S.BLOCKED}),
    (S.DLQ, E.FORCE_SUCCEEDED): frozenset({S.SUCCEEDED}),
    (S.FAILED, E.FORCE_SUCCEEDED): frozenset({S.SUCCEEDED}),
    # by hand or by time, while it waits
    **{(waiting, E.CANCELLED): frozenset({S.CANCELLED}) for waiting in (S.SCHEDULED, S.BLOCKED, S.QUEUED, S.FAILED)},
    **{(waiting, E.EXPIRED): frozenset({S.EXPIRED}) for waiting in (S.SCHEDULED, S.BLOCKED, S.QUEUED)},
    **{(ended, E.RETRIED): frozenset({S.QUEUED}) for ended in (S.DLQ, S.CANCELLED, S.EXPIRED, S.SUCCEEDED, S.FAILED)},
}
"""(status before, event) -> the statuses that may follow. None: the job did not exist."""
