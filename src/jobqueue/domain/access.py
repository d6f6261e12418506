"""Who may do what: scopes, and the form of an API key.

A key is `jq_<id>_<secret><checksum>`: 8 characters that name it, 43 that are 256 random bits in base 62, 6 that are a CRC-32 so that a
scanner can tell a key from noise offline. The server keeps the SHA-256 of the whole; 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """A right a credential can carry."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    WORK = "work"
    TENANT_ADMIN = "tenant:admin"
    METRICS_READ = "metrics:read"
    OPERATOR = "operator"


TENANT_SCOPES: Final = (Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.WORK, Scope.TENANT_ADMIN, Scope.METRICS_READ)
"""What a tenant can do with its own; `operator` crosses tenants and is given only from the command line."""

REFUSAL: Final = "the credential is not valid"
"""What is said of every credential that is not good, whatever is wrong with it."""

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARACTERS, SECRET_CHARACTERS, CHECKSUM_CHARACTERS = 8, 43, 6
SECRET_BYTES: Final = 32
ID_BYTES: Final = 6
API_KEY_ID: Final = re.compile(rf"[0-9A-Za-z]{{{ID_CHARACTERS}}}")
API_KEY: Final = re.compile(rf"jq_([0-9A-Za-z]{{{ID_CHARACTERS}}})_([0-9A-Za-z]{{{SECRET_CHARACTERS + CHECKSUM_CHARACTERS}}})")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a verified credential speaks for. id: the API key's or user's; name: what the key is for, the user's email address."""

    kind: str
    id: str
    tenant_id: int
    tenant: str
    scopes: frozenset[str]
    name: str | None = None


def base62(number: int, characters: int) -> str:
    """Write a number in a fixed count of base 62 digits. Raises AssertionError when it does not fit."""
    digits = []
    for _ in range(characters):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    assert number == 0
    return "".join(reversed(digits))


def make_api_key(*, id_bytes: bytes, secret_bytes: bytes) -> tuple[str, str]:
    """Form a key from random bytes of the caller's. Answers (its id, the key)."""
    assert len(id_bytes) == ID_BYTES
    assert len(secret_bytes) == SECRET_BYTES
    # 47 bits, so that 8 digits hold it
    key_id = base62(int.from_bytes(id_bytes, "big") >> 1, ID_CHARACTERS)
    body = f"jq_{key_id}_{base62(int.from_bytes(secret_bytes, 'big'), SECRET_CHARACTERS)}"
    return key_id, body + checksum(body)


def checksum(body: str) -> str:
    """CRC-32 of a key without its checksum, in base 62."""
    return base62(zlib.crc32(body.encode("ascii")), CHECKSUM_CHARACTERS)


def read_api_key(text: str) -> str | None:
    """Answer the id in a well-formed key; None: it cannot be one of ours."""
    match = API_KEY.fullmatch(text)
    if match is None or checksum(text[:-CHECKSUM_CHARACTERS]) != text[-CHECKSUM_CHARACTERS:]:
        return None
    return match[1]


def hash_api_key(text: str) -> str:
    """SHA-256 of a key, in hex: what the server keeps."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()
