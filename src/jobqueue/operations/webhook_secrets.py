"""Keep webhook secrets so that they can sign: sealed at rest with keys made of the API's secret keys.

Whoever reads the database alone, or a copy of it, can sign nothing. The first key seals, all of them open, so the API's secret keys are
rotated as for tokens: put the new one first, and take the old one away once the reaper has sealed everything anew (within the hour).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE: Final = b"jobqueue webhook secrets 1"
"""Keeps these keys apart from whatever else is made of the API's secret keys."""
KEY_BYTES: Final = 32


class SecretUnreadable(Exception):
    """The secret was sealed with a key that this process does not have."""


class SecretBox:
    """Seals and opens."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """secret_keys: the API's, the newest first; at least one."""
        assert secret_keys
        keys = [Fernet(base64.urlsafe_b64encode(_derive(key))) for key in secret_keys]
        self._newest = keys[0]
        self._all = MultiFernet(keys)

    def seal(self, secret: bytes) -> str:
        """Make of a secret what may be stored."""
        return self._newest.encrypt(secret).decode("ascii")

    def open(self, sealed: str) -> bytes:
        """Read a sealed secret. Raises SecretUnreadable."""
        try:
            return self._all.decrypt(sealed)
        except InvalidToken:
            raise SecretUnreadable("the endpoint's secret was sealed with a key that is not in JOBQUEUE_API_SECRET_KEY") from None

    def is_newest(self, sealed: str) -> bool:
        """Say whether the newest key opens it."""
        try:
            self._newest.decrypt(sealed)
        except InvalidToken:
            return False
        return True


def _derive(secret_key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret_key.encode())
