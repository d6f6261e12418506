"""The header Prefer (RFC 7240), of which `wait` is known; what is not known or cannot be read is ignored, as the RFC has it."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request

from jobqueue.api.parameters import WAIT_S_MAX

HEADER: Final = "Prefer"
APPLIED: Final = "Preference-Applied"
WAIT: Final = re.compile(r'wait[ \t]*=[ \t]*("?)([0-9]{1,9})\1[ \t]*(?:;.*)?', re.IGNORECASE | re.ASCII)
DOCUMENTED: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "wait=1",
    "description": f"`wait=N`: answer when the job has ended, after N seconds at the most (not over {WAIT_S_MAX}).",
}


def read_wait(request: Request) -> int | None:
    """Read how many seconds the caller would wait, at most WAIT_S_MAX; None: not at all. Of several the first counts."""
    for line in request.headers.getlist(HEADER):
        for preference in line.split(","):
            if (found := WAIT.fullmatch(preference.strip(" \t"))) is not None:
                return min(int(found[2]), WAIT_S_MAX)
    return None


def applied(wait_s: int) -> dict[str, str]:
    """Say which preference was honoured."""
    return {APPLIED: f"wait={wait_s}"}
