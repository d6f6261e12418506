"""The signature of a webhook, as Standard Webhooks 1.0 writes it: HMAC-SHA256 over `id.timestamp.body`, version v1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from uuid import UUID

SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin
VERSION: Final = "v1"


def write_secret(secret: bytes) -> str:
    """Write a secret as receivers keep it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode("ascii")


def read_secret(text: str) -> bytes:
    """Read a secret as write_secret wrote it. Raises ValueError."""
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a secret begins with {SECRET_PREFIX}")
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret is base64") from error


def sign(secret: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign one message with one secret."""
    assert "." not in message_id, "the parts are told apart by their dots"
    content = f"{message_id}.{timestamp}.".encode() + body
    return f"{VERSION},{base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode('ascii')}"


def headers(secrets: Sequence[bytes], *, delivery_id: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """Write the headers of a message, signed with each of the secrets: several while one replaces another. timestamp: Unix, of this try."""
    assert secrets
    message_id = str(delivery_id)
    signatures = [sign(secret, message_id=message_id, timestamp=timestamp, body=body) for secret in secrets]
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}
