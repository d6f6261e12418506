"""Which calls are sent again, and as what."""

import logging
import subprocess
import sys
from collections.abc import Callable

import httpx2
import orjson
import pytest

from jobqueue import AsyncClient, Client
from jobqueue.client import retries
from jobqueue.client.problems import UnexpectedAnswer, Unreachable
from jobqueue.client.retries import RetryPlan, wait_before_again, wait_before_first
from jobqueue.domain.errors import (
    DatabaseUnavailable,
    IdempotencyKeyInvalid,
    InvalidFields,
    NotFound,
    Overloaded,
    QueueFull,
    SubmitInProgress,
    WrongState,
)

JOB = {
    "id": "01890000-0000-7000-8000-000000000000",
    "tenant_id": "acme",
    "queue": "default",
    "payload": {"job_type": "t", "data": {}},
    "job_type": "t",
    "status": "queued",
    "priority": "normal",
    "attempt": 0,
    "max_attempts": 3,
    "progress": None,
    "progress_message": None,
    "waiting_reason": None,
    "concurrency_key": None,
    "tags": [],
    "metadata": {},
    "idempotency_key": "k",
    "correlation_id": None,
    "trace_id": None,
    "scheduled_at": None,
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "lease_owner": None,
    "lease_expires_at": None,
    "error": None,
    "result_ref": None,
}


def problem(status: int, code: str, **headers: str) -> httpx2.Response:
    content = orjson.dumps({"code": code, "detail": code, "request_id": "r"})
    return httpx2.Response(status, headers={"content-type": "application/problem+json", **headers}, content=content)


def done() -> httpx2.Response:
    return httpx2.Response(200, json=JOB)


class Script:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: Callable[[], httpx2.Response]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.answers.pop(0)()


def drop() -> httpx2.Response:
    raise httpx2.ReadError("connection reset")


def refuse() -> httpx2.Response:
    raise httpx2.ConnectError("refused")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    for name in ("WAIT_S_FIRST", "JITTER_S"):
        monkeypatch.setattr(retries, name, 0.0)


def client(script: Script, **more: float) -> AsyncClient:
    return AsyncClient("http://api", api_key="k", transport=httpx2.MockTransport(script), **more)


@pytest.mark.parametrize("fault", [drop, refuse, lambda: problem(503, "database_unavailable"), lambda: httpx2.Response(502)])
async def test_a_submit_without_an_answer_is_sent_again_under_the_same_key_that_was_made_for_it(
    fault: Callable[[], httpx2.Response],
) -> None:
    script = Script(fault, fault, done)
    async with client(script) as queue:
        handle = await queue.submit("t")
    assert str(handle.id) == JOB["id"]
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert len(script.requests) == 3
    assert len(keys) == 1


async def test_two_submits_without_keys_have_different_ones() -> None:
    script = Script(done, done)
    async with client(script) as queue:
        await queue.submit("t")
        await queue.submit("t")
    assert len({request.headers["idempotency-key"] for request in script.requests}) == 2


async def test_a_retry_whose_answer_was_lost_is_not_sent_again() -> None:
    script = Script(drop, done)
    async with client(script) as queue:
        with pytest.raises(Unreachable) as caught:
            await queue.retry(str(JOB["id"]))
    assert caught.value.was_sent
    assert len(script.requests) == 1


async def test_a_retry_that_never_left_is_sent_again() -> None:
    script = Script(refuse, done)
    async with client(script) as queue:
        await queue.retry(str(JOB["id"]))
    assert len(script.requests) == 2


async def test_a_refusal_is_final() -> None:
    script = Script(lambda: problem(404, "not_found"))
    async with client(script) as queue:
        with pytest.raises(NotFound):
            await queue.get(str(JOB["id"]))
    assert len(script.requests) == 1


async def test_no_patience_means_one_try() -> None:
    script = Script(drop)
    async with client(script, retry_for=0) as queue:
        with pytest.raises(Unreachable):
            await queue.get(str(JOB["id"]))
    assert len(script.requests) == 1


async def test_an_answer_of_somebody_else_is_told_as_such() -> None:
    async with client(Script(lambda: httpx2.Response(200, text="<html>hello</html>"))) as queue:
        with pytest.raises(UnexpectedAnswer):
            await queue.get(str(JOB["id"]))


async def test_data_json_cannot_say_is_refused_before_it_is_sent() -> None:
    script = Script()
    async with client(script) as queue:
        with pytest.raises(InvalidFields):
            await queue.submit("t", {"a": object()})
        with pytest.raises(IdempotencyKeyInvalid):
            await queue.submit("t", idempotency_key="ü")
    assert script.requests == []


def test_the_blocking_client_tries_again_too() -> None:
    script = Script(drop, lambda: problem(429, "queue_full", **{"retry-after": "0"}), done)
    with Client("http://api", api_key="k", transport=httpx2.MockTransport(script)) as queue:
        queue.submit("t", idempotency_key='a "b" \\')
    assert {request.headers["idempotency-key"] for request in script.requests} == {'"a \\"b\\" \\\\"'}
    assert len(script.requests) == 3


@pytest.mark.parametrize("wait", [wait_before_again, wait_before_first])
def test_the_wait_is_what_retry_after_says_and_a_little_more(wait: Callable[[Exception], bool | float]) -> None:
    seconds = wait(QueueFull("full", retry_after_s=4.0))
    assert not isinstance(seconds, bool)
    assert 4.0 <= seconds <= 4.4


@pytest.mark.parametrize(
    ("error", "again", "first"),
    [
        (Unreachable("lost", was_sent=True), True, False),
        (Unreachable("never left", was_sent=False), True, True),
        (DatabaseUnavailable("unknown"), True, False),
        (Overloaded("full"), True, True),
        (SubmitInProgress("twin"), True, False),
        (WrongState("no", status="running"), False, False),
        (NotFound("no"), False, False),
        (ValueError("no"), False, False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool, first: bool) -> None:
    assert (wait_before_again(error), wait_before_first(error)) == (again, first)


async def test_trying_ends_when_another_wait_would_go_beyond_the_time() -> None:
    script = Script(*[lambda: problem(429, "queue_full", **{"retry-after": "40"})] * 3)
    async with client(script, retry_for=30) as queue:
        with pytest.raises(QueueFull):
            await queue.submit("t")
    assert len(script.requests) == 1


def test_trying_ends_after_so_many_answers_that_came_at_once() -> None:
    tries = 0

    def ask() -> None:
        nonlocal tries
        for attempt in RetryPlan(60.0).tries(is_repeatable=True):
            with attempt:
                tries += 1
                raise Overloaded("full")

    with pytest.raises(Overloaded):
        ask()
    assert tries == retries.TRIES_MAX


def test_the_backoff_doubles_up_to_its_bound_and_has_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for failed, low_s in ((1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2)):
        waits = {retries._backoff_s(failed) for _ in range(20)}
        assert low_s <= min(waits) < max(waits) <= low_s + retries.JITTER_S
    assert {retries._backoff_s(failed) for failed in (8, 50, 100_000)} == {retries.WAIT_S_MAX}


async def test_a_retry_is_told_to_the_logger_of_the_client_without_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "jobqueue.client"):
        async with client(Script(drop, done)) as queue:
            await queue.submit("t", {"secret": "canary"})
    (told,) = [record for record in caplog.records if record.name == "jobqueue.client"]
    assert told.getMessage() == "trying again in 0.0 s after Unreachable"


def test_a_program_that_uses_the_client_prints_nothing_of_its_own_accord() -> None:
    """Without any logging set up, and with structlog there, which prints to stdout unless told otherwise."""
    program = (
        "from jobqueue import Client\nfrom jobqueue.client.problems import Unreachable\n"
        "client = Client('http://127.0.0.1:1', api_key='jq_x', retry_for=1)\n"
        "try:\n    client.submit('t')\nexcept Unreachable:\n    raise SystemExit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")
