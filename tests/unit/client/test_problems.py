"""Every problem the API can answer comes back as the error it was inside the server."""

from typing import Any

import orjson
import pytest
from starlette.requests import Request

from jobqueue.api.context import KEY, RequestContext
from jobqueue.api.problems import DOOR_PROBLEMS, PROBLEMS, answer_error, problem_response
from jobqueue.client import problems
from jobqueue.client.problems import UnexpectedAnswer, UnknownProblem, Unreachable, read_problem
from jobqueue.domain import errors
from jobqueue.domain.errors import JobQueueError

SAMPLES: dict[type[JobQueueError], JobQueueError] = {
    errors.InvalidFields: errors.InvalidFields([("/a", "is missing"), ("/b/0", "is odd")]),
    errors.BodyMalformed: errors.BodyMalformed([("/a", "no comma")]),
    errors.BodyTooLarge: errors.BodyTooLarge(bytes_max=7),
    errors.HeaderInvalid: errors.HeaderInvalid("no", header="X-Correlation-Id"),
    errors.IdempotencyKeyReused: errors.IdempotencyKeyReused("no", job_id="0198"),
    errors.ScopeMissing: errors.ScopeMissing("jobs:read"),
    errors.WrongState: errors.WrongState("no", status="running"),
}
LEAVES = sorted(PROBLEMS, key=lambda kind: kind.__name__)


def sample(kind: type[JobQueueError]) -> JobQueueError:
    if kind in SAMPLES:
        return SAMPLES[kind]
    if issubclass(kind, errors.LimitReached):
        return kind("no", retry_after_s=3.0)
    return kind("no")


def request() -> Request:
    return Request({"type": "http", KEY: RequestContext("r-1", "c-1", None)})


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_problem_comes_back_as_the_same_class_with_the_same_attributes(kind: type[JobQueueError]) -> None:
    error = sample(kind)
    answer = answer_error(request(), error)
    again = read_problem(answer.status_code, answer.headers, bytes(answer.body))
    assert type(again) is kind
    assert str(again) == str(error)
    assert {name: getattr(again, name) for name in vars(error)} == vars(error)
    assert again.__notes__ == ["request id r-1"]


@pytest.mark.parametrize("code", DOOR_PROBLEMS)
def test_what_only_the_door_says_has_a_class_of_its_own(code: str) -> None:
    kind = DOOR_PROBLEMS[code]
    answer = problem_response("r-1", status=kind.status, code=code, title=kind.title, detail="no")
    again = read_problem(answer.status_code, answer.headers, bytes(answer.body))
    assert type(again).code == code
    assert type(again).__module__ == problems.__name__


def test_no_two_leaves_share_a_code() -> None:
    codes = [kind.code for kind in PROBLEMS] + list(DOOR_PROBLEMS)
    assert len(codes) == len(set(codes))


def test_a_code_of_a_newer_server_is_told_as_unknown() -> None:
    answer = problem_response("r-1", status=418, code="teapot", title="Teapot", detail="short and stout")
    again = read_problem(418, answer.headers, bytes(answer.body))
    assert isinstance(again, UnknownProblem)
    assert (again.code, again.http_status, str(again)) == ("teapot", 418, "short and stout")
    assert UnknownProblem.code == JobQueueError.code


@pytest.mark.parametrize(
    ("status", "headers", "content", "kind"),
    [
        (502, {"content-type": "text/html"}, b"<html>", Unreachable),
        (404, {"content-type": "text/html"}, b"<html>", UnexpectedAnswer),
        (500, {"content-type": "application/problem+json"}, b"{broken", UnexpectedAnswer),
        (500, {"content-type": "application/problem+json"}, b"[]", UnexpectedAnswer),
        (302, {}, b"", UnexpectedAnswer),
    ],
)
def test_an_answer_that_is_no_problem_of_ours_is_told_as_such(status: int, headers: dict[str, str], content: bytes, kind: Any) -> None:
    assert type(read_problem(status, headers, content)) is kind


def test_retry_after_is_kept() -> None:
    answer = problem_response("r-1", status=503, code="overloaded", title="Too much", detail="no", headers={"Retry-After": "7"})
    assert read_problem(503, answer.headers, bytes(answer.body)).retry_after_s == 7  # type: ignore[attr-defined]


def test_members_a_client_does_not_know_do_no_harm() -> None:
    content = orjson.dumps({"code": "not_found", "detail": "no", "novel": [1]})
    assert type(read_problem(404, {"content-type": "application/problem+json"}, content)) is errors.NotFound
