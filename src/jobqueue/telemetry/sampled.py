"""Whether a trace is sampled, read off its `traceparent`: all that a process without traces needs of them."""

from __future__ import annotations

from typing import Final

ODD_DIGITS: Final = frozenset("13579bdf")
"""The last digit holds the flag `sampled` in its lowest bit."""


def is_sampled(traceparent: str | None) -> bool:
    """Tell whether somebody keeps this trace."""
    return traceparent is not None and traceparent[-1] in ODD_DIGITS
