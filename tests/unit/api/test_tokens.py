import base64
import json
import time

import jwt
import pytest

from jobqueue.api.tokens import AUDIENCE, ISSUER, LIFETIME_S, TokenSigner
from jobqueue.domain.access import Principal, Scope
from jobqueue.domain.errors import Unauthenticated

OLD, NEW = "the old secret of thirty-two bytes!", "the new secret of thirty-two bytes!"
PRINCIPAL = Principal("key", "k1", 7, "demo", frozenset({Scope.JOBS_READ, Scope.WORK}))


class Now:
    def __init__(self) -> None:
        self.s = time.time()

    def __call__(self) -> float:
        return self.s


def claims(**changes: object) -> dict[str, object]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60, "sub": "key:k1", "tenant_id": "demo", "scopes": ["work"]}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def forge(secret: str = NEW, algorithm: str = "HS256", **changes: object) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


def test_a_token_says_whom_it_was_made_for() -> None:
    signer = TokenSigner([NEW], now_s=Now())
    token, lifetime_s = signer.sign(PRINCIPAL)
    said = signer.read(token)
    assert (said.kind, said.id, said.tenant, said.scopes) == ("key", "k1", "demo", PRINCIPAL.scopes)
    assert lifetime_s == LIFETIME_S == 900


def test_a_token_has_the_claims_of_the_contract() -> None:
    token, _ = TokenSigner([NEW], now_s=Now()).sign(PRINCIPAL)
    assert set(jwt.decode(token, options={"verify_signature": False})) == {"iss", "aud", "exp", "iat", "sub", "tenant_id", "scopes"}


def test_any_secret_verifies_and_the_first_one_signs() -> None:
    now = Now()
    before = TokenSigner([OLD], now_s=now).sign(PRINCIPAL)[0]
    rotated = TokenSigner([NEW, OLD], now_s=now)
    assert rotated.read(before).id == "k1"
    with pytest.raises(Unauthenticated):
        TokenSigner([OLD], now_s=now).read(rotated.sign(PRINCIPAL)[0])


def test_a_remembered_token_still_expires() -> None:
    now = Now()
    signer = TokenSigner([NEW], now_s=now)
    token, lifetime_s = signer.sign(PRINCIPAL)
    now.s += lifetime_s - 2
    assert signer.read(token).id == "k1"
    now.s += 2
    with pytest.raises(Unauthenticated):
        signer.read(token)


def unsigned() -> str:
    part = [base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode() for value in ({"alg": "none"}, claims())]
    return ".".join([*part, ""])


WRONG = {
    "unsigned": unsigned(),
    "other secret": forge(OLD),
    "other algorithm": forge(NEW + NEW, "HS512"),
    "expired": forge(exp=int(time.time()) - 1),
    "no expiry": forge(exp=None),
    "issued in the future": forge(iat=int(time.time()) + 3600),
    "other issuer": forge(iss="somebody"),
    "other audience": forge(aud="somewhere"),
    "no audience": forge(aud=None),
    "no tenant": forge(tenant_id=None),
    "no scopes": forge(scopes=None),
    "scopes as one word": forge(scopes="work"),
    "no kind": forge(sub="k1"),
    "not a token": "nonsense",
    "not ascii": "nönsense",
    "empty": "",
    "cut": forge()[:-4],
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG)
def test_any_other_token_is_refused_in_the_same_words(token: str) -> None:
    with pytest.raises(Unauthenticated, match=r"^the credential is not valid$"):
        TokenSigner([NEW], now_s=Now()).read(token)
