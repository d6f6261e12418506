"""What is known of a request before any route sees it: its ids, and the trace it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.operations.rates import Taken

KEY: Final = "jobqueue.context"
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACEPARENT_CHARACTERS: Final = 55
TRACE_ID: Final = slice(3, 35)
"""Where it stands in a traceparent."""


@dataclass(slots=True)
class RequestContext:
    """The ids of one request. correlation_id is the caller's, else the request's own id. taken: how it was counted, once it was.

    waited_s: how long the answer was kept back because the caller asked to wait for something.
    """

    request_id: str
    correlation_id: str
    traceparent: str | None
    taken: Taken | None = None
    waited_s: float = 0.0


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """Answer the context the middleware put into an ASGI scope."""
    context = scope[KEY]
    assert isinstance(context, RequestContext)
    return context


def read_traceparent(text: str) -> str | None:
    """Take a W3C traceparent; None when it is malformed, which starts a new trace and is never an error.

    A version after 00 may be followed by more, which is left out.
    """
    head, rest = text[:TRACEPARENT_CHARACTERS], text[TRACEPARENT_CHARACTERS:]
    if TRACEPARENT.fullmatch(head) is None or (rest and (head.startswith("00") or not rest.startswith("-"))):
        return None
    return head
