import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import BodyMalformed, InvalidFields
from jobqueue.protocol import strict_json
from jobqueue.protocol.json_walk import DEPTH_MAX, find_fault

MALFORMED = {
    "empty": (b"", ""),
    "blank": (b" \n\t", ""),
    "byte order mark": (b"\xef\xbb\xbf{}", ""),
    "utf-16": ("{}".encode("utf-16"), ""),
    "not utf-8 in a value": (b'{"a":{"b":"\xff"}}', "/a/b"),
    "encoded surrogate": (b'{"a":"\xed\xa0\x80"}', "/a"),
    "NaN": (b'{"a":[1,NaN]}', "/a/1"),
    "Infinity": (b'{"a":Infinity}', "/a"),
    "-Infinity": (b'{"a":-Infinity}', "/a"),
    "lone high surrogate": (b'{"a":"\\ud800"}', "/a"),
    "lone low surrogate": (b'{"a":"x\\udc00y"}', "/a"),
    "lone surrogate in a key": (b'{"x":1,"\\ud800":1}', "/x"),
    "control character": (b'{"a":"\x01"}', "/a"),
    "raw NUL": (b'{"a":"\x00"}', "/a"),
    "cut off": (b'{"a":{"b":1', "/a/b"),
    "trailing comma": (b'{"a":1,}', "/a"),
    "single quotes": (b"{'a':1}", ""),
    "leading zero": (b'{"a":01}', "/a"),
    "more after the end": (b'{"a":1}{}', ""),
    "comment": (b'{"a":1/*x*/}', "/a"),
    "a hundred thousand brackets": (b"[" * 100_000, None),
}
REFUSED = {
    "duplicate key": (b'{"a":1,"a":2}', "/a"),
    "duplicate key, one escaped": (b'{"a":1,"\\u0061":2}', "/a"),
    "duplicate key, with an escaped colon beside it": (b'{"b":"\\u003a","a":1,"a":2}', "/a"),
    "duplicate empty key": (b'{"x":{"":1,"":2}}', "/x/"),
    "duplicate key inside an array": (b'{"x":[0,{"k/1":1,"k/1":1}]}', "/x/1/k~11"),
    "NUL": (b'{"a":["\\u0000"]}', "/a/0"),
    "NUL after an escaped backslash": (b'{"a":"\\\\\\u0000"}', "/a"),
    "2^64": (b'{"a":18446744073709551616}', "/a"),
    "-2^63-1": (b'{"a":-9223372036854775809}', "/a"),
    "5,000 digits": (b'{"a":' + b"9" * 5000 + b"}", "/a"),
    "1e400": (b'{"a":1e400}', "/a"),
    "-1e400": (b'{"a":-1e400}', "/a"),
    "1e200000": (b'{"a":1e200000}', "/a"),
    "one too deep": (b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1), "/a" * DEPTH_MAX),
    "array root": (b"[]", ""),
    "number root": (b"1", ""),
    "null root": (b"null", ""),
}
TAKEN = {
    "empty object": b"{}",
    "spaces": b' \r\n{ "a" : [ 1 , 2 ] }\t',
    "2^64-1 and -2^63": b'{"a":18446744073709551615,"b":-9223372036854775808}',
    "nineteen digits that fit": b'{"a":1234567890123456789}',
    "long decimals": b'{"a":0.12345678901234567890123456789}',
    "digits in a string": b'{"a":"123456789012345678901234567890"}',
    "escaped backslash before u0000": b'{"a":"\\\\u0000"}',
    "a pair of surrogates": b'{"a":"\\ud83d\\ude00"}',
    "escaped colon": b'{"a\\u003ab":":","c":1}',
    "same key in different objects": b'{"a":{"a":1},"b":{"a":1}}',
    "keys that differ only in case": b'{"a":1,"A":2}',
    "as deep as allowed": b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX,
    "many shallow arrays": b'{"a":[' + b",".join([b"[]"] * 200) + b"]}",
    "-0 and exponents": b'{"a":-0,"b":1E5,"c":1e-400}',
}


@pytest.mark.parametrize(("body", "pointer"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_json_is_refused_with_its_place(body: bytes, pointer: str | None) -> None:
    refusal = InvalidFields if pointer is None else BodyMalformed  # brackets are JSON until they are too deep
    with pytest.raises(refusal) as caught:
        strict_json.load_object(body)
    if pointer is not None:
        assert caught.value.fields[0][0] == pointer


@pytest.mark.parametrize(("body", "pointer"), REFUSED.values(), ids=REFUSED)
def test_json_we_do_not_take_is_refused_with_its_place(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        strict_json.load_object(body)
    assert caught.value.fields[0][0] == pointer


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_other_json_is_taken_as_it_is(body: bytes) -> None:
    assert strict_json.load_object(body) == json.loads(body)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(':\\"{u0\x003a', max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES, st.booleans())
def test_the_quick_reader_and_the_walk_agree(value: object, is_ascii: bool) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    fault = find_fault(body)
    if fault is None:
        assert strict_json.loads(body) == json.loads(body)
    else:
        with pytest.raises(BodyMalformed if fault.is_malformed else InvalidFields):
            strict_json.loads(body)


@given(st.binary(max_size=40) | st.text('{}[]",:\\u0a1eN ', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = strict_json.loads(body)
    except (BodyMalformed, InvalidFields):
        return
    assert find_fault(body) is None
    assert value == json.loads(body)


@given(st.dictionaries(st.text(':\\"a0', max_size=3), st.integers() | st.text(':"\\', max_size=3), min_size=1), st.booleans())
def test_a_repeated_key_never_passes(value: dict[str, object], is_ascii: bool) -> None:
    key = next(iter(value))
    twice = json.dumps(value, ensure_ascii=is_ascii)[:-1] + f", {json.dumps(key)}: 1}}"
    with pytest.raises(InvalidFields):
        strict_json.loads(twice.encode())


@pytest.mark.parametrize("before", ["[", "[ ", "[1,", "[1,\n", "[-", '{"a":', '{"a": -'])
def test_integers_beyond_64_bits_are_refused_wherever_they_stand(before: str) -> None:
    with pytest.raises(InvalidFields):
        strict_json.loads(f"{before}99999999999999999999{']' if before[0] == '[' else '}'}".encode())


def test_many_digits_inside_a_text_cost_no_walk() -> None:
    body = b'{"key": "a12345678901234567890123f"}'
    assert not strict_json._is_suspicious(body, strict_json.loads(body))
