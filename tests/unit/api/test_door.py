import re
from collections.abc import AsyncIterator

import httpx2
import pytest
import structlog

from jobqueue.api.bodies import BODY_BYTES_MAX, CREDENTIAL_BODY_BYTES_MAX
from jobqueue.domain.access import Scope
from jobqueue.operations.readiness import Readiness
from jobqueue.telemetry.events import RequestServed, Telemetry
from tests.unit.api.application import OneKey, client_of, make_app

KEY = {"Idempotency-Key": "k"}


async def test_every_answer_has_ids_and_is_kept_from_caches_and_frames() -> None:
    async with client_of(make_app()) as client:
        for path in ("/auth/me", "/nope", "/healthz/live", "/v1/jobs/x"):
            answer = await client.get(path)
            assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
            assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
            assert (answer.headers["cross-origin-opener-policy"], answer.headers["x-frame-options"]) == ("same-origin", "DENY")


@pytest.mark.parametrize("text", ["c", "c 1", "~" * 128])
async def test_a_correlation_id_is_taken_over(text: str) -> None:
    async with client_of(make_app()) as client:
        answer = await client.get("/auth/me", headers={"X-Correlation-Id": text})
    assert (answer.status_code, answer.headers["x-correlation-id"]) == (200, text)


@pytest.mark.parametrize("text", [b"", b"~" * 129, b"\xe4", b"a\tb"])
async def test_any_other_correlation_id_is_refused(text: bytes) -> None:
    async with client_of(make_app()) as client:
        answer = await client.get("/auth/me", headers=[(b"X-Correlation-Id", text)])
    assert (answer.status_code, answer.json()["code"]) == (400, "header_invalid")
    assert answer.headers["x-correlation-id"] == answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/nope", 404, "not_found", None),
        ("GET", "/v1/jobs/", 404, "not_found", None),
        ("GET", "/v1/jobs/x", 404, "not_found", None),
        ("PUT", "/v1/jobs", 405, "method_not_allowed", "GET, POST"),
        ("PUT", "/v1/jobs/x", 405, "method_not_allowed", "DELETE, GET, PATCH"),
        ("BREW", "/auth/me", 405, "method_not_allowed", "GET"),
    ],
)
async def test_the_framework_s_refusals_are_problems_too(method: str, path: str, status: int, code: str, allow: str | None) -> None:
    async with client_of(make_app()) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"], answer.headers.get("allow")) == (status, code, allow)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(answer.json())


async def test_a_refused_method_is_told_all_that_are_allowed() -> None:
    async with client_of(make_app()) as client:
        answer = await client.put("/v1/jobs/x")
    assert {"GET", "DELETE"} <= set(answer.headers["allow"].split(", "))  # two routes, of which the framework names one


async def test_a_mistake_of_ours_is_answered_without_its_trace_and_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        async def submit(self, *_: object) -> None:
            raise ZeroDivisionError("hush")

    configured = structlog.get_config()
    structlog.reset_defaults()  # whatever a test before has set
    try:
        async with client_of(make_app(submitter=Broken())) as client:
            answer = await client.post("/v1/jobs", json={"payload": {"job_type": "a"}}, headers=KEY)
    finally:
        structlog.configure(**configured)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hush" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("request.failed") == 1


async def test_requests_are_counted_under_the_route_s_template() -> None:
    served: list[RequestServed] = []
    telemetry = Telemetry()
    telemetry.subscribe(RequestServed, served.append)
    async with client_of(make_app(telemetry=telemetry)) as client:
        await client.get("/v1/jobs/4711")
        await client.request("BREW", "/nope/4711")
        await client.request("PUT", "/v1/jobs/4711")
    assert [(event.method, event.endpoint, event.status) for event in served] == [
        ("GET", "/v1/jobs/{job_id}", 404),
        ("other", "other", 404),
        ("PUT", "/v1/jobs/{job_id}", 405),
    ]


async def chunks(count: int, read: list[int]) -> AsyncIterator[bytes]:
    for number in range(count):
        read.append(number)
        yield b"x" * 65536


@pytest.mark.parametrize(("path", "bytes_max"), [("/v1/jobs", BODY_BYTES_MAX), ("/auth/token", CREDENTIAL_BODY_BYTES_MAX)])
async def test_a_body_that_says_it_is_too_large_is_refused(path: str, bytes_max: int) -> None:
    async with client_of(make_app()) as client:
        within = await client.post(path, content=b"x" * bytes_max, headers=KEY)
        beyond = await client.post(path, content=b"x" * (bytes_max + 1), headers=KEY)
    assert (within.status_code, within.json()["code"]) == (400, "body_malformed")
    assert (beyond.status_code, beyond.json()["code"], beyond.headers["connection"]) == (413, "body_too_large", "close")


async def test_a_chunked_body_is_not_read_beyond_its_bound() -> None:
    received = 0
    chunk = b"x" * 65536

    async def receive() -> dict[str, object]:
        nonlocal received
        received += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"host", b"api"), (b"authorization", b"Bearer jq_key"), (b"idempotency-key", b"k"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "query_string": b"", "headers": headers}
    await make_app()({**scope, "http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert received == BODY_BYTES_MAX + len(chunk)


HOSTS = {
    **dict.fromkeys((b"api", b"api:8000", b"127.0.0.1:8000", b"[::1]:8000", b"jobs.example.com", b"under_score"), 200),
    **dict.fromkeys((b"", b"a b", b"api:port", b"api:80:80", b"user@api", b"api/path", b"api?x", b"api#x", b"[::1", b"\xe4"), 400),
}


@pytest.mark.parametrize(("host", "status"), [*HOSTS.items(), (None, 400)])
async def test_a_request_is_to_one_host(host: bytes | None, status: int) -> None:
    scope, sent = request_to(host), []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await make_app()(scope, receive_nothing, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == status


@pytest.mark.parametrize(("hosts", "version", "status"), [([], "1.0", 200), ([b"a", b"a"], "1.1", 400), ([b"a", b"b"], "1.0", 400)])
async def test_only_http_1_0_may_name_no_host_and_nobody_may_name_two(hosts: list[bytes], version: str, status: int) -> None:
    scope, sent = {**request_to(None), "http_version": version, "headers": [(b"host", host) for host in hosts]}, []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await make_app()(scope, receive_nothing, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == status


def request_to(host: bytes | None) -> dict[str, object]:
    headers = [] if host is None else [(b"host", host)]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/healthz/live",
        "raw_path": b"/healthz/live",
        "query_string": b"",
        "headers": headers,
    }
    return {**scope, "http_version": "1.1", "scheme": "http", "root_path": ""}


async def receive_nothing() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_caller_that_leaves_while_sending_is_no_error_of_ours() -> None:
    served: list[RequestServed] = []
    telemetry = Telemetry()
    telemetry.subscribe(RequestServed, served.append)

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        raise AssertionError

    headers = [(b"host", b"api"), (b"authorization", b"Bearer jq_key"), (b"idempotency-key", b"k")]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "query_string": b"", "headers": headers}
    await make_app(telemetry=telemetry)({**scope, "http_version": "1.1", "scheme": "http", "root_path": ""}, receive, send)  # type: ignore[arg-type]
    assert [event.status for event in served] == [499]


async def test_metrics_show_each_caller_what_is_theirs() -> None:
    async def shown(app: object, credential: str | None) -> tuple[int, str]:
        async with client_of(app, credential=credential) as client:  # type: ignore[arg-type]
            answer = await client.get("/metrics")
            return answer.status_code, answer.text

    assert await shown(make_app(), "jq_key") == (200, "of demo")
    assert await shown(make_app(keys=OneKey([Scope.OPERATOR])), "jq_key") == (200, "of None")
    assert (await shown(make_app(keys=OneKey([Scope.JOBS_READ])), "jq_key"))[0] == 403
    assert (await shown(make_app(), None))[0] == 401
    assert await shown(make_app(is_metrics_open=True), None) == (200, "of None")


async def test_a_process_that_is_not_ready_says_so() -> None:
    async def readiness() -> Readiness:
        return Readiness({"process": "draining", "database": "ok"}, {"durability": "fsync is off"})

    async with client_of(make_app(readiness=readiness)) as client:
        brief = await client.get("/healthz/ready")
        full = await client.get("/healthz/ready?verbose=1")
        alive = await client.get("/healthz/live")
    assert (brief.status_code, brief.json()["code"], "checks" in brief.json()) == (503, "not_ready", False)
    assert "process" in brief.json()["detail"]
    assert full.json()["checks"] == {"process": "draining", "database": "ok"}
    assert full.json()["warnings"] == {"durability": "fsync is off"}
    assert alive.status_code == 200


class TestDocs:
    @pytest.fixture
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with client_of(make_app(), credential=None) as client:
            yield client

    async def test_the_root_leads_to_the_documentation(self, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "/docs")

    async def test_the_page_needs_nothing_from_elsewhere(self, client: httpx2.AsyncClient) -> None:
        page = await client.get("/docs")
        assert "://" not in page.text
        assert "'unsafe-inline'" not in page.headers["content-security-policy"].split("style-src")[0]
        for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            found = await client.get(path)
            assert (found.status_code, len(found.content) > 100) == (200, True), path

    async def test_an_unknown_file_is_not_found(self, client: httpx2.AsyncClient) -> None:
        for path in ("/docs/assets/core.py", "/docs/assets/..%2fcore.py", "/docs/problems/nope"):
            assert (await client.get(path)).status_code == 404

    async def test_the_type_of_every_problem_leads_to_its_page(self, client: httpx2.AsyncClient) -> None:
        from jobqueue.api.problems import DOOR_PROBLEMS, PROBLEMS

        for code in [*DOOR_PROBLEMS, *(kind.code for kind in PROBLEMS)]:
            page = await client.get(f"/docs/problems/{code}")
            assert (page.status_code, code in page.text) == (200, True)

    async def test_every_reference_of_the_document_leads_somewhere(self, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/openapi.json")
        schemas = answer.json()["components"]["schemas"]
        assert set(re.findall(r'"#/components/schemas/(\w+)"', answer.text)) <= set(schemas)

    async def test_every_call_documents_its_refusals(self, client: httpx2.AsyncClient) -> None:
        document = (await client.get("/openapi.json")).json()
        for path, calls in document["paths"].items():
            for method, call in calls.items():
                assert {"400", "422", "503"} <= set(call["responses"]), (method, path)
                assert ("401" in call["responses"]) == ("security" in call or path in ("/auth/token", "/auth/login")), (method, path)
