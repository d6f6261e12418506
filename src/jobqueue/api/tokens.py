"""Bearer tokens: JWTs signed with HS256, for 15 minutes.

Several secrets allow rotation: the first signs, all verify; `kid` says which one it was. A header may say nothing beyond `alg`, `typ` and
`kid`, so no key is ever looked up anywhere but among the secrets in memory. A verified token is remembered until it expires; whether the
key or user it was made for still lives is asked each time (KeyRing and UserRing remember that for some seconds), so a deleted key takes its
tokens along.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from jobqueue.domain.access import REFUSAL, Principal
from jobqueue.domain.errors import Unauthenticated

ALGORITHMS: Final = ("HS256",)
ISSUER: Final = "jobqueue"
AUDIENCE: Final = "jobqueue-api"
LIFETIME_S: Final = 900
CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub", "tenant_id", "scopes")
HEADER_FIELDS: Final = frozenset({"alg", "typ", "kid"})
KINDS: Final = ("key", "user")
REMEMBERED_MAX: Final = 10_000
TOKEN_CHARACTERS_MAX: Final = 2_048
"""Four times what one with every scope has; anything longer is not looked into."""
COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")
"""Three parts of base64url without padding, the last one a SHA-256."""
UNREADABLE: Final = (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What becomes of a token that is not one: PyJWT lets errors of the parts it reads through."""


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
        self._secrets = {key_id_of(secret): secret for secret in secrets}
        self._signing_id = key_id_of(secrets[0])
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
        secret = self._secrets[self._signing_id]
        return jwt.encode(claims, secret, algorithm=ALGORITHMS[0], headers={"kid": self._signing_id}), LIFETIME_S

    def read(self, token: str) -> Claims:
        """Read a token that one of the secrets signed and that has not expired. Raises Unauthenticated, the same for every reason."""
        if len(token) > TOKEN_CHARACTERS_MAX or COMPACT.fullmatch(token) is None:
            raise Unauthenticated(REFUSAL)
        digest = hashlib.sha256(token.encode("ascii")).digest()
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
        try:
            for secret in self._candidates(jwt.get_unverified_header(token)):
                try:
                    return _claims(self._decode(token, secret))
                except jwt.InvalidSignatureError:
                    continue
        except UNREADABLE as error:
            raise Unauthenticated(REFUSAL) from error
        raise Unauthenticated(REFUSAL)

    def _candidates(self, header: dict[str, Any]) -> list[str]:
        """The secrets that may have signed a token: the one it names, all where it names none."""
        if not header.keys() <= HEADER_FIELDS or header.get("typ", "JWT") != "JWT":
            return []
        if "kid" not in header:
            return list(self._secrets.values())
        kid = header["kid"]
        return [self._secrets[kid]] if isinstance(kid, str) and kid in self._secrets else []

    @staticmethod
    def _decode(token: str, secret: str) -> dict[str, Any]:
        said: dict[str, Any] = jwt.decode(
            token, secret, algorithms=list(ALGORITHMS), audience=AUDIENCE, issuer=ISSUER, options={"require": list(CLAIMS)}
        )
        return said


def key_id_of(secret: str) -> str:
    """Name a secret without telling it: part of a hash of it, under a prefix of its own."""
    return hashlib.sha256(b"jobqueue kid\0" + secret.encode()).hexdigest()[:16]


def _claims(said: dict[str, Any]) -> Claims:
    """Take the claims of a token we signed ourselves. Raises Unauthenticated where one is not of its type."""
    kind, _, number = said["sub"].partition(":")
    tenant, scopes, expires_at_s = said["tenant_id"], said["scopes"], said["exp"]
    is_text = isinstance(tenant, str) and isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes)
    if kind not in KINDS or not number or not is_text or type(expires_at_s) is not int or said["aud"] != AUDIENCE:
        raise Unauthenticated(REFUSAL)
    return Claims(kind, number, tenant, frozenset(scopes), expires_at_s)
