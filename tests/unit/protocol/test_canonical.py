from typing import Any

import pytest

from jobqueue.domain.errors import InvalidFields
from jobqueue.domain.job import DATA_BYTES_MAX, METADATA_BYTES_MAX
from jobqueue.protocol import canonical, strict_json, wire
from jobqueue.protocol.jobs import JobRequest

PLAIN = b'{"payload":{"job_type":"echo","data":{"a":1,"b":[1,2]}}}'


def encode(body: bytes) -> canonical.Encoded:
    return canonical.encode(wire.read(JobRequest, strict_json.load_object(body)))


SAME = {
    "order of keys": b'{"payload":{"data":{"b":[1,2],"a":1},"job_type":"echo"}}',
    "spaces": b'{ "payload" : {"job_type":"echo","data":{"a":1,"b":[1, 2]}} }',
    "defaults written out": PLAIN[:-1] + b',"queue":"default","priority":"normal","tags":[],"metadata":{},"delay_seconds":null}',
    "escapes": b'{"payload":{"job_type":"ech\\u006f","data":{"\\u0061":1,"b":[1,2]}}}',
}
OTHER = {
    "data": b'{"payload":{"job_type":"echo","data":{"a":2,"b":[1,2]}}}',
    "order in a list": b'{"payload":{"job_type":"echo","data":{"a":1,"b":[2,1]}}}',
    "string for number": b'{"payload":{"job_type":"echo","data":{"a":"1","b":[1,2]}}}',
    "type": b'{"payload":{"job_type":"echo2","data":{"a":1,"b":[1,2]}}}',
    **{
        field: PLAIN[:-1] + b"," + text + b"}"
        for field, text in {
            "queue": b'"queue":"other"',
            "priority": b'"priority":"high"',
            "attempts": b'"max_attempts":3',
            "time": b'"scheduled_at":"2030-01-01T00:00:00Z"',
            "delay": b'"delay_seconds":3',
            "timeout": b'"timeout_seconds":3',
            "expiry": b'"expires_in_seconds":3',
            "key": b'"concurrency_key":"k"',
            "tags": b'"tags":["k"]',
            "metadata": b'"metadata":{"k":1}',
        }.items()
    },
}


@pytest.mark.parametrize("body", SAME.values(), ids=SAME)
def test_a_body_that_says_the_same_has_the_same_hash(body: bytes) -> None:
    assert encode(body).request_hash == encode(PLAIN).request_hash


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_a_body_that_says_something_else_has_another_hash(body: bytes) -> None:
    assert encode(body).request_hash != encode(PLAIN).request_hash


def test_no_two_fields_share_a_hash() -> None:
    assert len({encode(body).request_hash for body in OTHER.values()}) == len(OTHER)


def test_one_moment_in_two_zones_is_one_request() -> None:
    there, here = (encode(PLAIN[:-1] + b',"scheduled_at":"2030-01-01T%b"}' % text) for text in (b"02:00:00+02:00", b"00:00:00.000Z"))
    assert there.request_hash == here.request_hash


def test_data_keeps_its_order() -> None:
    assert encode(b'{"payload":{"job_type":"a","data":{"b":1,"a":2}}}').data_json == '{"b":1,"a":2}'


@pytest.mark.parametrize(("field", "bytes_max"), [("/payload/data", DATA_BYTES_MAX), ("/metadata", METADATA_BYTES_MAX)])
def test_a_part_may_be_as_large_as_its_bound_and_no_larger(field: str, bytes_max: int) -> None:
    def job(size: int) -> JobRequest:
        part: dict[str, Any] = {"x": "y" * (size - len('{"x":""}'))}
        payload = {"job_type": "a", "data": part if field == "/payload/data" else {}}
        return wire.read(JobRequest, {"payload": payload, "metadata": part if field == "/metadata" else {}})

    assert canonical.encode(job(bytes_max))
    with pytest.raises(InvalidFields) as caught:
        canonical.encode(job(bytes_max + 1))
    assert [pointer for pointer, _ in caught.value.fields] == [field]


def test_hashes_never_change() -> None:
    """Stored keys are compared with these after every upgrade."""
    assert str(encode(PLAIN).request_hash) == "0c16b0d9-701f-7398-2a85-e7702669cdfd"
    assert str(canonical.hash_key("abc")) == "ba7816bf-8f01-cfea-4141-40de5dae2223"
