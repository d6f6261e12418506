"""What follows an attempt that did not succeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DOUBLINGS_MAX: Final = 40
"""2**40 s is longer than any cap; the exponent stays small whatever max_attempts says."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of a job's retries. Delays are seconds."""

    attempts_max: int
    crashes_max: int
    delay_s_base: float
    delay_s_max: float


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Wait this long, then run again."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class RetryNow:
    """Go back to the queue at once; a lost lease is nobody's fault that waiting would mend."""


@dataclass(frozen=True, slots=True)
class Bury:
    """Into the dead letter queue."""

    reason: str


def after_failure(policy: RetryPolicy, *, attempt: int, jitter: float) -> RetryAfter | Bury:
    """Decide what follows a failed attempt.

    attempt counts from 1. jitter is in [0, 1); the caller draws it, so the result is repeatable. The delay is exponential
    backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015).
    """
    assert attempt >= 1
    assert 0 <= jitter < 1
    if attempt >= policy.attempts_max:
        return Bury("attempts exhausted")
    delay_s = min(policy.delay_s_base * 2.0 ** min(attempt - 1, DOUBLINGS_MAX), policy.delay_s_max)
    return RetryAfter(delay_s * jitter)


def after_crash(policy: RetryPolicy, *, attempt: int, crashes: int) -> RetryNow | Bury:
    """Decide what follows a run that took its process with it. crashes counts this one."""
    assert attempt >= 1
    assert crashes >= 1
    if crashes >= policy.crashes_max:
        return Bury("crashes exhausted")
    if attempt >= policy.attempts_max:
        return Bury("attempts exhausted")
    return RetryNow()
