"""What hostile or careless callers send (failures.md T20, T21, T23): never a 5xx, nothing stored, and the pointer names the place."""

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest

from jobqueue.api.bodies import BODY_BYTES_MAX
from jobqueue.api.routes.batches import BATCH_BYTES_MAX
from jobqueue.domain.job import DATA_BYTES_MAX
from jobqueue.protocol import strict_json
from tests.engine import any_id
from tests.integration.api.conftest import Api, read_job
from tests.unit.protocol.test_strict_json import MALFORMED, REFUSED

BODIES: Final = (
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/batch"),
    ("PATCH", "/v1/jobs/{id}"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("POST", "/v1/jobs/{id}/retry"),
    ("POST", "/v1/jobs/{id}/force-success"),
    ("POST", "/v1/jobs/cancel"),
    ("POST", "/v1/dlq/replay"),
    ("PATCH", "/v1/queues/default"),
    ("POST", "/v1/queues/default/pause"),
    ("POST", "/v1/queues/default/resume"),
    ("POST", "/auth/token"),
)
"""Every call with a body."""
TABLES: Final = ("job", "event", "idempotency", "tenant_queue", "outcome", "tally", "queue", "job_type", "concurrency_key")
INJECTIONS: Final = (
    "'; DROP TABLE jobqueue.job; --",
    '" OR 1=1 --',
    "%' OR tenant_id <> 0 --",
    "100%_\\%",
    "$1 $$ $body$",
    "@tenant_id :name {0} {x.__class__} %s %(a)s ${jndi:ldap://x}",
    '$.a[*] ? (@ like_regex ".*")',
    "\\x00 \\u0000 \\ud800",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a\r\nSet-Cookie: x=1",
    "\x1b[31mred\x1b[0m",
    "line\nbreak\ttab\x7f",
    "\u202eright to left",
    "e\u0301 \u00e9 \U0001f600 \u2028 \ufeff \uffff",
    "jobqueue_wake",
    "null",
    "{}",
    '{"a": 1}',
    "*",
    "-",
    " ",
    "0",
    "1e400",
    "NaN",
)


async def fingerprint(api: Api) -> dict[str, int]:
    """Count the rows of every table a call could write to."""
    return {table: await api.engine.raw.fetchval(f"SELECT count(*) FROM jobqueue.{table}") for table in TABLES}


def raw(body: bytes, *, key: str = "torture") -> dict[str, Any]:
    return {"content": body, "headers": {"Idempotency-Key": key, "Content-Type": "application/json"}}


def check_refusal(answer: httpx2.Response, *statuses: int) -> Any:
    """See that it is a problem of ours; answers it."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return problem


@pytest.fixture
async def target(api: Api) -> str:
    """A job the calls can be about."""
    return str(read_job(await api.submit()).id)


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_what_is_no_good_json_is_refused_by_every_call_with_its_place(api: Api, target: str, method: str, path: str) -> None:
    before = await fingerprint(api)
    for name, (body, pointer) in {**MALFORMED, **REFUSED}.items():
        if body == b"" and path not in ("/v1/jobs", "/v1/jobs/cancel", "/auth/token") and method == "POST":
            continue  # no body at all is allowed there
        problem = check_refusal(await api.client.request(method, path.format(id=target), **raw(body)), 400, 422, 413)
        if problem["status"] == 413:
            assert path == "/auth/token"  # whose bodies are shorter
            continue
        assert problem["code"] == ("body_malformed" if problem["status"] == 400 else "invalid_fields"), name
        if pointer is not None:
            assert problem["errors"][0]["pointer"] == pointer, name
    assert await fingerprint(api) == before


async def test_the_same_deep_inside_a_job_s_data_is_refused_with_its_whole_place(api: Api) -> None:
    before = await fingerprint(api)
    roots = ("byte order mark", "utf-16", "empty", "blank", "array root", "number root", "null root", "as deep as allowed")
    for name, (body, pointer) in {**MALFORMED, **REFUSED}.items():
        if name in roots or pointer is None:
            continue
        inside = b'{"payload":{"job_type":"t","data":' + body + b"}}"
        problem = check_refusal(await api.client.post("/v1/jobs", **raw(inside)), 400, 422)
        if name not in ("one too deep", "more after the end", "cut off"):
            assert problem["errors"][0]["pointer"] == "/payload/data" + pointer, name
    assert await fingerprint(api) == before


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"scheduled_at": "+300000-01-01T00:00:00Z"}, "/scheduled_at"),
        ({"scheduled_at": "300000-01-01T00:00:00Z"}, "/scheduled_at"),
        ({"scheduled_at": "0001-01-01T00:00:00+23:59"}, "/scheduled_at"),
        ({"scheduled_at": "9999-12-31T23:59:59-23:59"}, "/scheduled_at"),
        ({"scheduled_at": "2030-02-30T00:00:00Z"}, "/scheduled_at"),
        ({"scheduled_at": "2030-01-01T00:00:00"}, "/scheduled_at"),
        ({"scheduled_at": "infinity"}, "/scheduled_at"),
        ({"scheduled_at": 1e18}, "/scheduled_at"),
        ({"delay_seconds": "inf"}, "/delay_seconds"),
        ({"delay_seconds": -1}, "/delay_seconds"),
        ({"delay_seconds": 1e308}, "/delay_seconds"),
        ({"delay_seconds": "1"}, "/delay_seconds"),
        ({"delay_seconds": True}, "/delay_seconds"),
        ({"expires_in_seconds": 0}, "/expires_in_seconds"),
        ({"timeout_seconds": 1e18}, "/timeout_seconds"),
        ({"timeout_seconds": 1.5}, "/timeout_seconds"),
        ({"max_attempts": 2**63}, "/max_attempts"),
        ({"max_attempts": 2**15}, "/max_attempts"),
        ({"max_attempts": True}, "/max_attempts"),
        ({"priority": ["high"]}, "/priority"),
        ({"queue": "a\nb"}, "/queue"),
        ({"queue": "a\n"}, "/queue"),
        ({"queue": "x" * 101}, "/queue"),
        ({"tags": ["x"] * 51}, "/tags"),
        ({"tags": ["x" * 101]}, "/tags/0"),
        ({"tags": [1]}, "/tags/0"),
        ({"tags": {"0": "x"}}, "/tags"),
        ({"concurrency_key": "x" * 256}, "/concurrency_key"),
        ({"metadata": []}, "/metadata"),
        ({"metadata": {"x": "y" * 16_384}}, "/metadata"),
        ({"payload": {"job_type": "t", "data": []}}, "/payload/data"),
        ({"payload": {"job_type": "t", "data": {"x": "y" * DATA_BYTES_MAX}}}, "/payload/data"),
        ({"payload": {"job_type": "t\n"}}, "/payload/job_type"),
        ({"payload": {"job_type": ""}}, "/payload/job_type"),
        ({"payload": {"job_type": "t", "data": {}, "a/b~c": 1}}, "/payload/a~1b~0c"),
        ({"payload": {}}, "/payload/job_type"),
        ({"__proto__": {}}, "/__proto__"),
    ],
)
async def test_a_value_out_of_bounds_is_refused_with_its_place(api: Api, fields: dict[str, Any], pointer: str) -> None:
    before = await fingerprint(api)
    body = json.dumps({"payload": {"job_type": "t"}, **fields}).encode()
    problem = check_refusal(await api.client.post("/v1/jobs", **raw(body)), 422)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert await fingerprint(api) == before


class TestSizes:
    @staticmethod
    def body(data_bytes: int) -> bytes:
        """A job whose data is that long as compact JSON."""
        return b'{"payload":{"job_type":"t","data":{"x":"' + b"y" * (data_bytes - 8) + b'"}}}'

    async def test_data_up_to_its_limit_is_taken_and_read_back(self, api: Api) -> None:
        for number, size in enumerate((8, 1024, DATA_BYTES_MAX)):
            answer = await api.client.post("/v1/jobs", **raw(self.body(size), key=f"k{number}"))
            assert answer.status_code == 201
            read_back = (await api.client.get(answer.headers["location"])).json()
            assert read_back["payload"]["data"] == {"x": "y" * (size - 8)}
        check_refusal(await api.client.post("/v1/jobs", **raw(self.body(DATA_BYTES_MAX + 1))), 422)

    @pytest.mark.parametrize(("method", "path"), [call for call in BODIES if call[1] != "/auth/token"])
    async def test_a_body_over_a_mebibyte_is_refused_by_every_call(self, api: Api, target: str, method: str, path: str) -> None:
        before = await fingerprint(api)
        body = b'{"x":"' + b"y" * (BATCH_BYTES_MAX if path.endswith("/batch") else BODY_BYTES_MAX) + b'"}'
        problem = check_refusal(await api.client.request(method, path.format(id=target), **raw(body)), 413)
        assert problem["code"] == "body_too_large"
        assert await fingerprint(api) == before

    async def test_a_compressed_body_is_not_unpacked(self, api: Api) -> None:
        bomb = gzip.compress(self.body(100_000_000))
        assert len(bomb) < BODY_BYTES_MAX
        sent = raw(bomb)
        sent["headers"]["Content-Encoding"] = "gzip"
        problem = check_refusal(await api.client.post("/v1/jobs", **sent), 400)
        assert problem["code"] == "body_malformed"


class TestInjections:
    async def test_they_are_stored_as_they_are_in_every_field_that_takes_them(self, api: Api) -> None:
        for number, text in enumerate(INJECTIONS):
            fields = {
                "data": {text: text, "list": [text]},
                "metadata": {text: [text]},
                "tags": [text],
                "concurrency_key": text,
            }
            job = read_job(await api.submit(key=f"key-{number}", **fields))
            shown = (await api.client.get(f"/v1/jobs/{job.id}")).json()
            assert shown["payload"]["data"] == fields["data"]
            assert (shown["metadata"], shown["tags"], shown["concurrency_key"]) == (fields["metadata"], [text], text)
            (listed,) = (await api.client.get("/v1/jobs", params={"tag": text})).json()["items"]
            assert listed["id"] == str(job.id)
            counted = await api.client.post("/v1/jobs/cancel", json={"filter": {"tag": text}, "dry_run": True})
            assert counted.json() == {"count": 1}
        assert await api.engine.raw.fetchval("SELECT count(*) FROM jobqueue.job") == len(INJECTIONS)

    async def test_they_are_keys_and_correlation_ids_where_those_allow_it(self, api: Api) -> None:
        for text in INJECTIONS:
            headers = {"Idempotency-Key": text.encode(), "X-Correlation-Id": text.encode()}
            answer = await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}}, headers=headers)
            if answer.status_code != 201:
                check_refusal(answer, 400)
                assert not (text.isascii() and text.isprintable() and text.strip())
                continue
            key = answer.json()["idempotency_key"]
            assert (key, answer.json()["correlation_id"]) == (text.strip(), text)
            listed = (await api.client.get("/v1/jobs", params={"correlation_id": text})).json()["items"]
            assert [item["id"] for item in listed] == [answer.json()["id"]]

    async def test_names_refuse_them_and_nothing_is_made(self, api: Api, target: str) -> None:
        names_ok = {"null", "jobqueue_wake", "-", "0", "1e400", "NaN"}
        before = await fingerprint(api)
        for text in INJECTIONS:
            if text in names_ok:
                continue
            for fields in ({"queue": text}, {"payload": {"job_type": text}}):
                check_refusal(
                    await api.client.post("/v1/jobs", json={"payload": {"job_type": "t"}, **fields}, headers={"Idempotency-Key": "k"}), 422
                )
            for name in ("queue", "job_type", "status", "priority", "created_after", "page", "page_size"):
                check_refusal(await api.client.get("/v1/jobs", params={name: text}), 422)
            check_refusal(await api.client.get("/v1/jobs", params={"cursor": text}), 400)
            check_refusal(await api.client.get("/v1/stats", params={"queues": text}), 422)
            check_refusal(await api.client.get("/v1/jobs", params={text: "x"}), 422)
            check_refusal(await api.client.patch(f"/v1/jobs/{target}", json={"priority": text}), 422)
        assert await fingerprint(api) == before

    async def test_paths_of_them_lead_nowhere(self, api: Api) -> None:
        before = await fingerprint(api)
        for text in INJECTIONS:
            segment = "".join(f"%{byte:02X}" for byte in text.encode())
            for path in (f"/v1/jobs/{segment}", f"/v1/jobs/{segment}/events", f"/v1/jobs/{segment}/result", f"/v1/queues/{segment}"):
                check_refusal(await api.client.get(path), 404)
            for path in (f"/v1/jobs/{segment}/force-success", f"/v1/jobs/{segment}/retry", f"/v1/jobs/{segment}/cancel"):
                check_refusal(await api.client.post(path), 404)
        assert await fingerprint(api) == before

    async def test_headers_of_them_never_break_a_call(self, api: Api) -> None:
        for text in INJECTIONS:
            for name in ("Prefer", "traceparent", "X-Request-Id", "Accept", "Content-Type", "Authorization", "X-Correlation-Id"):
                answer = await api.client.get(f"/v1/jobs/{any_id()}", headers={name: text.encode()})
                assert answer.status_code in ((401,) if name == "Authorization" else (400, 404)), (name, text)
                assert "set-cookie" not in answer.headers


def documents(count: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Documents a caller may send, nasty but good."""
    leaves = [0, -1, 2**64 - 1, -(2**63), 0.1, 1e-300, 1.7976931348623157e308, -0.0, True, None, "", *INJECTIONS]

    def value(depth: int) -> Any:
        kind = chance.random()
        if depth > 4 or kind < 0.5:
            return chance.choice(leaves)
        if kind < 0.75:
            return [value(depth + 1) for _ in range(chance.randrange(4))]
        return {chance.choice(("a", "b", "", *INJECTIONS)): value(depth + 1) for _ in range(chance.randrange(4))}

    for _ in range(count):
        yield {chance.choice(("x", *INJECTIONS)): value(0) for _ in range(3)}


async def test_good_documents_come_back_as_they_went_in(api: Api) -> None:
    for number, document in enumerate(documents(300, random.Random(5))):
        answer = await api.submit(data=document, metadata={"at": number})
        assert answer.status_code == 201, answer.text
        again = await api.client.get(answer.headers["location"])
        assert strict_json.loads(again.content)["payload"]["data"] == document
        assert strict_json.loads(answer.content)["payload"] == strict_json.loads(again.content)["payload"]
