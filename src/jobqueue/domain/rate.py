"""How many requests a minute a tenant may make, over any number of processes: what one process holds of a tenant's bucket.

The bucket is in the database. A process draws from it what waits and, where its own pace says that it will be spent soon, a few ahead;
what stays unspent goes back. Far from the limit that is a few statements a second whatever the pace; close to it, a process draws for
the requests that wait and at most 50 ms of the rate ahead (docs/adr). Invariant: what is in the bucket and in all hands together is never
more than the burst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

BURST_MINUTES: Final = 2
"""A bucket holds this many minutes of its rate."""
AHEAD_S: Final = 1.0
"""What the present pace spends in this time is drawn ahead, as far as the bucket's state allows."""
AHEAD_MAX: Final = 100_000
"""More is never drawn ahead, whatever the pace."""
HOLD_S: Final = 3.0
"""What nobody spent for this long goes back; what is held on to is accounted for at least as often."""
TRUST_S: Final = 8.0
"""What is at hand may be spent this long after the draw was sent."""
HELD_S: Final = 15.0
"""The database takes what a silent process holds for spent after this: longer than TRUST_S, so it is never granted twice."""
UNLIMITED_S: Final = 5.0
"""That a tenant has no limit is asked again after this."""
REFUSED_S_MAX: Final = 1.0
"""An empty bucket is asked again after this, though it fills later: something may have been given back, or the rate raised."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one process asks of one bucket: to keep hand, put back, have need for requests that wait and want ahead."""

    tenant_id: int
    hand: int
    back: int
    need: int
    want: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a bucket answered. per_minute None: no limit. given of the needs, ahead of the wants, tokens still in it."""

    per_minute: int | None
    given: int
    ahead: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tenant stands with its rate. left: requests that pass now; wait_s: until one does, if none is left, else until all do."""

    per_minute: int
    left: int
    wait_s: float

    @property
    def burst(self) -> int:
        """How many requests may pass at once."""
        return BURST_MINUTES * self.per_minute


class Purse:
    """What one process holds of one tenant's bucket. Times are monotonic seconds, handed in."""

    __slots__ = ("_as_of", "_drawn_at", "_spent", "_used_at", "drawn", "granted", "hand", "tenant_id")

    def __init__(self, tenant_id: int) -> None:
        self.tenant_id = tenant_id
        self.hand = 0
        self.granted = 0
        self.drawn: Drawn | None = None
        self._drawn_at = float("-inf")
        self._as_of = float("-inf")
        self._used_at = float("-inf")
        self._spent = 0

    def is_unlimited(self, now_s: float) -> bool:
        """Whether the tenant is known to have no limit."""
        return self.drawn is not None and self.drawn.per_minute is None and now_s - self._drawn_at < UNLIMITED_S

    def spend(self, now_s: float) -> bool:
        """Take one from the hand, if there is one that may still be spent."""
        self._used_at = now_s
        if not self.hand:
            return False
        if now_s - self._drawn_at >= TRUST_S:
            self.hand = 0  # the database takes them for spent
            return False
        self.hand -= 1
        self._spent += 1
        return True

    def give_back(self) -> None:
        """Put one back that was spent on a request which does not count."""
        self.hand += 1

    @property
    def is_low(self) -> bool:
        """Whether it is time to draw before the hand is empty."""
        return self.hand < self.granted // 4

    def is_due(self, now_s: float) -> bool:
        """Whether what is held must be accounted for, or goes back."""
        return self.hand > 0 and now_s - self._drawn_at >= HOLD_S

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing is lost by forgetting it."""
        return not self.hand and now_s - max(self._used_at, self._drawn_at) >= UNLIMITED_S

    def ask(self, need: int, now_s: float) -> Ask:
        """Say what to draw; what goes back leaves the hand now, so it cannot be spent meanwhile."""
        target = 0
        if now_s - self._used_at < HOLD_S:
            pace = (self._spent + need) / max(now_s - self._drawn_at, 0.001)
            target = min(max(0, math.ceil(pace * AHEAD_S) - 1), AHEAD_MAX)
        back = max(0, self.hand - target) if now_s - self._drawn_at >= HOLD_S else 0
        assert 0 <= back <= self.hand
        self.hand -= back
        return Ask(self.tenant_id, self.hand, back, need, max(0, target - self.hand))

    def take_in(self, drawn: Drawn, *, sent_at_s: float, now_s: float) -> None:
        """Learn what a draw brought; what was given of the needs is spent by those who waited.

        What is at hand is trusted from when the draw was sent; the bucket fills from when its answer is here: each the careful way.
        """
        self.hand += drawn.ahead
        self.granted = self.hand
        self.drawn = drawn
        self._drawn_at = sent_at_s
        self._as_of = now_s
        self._spent = drawn.given

    def refusal(self, now_s: float) -> float | None:
        """How long until a request passes, when it is known that none does now."""
        if self.drawn is None or self.drawn.per_minute is None or now_s - self._drawn_at >= REFUSED_S_MAX:
            return None
        standing = self.standing(now_s)
        return None if standing is None or standing.left else standing.wait_s

    def standing(self, now_s: float) -> Standing | None:
        """Say how the tenant stands, as far as this process knows; None: it has no limit."""
        if self.drawn is None or self.drawn.per_minute is None:
            return None
        per_s = self.drawn.per_minute / 60
        burst = BURST_MINUTES * self.drawn.per_minute
        tokens = min(burst, self.drawn.tokens + self.hand + per_s * (now_s - self._as_of))
        left = int(tokens + 1e-6)
        return Standing(self.drawn.per_minute, left, (burst - tokens if left else 1 - tokens) / per_s)
