"""Wrong and forged bearer tokens, each with what is wrong about it: everything RFC 8725 warns of, and what else may come to mind."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

from jobqueue.api.tokens import AUDIENCE, ISSUER, key_id_of
from tests.unit.api.application import SECRET

OLD_SECRET = "an old secret, long taken out of use by now"
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n-----END PUBLIC KEY-----\n"
KID = key_id_of(SECRET)
DEEP = b"[" * 700 + b"]" * 700
DAY_S = 86_400
"""Later than any run of the suite lasts: the tokens are made when it begins."""


def part(value: Any) -> str:
    """One part of a token: an object as JSON, or bytes as they are."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def craft(header: Any = None, claims: Any = None, *, secret: str | bytes = SECRET, digest: str = "sha256") -> str:
    """A token of any content, signed with any secret. None: what a good one has."""
    signed = f"{part(good_header() if header is None else header)}.{part(good_claims() if claims is None else claims)}"
    key = secret if isinstance(secret, bytes) else secret.encode()
    return f"{signed}.{part(hmac.digest(key, signed.encode(), digest))}"


def good_header(**changes: Any) -> dict[str, Any]:
    """The header of a good token, changed; ... takes a field out."""
    return _changed({"alg": "HS256", "typ": "JWT", "kid": KID}, changes)


def good_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; ... takes a field out."""
    now_s = int(time.time())
    scopes = ["jobs:read", "jobs:write", "work", "tenant:admin", "metrics:read", "operator"]
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now_s, "exp": now_s + 900, "sub": "key:k1", "tenant_id": "demo", "scopes": scopes}
    return _changed(claims, changes)


def _changed(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**fields, **changes}.items() if value is not ...}


def forged() -> dict[str, str]:
    """All of them, by what is wrong."""
    return dict([*_algorithms(), *_keys(), *_headers(), *_claims(), *_forms()])


def _algorithms() -> Iterator[tuple[str, str]]:
    for name in ("none", "None", "NONE", "nOnE", ""):
        signed = f"{part(good_header(alg=name))}.{part(good_claims())}"
        yield f"alg {name!r} without signature", f"{signed}."
        yield f"alg {name!r} with the right signature", craft(good_header(alg=name))
    for name in ("HS384", "HS512"):
        yield f"alg {name} with the right secret", craft(good_header(alg=name), digest=f"sha{name[2:]}")
    for name in ("RS256", "PS256", "ES256", "EdDSA", "hs256", "HS256 ", "HMACSHA256", None, 256, ["HS256"], {"alg": "HS256"}):
        yield f"alg {name!r} with a signature of HS256", craft(good_header(alg=name))
    yield "no alg", craft(good_header(alg=...))
    yield "HS256 under a public key", craft(secret=PUBLIC_KEY)
    yield "HS256 under a public key, no kid", craft(good_header(kid=...), secret=PUBLIC_KEY)
    yield "no secret at all", craft(good_header(kid=...), secret=b"")


def _keys() -> Iterator[tuple[str, str]]:
    for kid in ("../../../dev/null", "/dev/null", "file:///dev/null", "", "0", "' OR 1=1 --", "' UNION SELECT ''", "x" * 900, "\0"):
        yield f"kid {kid[:20]!r} and an empty secret", craft(good_header(kid=kid), secret=b"")
        yield f"kid {kid[:20]!r} and the right secret", craft(good_header(kid=kid))
    for kid in (None, 0, True, [KID], {"kid": KID}):
        yield f"kid {kid!r}", craft(good_header(kid=kid))
    yield "a secret taken out of use, under its name", craft(good_header(kid=key_id_of(OLD_SECRET)), secret=OLD_SECRET)
    yield "a secret taken out of use, under today's name", craft(secret=OLD_SECRET)
    yield "a secret taken out of use, under none", craft(good_header(kid=...), secret=OLD_SECRET)
    yield "the secret's name as the secret", craft(secret=KID)


def _headers() -> Iterator[tuple[str, str]]:
    jwk = {"kty": "oct", "k": part(b"mine"), "kid": KID}
    for name, value in {
        "jwk": jwk,
        "jku": "http://127.0.0.1:1/jwks.json",
        "x5u": "http://127.0.0.1:1/cert.pem",
        "x5c": [part(b"mine")],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "p2c": 2_000_000_000,
    }.items():
        yield f"{name} and a secret of its own", craft(good_header(**{name: value}), secret=b"mine")
        yield f"{name} and the right secret", craft(good_header(**{name: value}))
    for typ in ("at+jwt", "jwt+none", 1, None):
        yield f"typ {typ!r}", craft(good_header(typ=typ))
    for name, header in {
        "a list": [],
        "a text": "HS256",
        "a number": 1,
        "null": b"null",
        "no JSON": b"{",
        "nothing but depth": DEEP,
    }.items():
        yield f"a header that is {name}", craft(header)
    yield "a header that is no UTF-8", craft(b'{"alg":"HS256","typ":"\xff"}')


def _claims() -> Iterator[tuple[str, str]]:
    now_s = int(time.time())
    changes: dict[str, dict[str, Any]] = {
        "expired": {"exp": now_s - 1},
        "expired long ago": {"exp": 0},
        "valid later": {"nbf": now_s + DAY_S},
        "issued later": {"iat": now_s + DAY_S},
        "of another issuer": {"iss": "somebody"},
        "of two issuers": {"iss": [ISSUER, "somebody"]},
        "for somebody else": {"aud": "somebody"},
        "for us among others": {"aud": [AUDIENCE, "somebody"]},
        "of another tenant": {"tenant_id": "other"},
        "of a tenant in other letters": {"tenant_id": "DEMO"},
        "of another key": {"sub": "key:k2"},
        "of an unknown user": {"sub": "user:018f0000-0000-7000-8000-000000000000"},
        "of a user by the id of a key": {"sub": "user:k1"},
        "of an unknown kind": {"sub": "root:k1"},
        "of no kind": {"sub": "k1"},
        "of nobody": {"sub": "key:"},
        "of a key and a path": {"sub": "key:../k1"},
        "of a key and SQL": {"sub": "key:' OR 1=1 --"},
    }
    for name in ("iss", "aud", "exp", "iat", "sub", "tenant_id", "scopes"):
        changes[f"without {name}"] = {name: ...}
        changes[f"with {name} null"] = {name: None}
    for name, values in {
        "exp": ("soon", str(now_s + 900), float(now_s + 900), True, [now_s], float("inf"), float("nan")),
        "iat": ("now", [now_s], float("inf")),
        "nbf": ("now", [now_s], float("inf")),
        "sub": (1, ["key:k1"], {"key": "k1"}),
        "tenant_id": (1, ["demo"], True),
        "scopes": ("operator", [1], {"operator": True}, [["operator"]]),
    }.items():
        for value in values:
            changes[f"with {name} {value!r}"] = {name: value}
    for what, fields in changes.items():
        yield what, craft(claims=good_claims(**fields))
    for what, claims in {"a list": [], "a text": "k1", "null": b"null", "no JSON": b"{", "nothing": b"", "nothing but depth": DEEP}.items():
        yield f"claims that are {what}", craft(claims=claims)


def _forms() -> Iterator[tuple[str, str]]:
    good = craft()
    header, claims, signature = good.split(".")
    yield "without its signature", f"{header}.{claims}"
    yield "with an empty signature", f"{header}.{claims}."
    yield "with a signature cut short", good[:-4]
    yield "with a signature of zeros", f"{header}.{claims}.{part(bytes(32))}"
    yield "with another's signature", f"{header}.{claims}.{craft(claims=good_claims(tenant_id='other')).split('.')[2]}"
    yield "with more claims than were signed", f"{header}.{part(good_claims(tenant_id='other'))}.{signature}"
    yield "with another header than was signed", f"{part(good_header(typ=...))}.{claims}.{signature}"
    yield "with its parts exchanged", f"{claims}.{header}.{signature}"
    yield "with four parts", f"{good}.{signature}"
    yield "with five parts", f"{header}..{part(b'iv')}.{claims}.{signature}"
    yield "with padding", f"{good}="
    yield "with dots only", ".."
    yield "signed as plain text", f"{header}.{claims}.{hashlib.sha256(SECRET.encode()).hexdigest()}"
    yield "as JSON", json.dumps({"protected": header, "payload": claims, "signature": signature})
    yield "in quotes", f'"{good}"'
    yield "twice", f"{good},{good}"
    yield "with a space in it", good.replace(".", ". ", 1)
    yield "as an API key", f"jq_{good}"
    yield "of 16 KiB", craft(claims=good_claims(filler="x" * 12_000))
    yield "of 16 KiB of nothing", "A" * 16_384
    yield "in other letters", good.swapcase()
