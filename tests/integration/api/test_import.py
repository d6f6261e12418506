"""POST /v1/jobs/import: rows of a file become jobs, and again running it adds nothing."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from functools import partial
from typing import Any

import orjson
import pytest
from starlette.requests import ClientDisconnect

from jobqueue.api.routes import imports as routes
from jobqueue.domain.job import DATA_BYTES_MAX
from jobqueue.operations import imports
from jobqueue.operations.submit import Submitter
from jobqueue.protocol.batches import ImportResult
from tests.integration.api.conftest import Api, make_key, open_api

PATH = "/v1/jobs/import"


async def pieces(content: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def send(api: Api, content: bytes, kind: str = routes.CSV, **query: str) -> Any:
    return await api.client.post(PATH, params={"job_type": "t", **query}, content=pieces(content), headers={"Content-Type": kind})


async def run(api: Api, content: bytes, kind: str = routes.CSV, **query: str) -> ImportResult:
    answer = await send(api, content, kind, **query)
    assert answer.status_code == 200, answer.text
    return ImportResult.model_validate_json(answer.content)


def totals(found: ImportResult) -> tuple[int, int, int, int]:
    return found.created, found.replayed, found.conflicts, found.invalid


def lines(rows: Iterable[object]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def stored(api: Api) -> list[Any]:
    rows = await api.engine.raw.fetch("SELECT data FROM jobqueue.job ORDER BY job_id")
    return [orjson.loads(row[0]) for row in rows]


async def test_rows_of_csv_become_jobs_with_text_fields(api: Api) -> None:
    found = await run(api, b'\xef\xbb\xbfid,note\r\n1,"a ""b"""\r\n2,\r\n', queue="images", priority="high")
    assert totals(found) == (2, 0, 0, 0)
    assert await stored(api) == [{"id": "1", "note": 'a "b"'}, {"id": "2", "note": ""}]
    jobs = (await api.client.get("/v1/jobs", params={"queue": "images", "priority": "high", "job_type": "t"})).json()["items"]
    assert [(job["status"], job["max_attempts"]) for job in jobs] == [("queued", 3)] * 2
    await api.engine.check_counts()


async def test_lines_of_json_become_jobs_as_they_are(api: Api) -> None:
    rows = [{"n": 1, "list": [1, None, {"a": "ü"}]}, {"n": 2}]
    assert totals(await run(api, lines(rows), routes.NDJSON)) == (2, 0, 0, 0)
    assert await stored(api) == rows


@pytest.mark.parametrize("key_column", [None, "n"])
async def test_running_it_again_adds_nothing(api: Api, key_column: str | None) -> None:
    content = lines({"n": number, "same": number % 7} for number in range(3_000))
    query = {} if key_column is None else {"key_column": key_column}
    assert totals(await run(api, content, routes.NDJSON, **query)) == (3_000, 0, 0, 0)
    assert totals(await run(api, content, routes.NDJSON, **query)) == (0, 3_000, 0, 0)
    assert len(await stored(api)) == 3_000
    await api.engine.check_counts()


async def test_equal_rows_are_each_a_job_and_more_of_them_add_only_themselves(api: Api) -> None:
    assert totals(await run(api, b"a\n" + b"x\n" * 1_500 + b"y\n")) == (1_501, 0, 0, 0)
    assert totals(await run(api, b"a\nz\n" + b"x\n" * 1_502 + b"y\n")) == (3, 1_501, 0, 0)
    assert len(await stored(api)) == 1_504


async def test_the_same_rows_of_another_type_or_queue_are_other_jobs(api: Api) -> None:
    for query in ({}, {"job_type": "u"}, {"queue": "q"}):
        assert totals(await run(api, b"a\nx\n", **query)) == (1, 0, 0, 0)


async def test_a_key_column_is_the_key_and_another_content_under_it_a_conflict(api: Api) -> None:
    assert totals(await run(api, b"id,v\n1,a\n2,b\n1,a\n", key_column="id")) == (2, 1, 0, 0)
    found = await run(api, b"id,v\n1,a\n2,changed\n3,c\n", key_column="id")
    assert totals(found) == (1, 1, 1, 0)
    (fault,) = found.errors
    assert fault.line == 3
    assert "another content" in fault.detail
    answer = await api.submit(key="1", data={"id": "1", "v": "a"})
    assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")


async def test_rows_that_cannot_be_jobs_are_told_by_line_and_left_out(api: Api) -> None:
    content = b'{"id":1}\nnonsense\n{"id":"\\u0000"}\n{"no":1}\n{"id":"\xc3\xbc"}\n{"id":true}\n{"id":2,"x":"%b"}\n{"id":3}'
    found = await run(api, content % (b"y" * DATA_BYTES_MAX), routes.NDJSON, key_column="id")
    assert totals(found) == (2, 0, 0, 6)
    assert [fault.line for fault in found.errors] == [2, 3, 4, 5, 6, 7]
    assert await stored(api) == [{"id": 1}, {"id": 3}]


async def test_csv_that_is_ragged_not_utf8_or_has_nul_is_told_by_line(api: Api) -> None:
    found = await run(api, b"a,b\n1,2\n1\n1,2,3\n\xff,1\n\x00,1\n\\u0000,1\n")
    assert [fault.line for fault in found.errors] == [3, 4, 5, 6]
    assert await stored(api) == [{"a": "1", "b": "2"}, {"a": "\\u0000", "b": "1"}]


async def test_only_the_first_thousand_faults_are_shown(api: Api) -> None:
    found = await run(api, b"a,b\n" + b"1\n" * 1_100)
    assert (found.invalid, len(found.errors), found.errors[-1].line) == (1_100, 1_000, 1_001)


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"a,b\n"])
async def test_a_file_without_rows_is_an_import_of_nothing(api: Api, content: bytes) -> None:
    assert totals(await run(api, content)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "query", "header", "status", "code"),
    [
        ("application/json", {}, {}, 415, "media_type_refused"),
        ("text/csv; charset=latin-1", {}, {}, 400, "header_invalid"),
        (routes.CSV, {}, {"Content-Encoding": "gzip"}, 400, "header_invalid"),
        (routes.CSV, {"job_type": "no spaces"}, {}, 422, "invalid_fields"),
        (routes.CSV, {"priority": "urgent"}, {}, 422, "invalid_fields"),
        (routes.CSV, {"surprise": "1"}, {}, 422, "invalid_fields"),
        (routes.CSV, {"key_column": "z"}, {}, 422, "invalid_fields"),
    ],
)
async def test_what_is_no_import_is_refused(api: Api, kind: str, query: Any, header: Any, status: int, code: str) -> None:
    params = {"job_type": "t", **query}
    answer = await api.client.post(PATH, params=params, content=b"a\n1\n", headers={"Content-Type": kind, **header})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await stored(api) == []


async def test_a_type_is_needed(api: Api) -> None:
    answer = await api.client.post(PATH, content=b"a\n1\n", headers={"Content-Type": "text/csv; charset=UTF-8"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/job_type")


async def test_an_import_needs_the_scope_to_write(api: Api) -> None:
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:read"])) as client:
        answer = await client.post(PATH, params={"job_type": "t"}, content=b"a\n1\n", headers={"Content-Type": routes.CSV})
    assert (answer.status_code, answer.json()["scope"]) == (403, "jobs:write")


async def test_a_full_queue_ends_it_with_what_is_stored_and_with_room_it_goes_on(database: str) -> None:
    content = b"a\n" + b"".join(b"%d\n" % number for number in range(2_000))
    async with open_api(database, max_queued=1_500) as api:
        answer = await send(api, content)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "queue_full", "1")
        assert "1000 rows are stored" in answer.json()["detail"]
        assert len(await stored(api)) == 1_000
        async with api.engine.submitter(max_queued=2_000) as roomier, imports.Imports().run(partial(many_of, roomier, api)) as importing:
            with closing(rows_of_t()) as rows:
                await routes._pass_on(request_of(content), routes.CsvRows(), rows, importing)
        assert totals_of(importing.counts) == (1_000, 1_000, 0, 0)


async def many_of(submitter: Submitter, api: Api, jobs: Any) -> Any:
    return await submitter.submit_many(api.caller.tenant_id, jobs)


def rows_of_t() -> routes.RowJobs:
    return routes.RowJobs(routes.RowTerms("t", "default", 2, None, "c", None), priority_name="normal")


def totals_of(counts: imports.ImportCounts) -> tuple[int, int, int, int]:
    return counts.created, counts.replayed, counts.conflicts, counts.invalid


def request_of(content: bytes, *, breaks_after: int | None = None) -> routes.Request:
    """A request whose body comes in pieces, and breaks off after some of them."""
    sent = [content[at : at + 20_000] for at in range(0, len(content), 20_000)][:breaks_after]

    async def receive() -> dict[str, Any]:
        if not sent:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": sent.pop(0), "more_body": bool(sent) or breaks_after is not None}

    return routes.Request({"type": "http", "headers": []}, receive)


async def test_an_upload_that_breaks_off_leaves_what_was_committed_and_goes_on_when_run_again(api: Api) -> None:
    content = lines({"n": number} for number in range(5_000))
    async with api.engine.submitter() as submitter:
        with pytest.raises(ClientDisconnect), closing(rows_of_t()) as rows:
            async with imports.Imports().run(partial(many_of, submitter, api)) as importing:
                await routes._pass_on(request_of(content, breaks_after=2), routes.JsonRows(), rows, importing)
    left = len(await stored(api))
    assert left == importing.counts.created > 0
    assert left % 1_000 == 0
    assert totals(await run(api, content, routes.NDJSON)) == (5_000 - left, left, 0, 0)


async def test_at_most_so_many_imports_run_at_once(api: Api) -> None:
    async def store(_: Any) -> Any:
        return []

    running = imports.Imports()
    async with asyncio.timeout(5):
        async with many(running, store, imports.IMPORTS_MAX):
            with pytest.raises(imports.Overloaded):
                async with running.run(store):
                    pass
        async with running.run(store):
            pass


class many:  # noqa: N801 - reads as a block
    def __init__(self, running: imports.Imports, store: Any, count: int) -> None:
        self._blocks = [running.run(store) for _ in range(count)]

    async def __aenter__(self) -> None:
        for block in self._blocks:
            await block.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        for block in reversed(self._blocks):
            await block.__aexit__(None, None, None)


async def test_what_a_spreadsheet_writes_is_what_comes_back(api: Api) -> None:
    rows = [["id", "text"], *([str(number), f'line "{number}",\r\nüß\t{number * "x"}'] for number in range(200))]
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    assert totals(await run(api, written.getvalue().encode("utf-8-sig"), key_column="id")) == (200, 0, 0, 0)
    assert await stored(api) == [{"id": row[0], "text": row[1]} for row in rows[1:]]


async def test_another_method_is_not_allowed_with_or_without_its_parameters(api: Api) -> None:
    for path in (PATH, f"{PATH}?job_type=t", "/v1/jobs/batch"):
        for method in ("GET", "PATCH", "DELETE"):
            answer = await api.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), (method, path)
