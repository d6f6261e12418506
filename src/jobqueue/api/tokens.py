"""Bearer tokens: JWTs signed with HS256, for 15 minutes.

Several secrets allow rotation: the first signs, all verify. A verified token is remembered until it expires; whether the key it was made
from still lives is asked each time (KeyRing.still_lives, which remembers that for some seconds), so a deleted key takes its tokens along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from jobqueue.domain.access import Principal
from jobqueue.domain.errors import Unauthenticated

ALGORITHMS: Final = ("HS256",)
ISSUER: Final = "jobqueue"
AUDIENCE: Final = "jobqueue-api"
LIFETIME_S: Final = 900
CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub", "tenant_id", "scopes")
REMEMBERED_MAX: Final = 10_000
REFUSAL: Final = "the credential is not valid"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of ours says. kind and id name the key or user it was made for; expires_at_s is Unix time."""

    kind: str
    id: str
    tenant: str
    scopes: frozenset[str]
    expires_at_s: int


class TokenSigner:
    """Makes tokens and reads them."""

    def __init__(self, secrets: Sequence[str], *, now_s: Callable[[], float]) -> None:
        """secrets: at least 32 bytes each. now_s: Unix time, which tokens carry."""
        assert secrets
        self._secrets = tuple(secrets)
        self._now_s = now_s
        self._known: dict[bytes, Claims] = {}

    def sign(self, principal: Principal) -> tuple[str, int]:
        """Make a token with the principal's scopes; answers it and how many seconds it lives."""
        now_s = int(self._now_s())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
            "sub": f"{principal.kind}:{principal.id}",
            "tenant_id": principal.tenant,
            "scopes": sorted(principal.scopes),
        }
        return jwt.encode(claims, self._secrets[0], algorithm=ALGORITHMS[0]), LIFETIME_S

    def read(self, token: str) -> Claims:
        """Read a token that one of the secrets signed and that has not expired. Raises Unauthenticated, the same for every reason."""
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._known.get(digest)
        if claims is None:
            claims = self._verify(token)
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[digest] = claims
        if self._now_s() >= claims.expires_at_s:
            self._known.pop(digest, None)
            raise Unauthenticated(REFUSAL)
        return claims

    def _verify(self, token: str) -> Claims:
        for secret in self._secrets:
            try:
                said = jwt.decode(
                    token, secret, algorithms=list(ALGORITHMS), audience=AUDIENCE, issuer=ISSUER, options={"require": list(CLAIMS)}
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError) as error:
                raise Unauthenticated(REFUSAL) from error
            return _claims(said)
        raise Unauthenticated(REFUSAL)


def _claims(said: dict[str, Any]) -> Claims:
    """Take the claims of a token we signed ourselves."""
    kind, separator, number = str(said["sub"]).partition(":")
    scopes = said["scopes"]
    if not separator or not isinstance(scopes, list):
        raise Unauthenticated(REFUSAL)
    return Claims(kind, number, str(said["tenant_id"]), frozenset(map(str, scopes)), int(said["exp"]))
