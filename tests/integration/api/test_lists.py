"""Lists against a brute-force model, and while jobs come and go."""

import asyncio
import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from jobqueue.domain import job_filter
from jobqueue.domain.lifecycle import Status
from jobqueue.protocol.filters import JobsPage, ListedJob
from jobqueue.protocol.jobs import Job
from jobqueue.store import job_lists as store
from tests.engine import FAILURE, request
from tests.integration.api.arranged import CORRELATIONS, QUEUES, TAGS, TYPES, Known, make_jobs
from tests.integration.api.conftest import Api, make_key

PATH = "/v1/jobs"
Query = list[tuple[str, str]]


async def read_page(api: Api, query: Query, **more: Any) -> JobsPage:
    answer = await api.client.get(PATH, params=[*query, *((name, str(value)) for name, value in more.items())])
    assert answer.status_code == 200, answer.text
    for item in answer.json()["items"]:
        assert set(item) == set(ListedJob.model_fields) == set(Job.model_fields)
        assert set(item["payload"]) == {"job_type"}
        assert item["error"] is None or set(item["error"]) == {"type", "message"}
    return JobsPage.model_validate_json(answer.content)


async def read_all(api: Api, query: Query, *, page_size: int) -> list[str]:
    """Follow the cursor to the end."""
    found: list[str] = []
    page = await read_page(api, query, page_size=page_size)
    while True:
        found += [str(item.id) for item in page.items]
        assert page.has_more == (page.next_cursor is not None)
        if page.next_cursor is None:
            return found
        page = await read_page(api, query, page_size=page_size, cursor=page.next_cursor)


def matches(job: Known, query: Query) -> bool:
    """The model: what CONTRACT 3.2 says of each filter."""
    asked: dict[str, list[str]] = {}
    for name, value in query:
        asked.setdefault(name, []).append(value)
    tags = set(asked.pop("tag", []))
    after, before = asked.pop("created_after", None), asked.pop("created_before", None)
    return (
        tags <= job.tags
        and all(getattr(job, name) in values for name, values in asked.items())
        and (after is None or job.created_at >= datetime.fromisoformat(after[0]))
        and (before is None or job.created_at < datetime.fromisoformat(before[0]))
    )


def queries(jobs: list[Known], chance: random.Random) -> Iterator[Query]:
    """Every single filter, then mixes."""
    singles: list[Query] = [[("status", status)] for status in Status]
    singles += [[("queue", name)] for name in (*QUEUES, "nobody-s")]
    singles += [[("job_type", name)] for name in (*TYPES, "nobody-s")]
    singles += [[("priority", name)] for name in ("critical", "high", "normal", "low")]
    singles += [[("tag", tag)] for tag in (*TAGS, "nobody's %_'")]
    singles += [[("correlation_id", name)] for name in CORRELATIONS if name]
    middle = jobs[len(jobs) // 2].created_at.isoformat(timespec="microseconds")
    singles += [[("created_after", middle)], [("created_before", middle)]]
    yield []
    yield from singles
    for _ in range(60):
        yield [
            pair
            for one in chance.sample(singles, chance.randint(2, 4))
            for pair in one
            if pair[0] not in ("created_after", "created_before")
        ]
    yield [("created_after", middle), ("status", "queued"), ("job_type", "mail")]
    yield [("tag", "red"), ("tag", "green"), ("status", "succeeded"), ("status", "dlq")]


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_filter_lists_exactly_the_jobs_that_match(api: Api, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    jobs = await make_jobs(api.engine, api.caller, 150, chance=chance)
    stranger = await api.engine.tenant("stranger")
    await api.engine.submit_all(stranger, [request("mail", queue="alpha") for _ in range(10)])
    assert {job.status for job in jobs} == set(Status) - {Status.BLOCKED}  # nothing blocks yet
    for query in queries(jobs, chance):
        expected = [str(job.job_id) for job in jobs if matches(job, query)]
        assert await read_all(api, query, page_size=200) == expected, query
        assert await read_all(api, query, page_size=chance.choice((1, 7, 50)) if expected else 7) == expected, query
    # and when a page reads far fewer rows than there are
    monkeypatch.setattr(store, "SCANNED_ROWS_MAX", 11)
    monkeypatch.setattr(store, "JOINED_ROWS_MAX", 5)
    for query in queries(jobs, chance):
        expected = [str(job.job_id) for job in jobs if matches(job, query)]
        assert await read_all(api, query, page_size=4) == expected, query


async def test_items_are_the_jobs_without_data_and_traceback(api: Api) -> None:
    await api.submit(data={"secret": 1}, metadata={"a": [1]}, tags=["x"])
    lease = await api.engine.claim_one()
    await api.engine.settle(lease, FAILURE, is_retryable=False)
    (listed,) = (await api.client.get(PATH)).json()["items"]
    shown = (await api.client.get(f"{PATH}/{lease.job_id}")).json()
    assert listed == {
        **shown,
        "payload": {"job_type": "t"},
        "error": {"type": shown["error"]["type"], "message": shown["error"]["message"]},
    }


async def test_page_numbers_and_cursors_show_the_same(api: Api) -> None:
    stored = await api.engine.submit_all(api.caller, [request() for _ in range(25)])
    newest_first = [str(one.job_id) for one in sorted(stored, key=lambda one: one.job_id, reverse=True)]
    pages = [await read_page(api, [], page=number, page_size=10) for number in (1, 2, 3, 4)]
    assert [str(item.id) for page in pages for item in page.items] == newest_first
    assert [page.has_more for page in pages] == [True, True, False, False]
    follow = await read_page(api, [], cursor=pages[0].next_cursor, page_size=10)
    assert follow.items == pages[1].items


async def test_links_lead_through_the_list_with_its_filters(api: Api) -> None:
    await api.engine.submit_all(api.caller, [request(tags_json='["a b&c=\\"<>"]', queue="q") for _ in range(5)])
    query: Query = [("tag", 'a b&c="<>'), ("queue", "q"), ("queue", "r"), ("page_size", "2"), ("page", "1")]
    answer = await api.client.get(PATH, params=query)
    found = [item["id"] for item in answer.json()["items"]]
    while "next" in answer.links:
        assert answer.links["first"]["url"].startswith(PATH)
        answer = await api.client.get(answer.links["next"]["url"])
        found += [item["id"] for item in answer.json()["items"]]
    assert len(found) == len(set(found)) == 5
    first = await api.client.get(answer.links["first"]["url"])
    assert [item["id"] for item in first.json()["items"]] == found[:2]


async def test_a_page_beyond_row_10000_is_refused_and_says_to_use_the_cursor(api: Api) -> None:
    assert (await api.client.get(PATH, params={"page": 50, "page_size": 200})).status_code == 200
    for page, page_size in ((51, 200), (10_001, 1), (10**30, 50)):
        answer = await api.client.get(PATH, params={"page": page, "page_size": page_size})
        assert (answer.status_code, answer.json()["code"]) == (400, "page_too_deep")
        assert "cursor" in answer.json()["detail"]


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    await api.engine.submit_all(api.caller, [request() for _ in range(3)])
    cursor = (await read_page(api, [("queue", "default")], page_size=1)).next_cursor
    assert cursor is not None
    for query in (
        {"cursor": cursor},
        {"cursor": cursor, "queue": "other"},
        {"cursor": "nonsense"},
        {"cursor": ""},
        {"cursor": "\x00é"},
        {"cursor": cursor, "page": 1},
    ):
        answer = await api.client.get(PATH, params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid"), query
    again = await api.client.get(PATH, params=[("queue", "default"), ("cursor", cursor), ("page_size", "2")])
    assert len(again.json()["items"]) == 2


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"status": "done"}, "/query/status/0"),
        ({"status": ["queued", "done"]}, "/query/status/1"),
        ({"queue": "a/b"}, "/query/queue/0"),
        ({"queue": ""}, "/query/queue/0"),
        ({"job_type": "a b"}, "/query/job_type/0"),
        ({"priority": "1"}, "/query/priority/0"),
        ({"tag": ""}, "/query/tag/0"),
        ({"tag": "a\x00b"}, "/query/tag/0"),
        ({"correlation_id": "é"}, "/query/correlation_id/0"),
        ({"correlation_id": "a\nb"}, "/query/correlation_id/0"),
        ({"created_after": "yesterday"}, "/query/created_after"),
        ({"created_before": "2030-01-01"}, "/query/created_before"),
        ({"created_before": "300000-01-01T00:00:00Z"}, "/query/created_before"),
        ({"page": "0"}, "/query/page"),
        ({"page": "x"}, "/query/page"),
        ({"page_size": "201"}, "/query/page_size"),
        ({"page_size": "0"}, "/query/page_size"),
        ({"statuses": "queued"}, "/query/statuses"),
        ({"tag": ["x"] * 51}, "/query/tag"),
    ],
)
async def test_a_wrong_query_is_refused_with_its_place(api: Api, query: dict[str, Any], pointer: str) -> None:
    answer = await api.client.get(PATH, params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_fields"), answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_a_list_needs_jobs_read_and_shows_the_own_tenant_only(api: Api) -> None:
    await api.submit()
    async with api.as_other(await make_key(api.engine, api.caller, ["jobs:write"])) as client:
        assert (await client.get(PATH)).status_code == 403
    async with api.as_other(await make_key(api.engine, await api.engine.tenant("other"))) as client:
        assert (await client.get(PATH)).json() == {"items": [], "next_cursor": None, "has_more": False}


async def test_paging_neither_skips_nor_doubles_a_job_that_was_there_all_the_time(api: Api) -> None:
    """Others come, run, end, are retried and cancelled meanwhile, and those that stay move from status to status."""
    stay = {str(one.job_id) for one in await api.engine.submit_all(api.caller, [request("stay") for _ in range(300)])}
    is_over = asyncio.Event()

    async def come_and_go() -> None:
        chance = random.Random(7)
        claimer = await api.engine.claimer(types=("stay", "go"))
        while not is_over.is_set():
            await api.engine.submit_all(api.caller, [request("go") for _ in range(20)])
            for lease in await claimer.claim(jobs_max=30):
                await api.engine.settle(lease, *([FAILURE] if chance.random() < 0.3 else []))
            await api.client.post("/v1/jobs/cancel", json={"filter": {"job_type": "go"}, "limit": 5})
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(come_and_go())
        for page_size in (13, 50):
            for query in ([], [("job_type", "stay")]):
                found = await read_all(api, query, page_size=page_size)
                assert len(found) == len(set(found))
                assert set(found) >= stay
        is_over.set()


async def test_a_page_is_of_one_moment_across_statuses(api: Api) -> None:
    """A job that moves between two of the statuses asked for is on the page once, never twice or not at all."""
    await api.engine.submit_all(api.caller, [request() for _ in range(100)])
    is_over = asyncio.Event()

    async def move() -> None:
        claimer = await api.engine.claimer()
        while not is_over.is_set():
            for lease in await claimer.claim(jobs_max=20):
                await api.engine.settle(lease)

    async with asyncio.TaskGroup() as group:
        group.create_task(move())
        for _ in range(15):
            query = [("status", status) for status in ("queued", "leased", "running", "succeeded")]
            page = await read_page(api, query, page_size=200)
            assert len({item.id for item in page.items}) == len(page.items) == 100
        is_over.set()


async def test_the_bound_of_a_page_is_that_of_the_contract() -> None:
    assert job_filter.SCANNED_ROWS_MAX == 10_000
    assert job_filter.PAGE_SIZE_MAX == 200
