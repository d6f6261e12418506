"""The header Idempotency-Key: 1-255 printable ASCII characters, quoted (a structured field string, as the draft has it) or bare."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

from jobqueue.domain.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing
from jobqueue.domain.job import IDEMPOTENCY_KEY

HEADER: Final = "Idempotency-Key"
QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
ESCAPED: Final = re.compile(r"\\(.)")


def read_key(request: Request) -> str:
    """Read the key of a request. Raises IdempotencyKeyMissing, IdempotencyKeyInvalid."""
    values = request.headers.getlist(HEADER)
    if not values:
        raise IdempotencyKeyMissing(f"send an {HEADER} header, so that trying again cannot make a second job")
    if len(values) > 1:
        raise IdempotencyKeyInvalid(f"send one {HEADER} header, not {len(values)}")
    return unquote(values[0])


def unquote(text: str) -> str:
    """Take a key out of its quotes, if it has any. Raises IdempotencyKeyInvalid."""
    text = text.strip(" \t")
    quoted = QUOTED.fullmatch(text)
    key = text if quoted is None else ESCAPED.sub(r"\1", quoted[1])
    if IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise IdempotencyKeyInvalid(f"an {HEADER} is 1-255 printable ASCII characters")
    return key
