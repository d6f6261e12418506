"""What an answer says of the tenant's rate: RateLimit-Policy and RateLimit, draft-ietf-httpapi-ratelimit-headers-10.

Two policies describe the one bucket: the rate itself, and the burst it holds. RateLimit tells how the burst stands: r requests pass now;
t seconds until one does when none is left, else until all of the burst are there again.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from jobqueue.domain.rate import BURST_MINUTES, Standing
from jobqueue.operations.rates import Taken

UNCOUNTED: Final = frozenset({401, 403, 429})
"""Refusals do not count, nor does what failed on our side."""


def settle(taken: Taken, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Take back the count of a request that does not count, and add the headers of one whose tenant has a rate."""
    if status in UNCOUNTED or status >= 500:
        taken.give_back()
    standing = taken.standing()
    if standing is not None:
        headers += ((b"ratelimit-policy", policy(standing.per_minute)), (b"ratelimit", limit(standing)))


@lru_cache(maxsize=1000)
def policy(per_minute: int) -> bytes:
    """Write the policies of a rate."""
    return f'"rate";q={per_minute};w=60, "burst";q={BURST_MINUTES * per_minute};w={60 * BURST_MINUTES}'.encode()


def limit(standing: Standing) -> bytes:
    """Write how the burst stands."""
    return b'"burst";r=%d;t=%d' % (standing.left, math.ceil(standing.wait_s))
