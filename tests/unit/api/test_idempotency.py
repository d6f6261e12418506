import pytest

from jobqueue.api.idempotency import unquote
from jobqueue.domain.errors import IdempotencyKeyInvalid


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (' "a b" ', "a b"),
        (r'"a\"b\\c"', r"a\"b\c".replace('\\"', '"')),
        ("a" * 255, "a" * 255),
        ('"' + "a" * 255 + '"', "a" * 255),
        ('"', '"'),
        ('"a', '"a'),
        ("~", "~"),
    ],
)
def test_a_key_is_taken_quoted_or_bare(header: str, key: str) -> None:
    assert unquote(header) == key


@pytest.mark.parametrize("header", ["", " ", '""', "a" * 256, '"' + "a" * 256 + '"', "ä", "a\x7fb", "a\tb", "a\x00b"])
def test_any_other_key_is_refused(header: str) -> None:
    with pytest.raises(IdempotencyKeyInvalid):
        unquote(header)
