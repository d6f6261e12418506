"""What schemathesis cannot know from the document."""

import re
import uuid
from typing import Any

import schemathesis

HEADER = "Idempotency-Key"


WAIT_S_MAX = 1


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give each submit a key of its own: the same key with another body is a 422 by contract, and the generator likes the key `0`.

    Nobody runs most of these jobs, so waits are cut short.
    """
    wait = (case.query or {}).get("wait")
    if str(wait).isdecimal() and WAIT_S_MAX < int(wait) <= 30:
        case.query["wait"] = WAIT_S_MAX
    if re.match("wait *=", str((case.headers or {}).get("Prefer"))):
        case.headers["Prefer"] = f"wait={WAIT_S_MAX}"
    key = (case.headers or {}).get(HEADER)
    if isinstance(key, str) and key.isascii() and key.isprintable() and key.strip():
        case.headers[HEADER] = f"{uuid.uuid4()}-{key.strip().strip(chr(34))}"[:255]
