"""When to try again.

A call is tried again when its answer did not come, when the service says that it cannot now, and when a limit is reached; after what
`Retry-After` says where it says something, else after an exponential backoff with jitter. A call that must not happen twice is only tried
again where it certainly has not happened. Every other error is final.

A loop of our own: libraries for this tell of each retry through hooks that belong to the whole program, and by default print. A program
that uses the client hears of retries from the logger `jobqueue.client`, at the level info, and otherwise nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from jobqueue.aio.clock import SystemClock
from jobqueue.client.problems import Unreachable
from jobqueue.domain.errors import JobQueueError, LimitReached, Overloaded, SubmitInProgress, Unavailable

LOGGER: Final = logging.getLogger("jobqueue.client")
TRIES_MAX: Final = 100
"""Beside the time: a server that answers 503 at once is not asked for ever."""
WAIT_S_FIRST, WAIT_S_MAX, JITTER_S = 0.1, 5.0, 0.2
SPREAD: Final = 0.1
"""What comes on top of Retry-After, as a share of it: all refused clients together would be refused again."""


DOUBLINGS_MAX: Final = 16

Judge = Callable[[Exception], bool | float]


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How long to keep trying, in seconds from the first try; 0 never tries again."""

    for_s: float = 60.0

    def tries(self, *, is_repeatable: bool) -> Tries:
        """Make the iterator over tries, each a block `with` it. is_repeatable: the call may happen twice."""
        return Tries(wait_before_again if is_repeatable else wait_before_first, for_s=self.for_s)


class Tries:
    """Tries of one call, until a block passes, an error is final, or it is too late for another one.

    Each step gives the object itself, to be entered: `for attempt in tries: with attempt: return call()`, or the same with `async for`.
    """

    def __init__(self, judge: Judge, *, for_s: float) -> None:
        self._judge = judge
        self._for_s = for_s
        self._clock = SystemClock()
        self._begun_s = self._clock.monotonic()
        self._failed = 0
        self._wait_s: float | None = 0.0  # until the next try; None: there is none

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Self:
        if self._wait_s is None:
            raise StopIteration
        time.sleep(self._wait_s)
        self._wait_s = None
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Self:
        if self._wait_s is None:
            raise StopAsyncIteration
        await self._clock.sleep(self._wait_s)
        self._wait_s = None
        return self

    def __enter__(self) -> None:
        """Try."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Keep an error back that another try may mend."""
        if not isinstance(error, Exception):
            return False
        self._failed += 1
        self._wait_s = self._wait_after(error)
        if self._wait_s is None:
            return False
        LOGGER.info("trying again in %.1f s after %s", self._wait_s, type(error).__name__)
        return True

    def _wait_after(self, error: Exception) -> float | None:
        asked = self._judge(error)
        if asked is False or self._failed >= TRIES_MAX:
            return None
        wait_s = _backoff_s(self._failed) if asked is True else asked
        is_too_late = self._clock.monotonic() - self._begun_s + wait_s > self._for_s
        return None if is_too_late or self._for_s <= 0 else wait_s


def _backoff_s(failed: int) -> float:
    """Seconds to wait after so many failures in a row."""
    assert failed >= 1
    return min(WAIT_S_MAX, WAIT_S_FIRST * 2.0 ** min(failed - 1, DOUBLINGS_MAX) + JITTER_S * random.random())


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
