"""The form of an API key."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.access import (
    ALPHABET,
    API_KEY,
    ID_BYTES,
    SECRET_BYTES,
    TENANT_SCOPES,
    Scope,
    base62,
    checksum,
    hash_api_key,
    make_api_key,
    read_api_key,
)

KEY = make_api_key(id_bytes=b"123456", secret_bytes=bytes(range(32)))[1]


def make() -> tuple[str, str]:
    return make_api_key(id_bytes=secrets.token_bytes(ID_BYTES), secret_bytes=secrets.token_bytes(SECRET_BYTES))


@given(id_bytes=st.binary(min_size=ID_BYTES, max_size=ID_BYTES), secret_bytes=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_any_random_bytes_make_a_key_that_reads_back(id_bytes: bytes, secret_bytes: bytes) -> None:
    key_id, key = make_api_key(id_bytes=id_bytes, secret_bytes=secret_bytes)
    assert API_KEY.fullmatch(key)
    assert len(key) == 3 + 8 + 1 + 43 + 6
    assert read_api_key(key) == key_id


@given(secret=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), other=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_different_secrets_make_different_keys(secret: bytes, other: bytes) -> None:
    assert (make_api_key(id_bytes=bytes(6), secret_bytes=secret) == make_api_key(id_bytes=bytes(6), secret_bytes=other)) == (
        secret == other
    )


@given(place=st.integers(3, 60), character=st.sampled_from(ALPHABET))
def test_one_changed_character_is_noticed_without_the_database(place: int, character: str) -> None:
    _, key = make()
    changed = key[:place] + character + key[place + 1 :]
    assert read_api_key(changed) is None or changed == key


@pytest.mark.parametrize("text", ["", "jq_", "jq_12345678_", "JQ_" + "0" * 58, "jq_" + "0" * 8 + "_" + "é" * 49, KEY + "\n", " " + KEY])
def test_what_is_not_a_key_reads_as_none(text: str) -> None:
    assert read_api_key(text) is None


def test_checksum_covers_the_whole_body() -> None:
    _, key = make()
    assert key.endswith(checksum(key[:-6]))


def test_hash_is_sha256_in_hex_and_differs_by_key() -> None:
    assert len(hash_api_key(make()[1])) == 64
    assert hash_api_key(make()[1]) != hash_api_key(make()[1])


@given(number=st.integers(0, 62**6 - 1))
def test_base62_writes_in_order_and_fixed_width(number: int) -> None:
    text = base62(number, 6)
    assert len(text) == 6
    assert sum(ALPHABET.index(digit) * 62**place for place, digit in enumerate(reversed(text))) == number


def test_base62_refuses_what_does_not_fit() -> None:
    with pytest.raises(AssertionError):
        base62(62**3, 3)


def test_tenants_never_get_the_operator_s_scope() -> None:
    assert set(TENANT_SCOPES) == set(Scope) - {Scope.OPERATOR}
