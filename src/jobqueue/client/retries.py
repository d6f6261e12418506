"""When to try again.

A call is tried again when its answer did not come, when the service says that it cannot now, and when a limit is reached; after what
`Retry-After` says where it says something, else after an exponential backoff with jitter. A call that must not happen twice is only tried
again where it certainly has not happened. Every other error is final.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

import stamina

from jobqueue.client.problems import Unreachable
from jobqueue.domain.errors import JobQueueError, LimitReached, Overloaded, SubmitInProgress, Unavailable

TRIES_MAX: Final = 100
"""Beside the time: a server that answers 503 at once is not asked for ever."""
WAIT_S_FIRST, WAIT_S_MAX, JITTER_S = 0.1, 5.0, 0.2
SPREAD: Final = 0.1
"""What comes on top of Retry-After, as a share of it: all refused clients together would be refused again."""


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How long to keep trying, in seconds from the first try; 0 never tries again."""

    for_s: float = 60.0

    def tries(self, *, is_repeatable: bool) -> Any:
        """Make stamina's iterator over tries. is_repeatable: the call may happen twice."""
        return stamina.retry_context(
            on=wait_before_again if is_repeatable else wait_before_first,
            attempts=TRIES_MAX if self.for_s > 0 else 1,
            timeout=self.for_s or None,
            wait_initial=WAIT_S_FIRST,
            wait_max=WAIT_S_MAX,
            wait_jitter=JITTER_S,
        )


def wait_before_again(error: Exception) -> bool | float:
    """Say for a call that may happen twice whether to try again, or after how many seconds."""
    if not isinstance(error, Unavailable | LimitReached | SubmitInProgress):
        return False
    return _wait_s(error)


def wait_before_first(error: Exception) -> bool | float:
    """The same for a call that must not happen twice: only where it has not happened at all."""
    never_came = isinstance(error, Unreachable) and not error.was_sent
    if never_came or isinstance(error, LimitReached | Overloaded):
        assert isinstance(error, JobQueueError)
        return _wait_s(error)
    return False


def _wait_s(error: JobQueueError) -> bool | float:
    after_s = getattr(error, "retry_after_s", None)
    return True if after_s is None else float(after_s) * (1 + SPREAD * random.random())
