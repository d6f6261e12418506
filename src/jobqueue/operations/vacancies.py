"""Who waits for a slot of a tenant at its limit, and who frees one: so that a settle wakes the claimers of its tenant, in any process.

A claimer with free slots that finds a tenant at its limit says so (hungry), at most once a second. A process that settles a job of such
a tenant tells all of them (vacant), unless it takes the slot itself. Nobody at a limit: nothing is said, and a settle looks at an empty
set. What gets lost costs a claimer's next look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.domain.wakeup import HUNGRY, VACANT, Note
from jobqueue.operations.wakeups import Waker

SAID_S: Final = 1.0
"""A hungry claimer says it again after this."""
HEARD_S: Final = 2.5
"""And is believed this long: two that got lost, or one who stopped."""


class Vacancies:
    """One process's part in it."""

    def __init__(self, waker: Waker, *, sender: int, clock: Clock) -> None:
        """sender: a number of this process's own."""
        self._waker = waker
        self._sender = sender
        self._clock = clock
        self._said_at: dict[int, float] = {}
        self._hungry_at: dict[int, float] = {}

    @property
    def hungry(self) -> Collection[int]:
        """Tenants for whose slots others wait; some of them may have stopped."""
        return self._hungry_at.keys()

    def want(self, tenants: Iterable[int]) -> None:
        """Say that slots of these tenants would be taken."""
        now_s = self._clock.monotonic()
        for tenant in tenants:
            if now_s - self._said_at.get(tenant, float("-inf")) >= SAID_S:
                self._said_at[tenant] = now_s
                self._waker.note((HUNGRY, tenant, self._sender))
        if len(self._said_at) > 1_000:
            self._said_at = {tenant: at for tenant, at in self._said_at.items() if now_s - at < SAID_S}

    def offer(self, tenant: int) -> None:
        """A slot of a tenant is free: tell those who wait for it, if any do."""
        heard_at = self._hungry_at.get(tenant)
        if heard_at is None:
            return
        if self._clock.monotonic() - heard_at > HEARD_S:
            del self._hungry_at[tenant]
            return
        self._waker.note((VACANT, tenant, self._sender))

    def heard(self, note: Note) -> int | None:
        """Take a note; answers the tenant another process has freed a slot of."""
        kind, tenant, sender = note
        if sender == self._sender:
            return None
        if kind == HUNGRY:
            self._hungry_at[tenant] = self._clock.monotonic()
            return None
        return tenant
