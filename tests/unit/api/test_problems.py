from collections.abc import Iterator

import orjson
import pytest
from starlette.requests import Request

from jobqueue.api.context import KEY, RequestContext
from jobqueue.api.problems import PROBLEMS, answer_error
from jobqueue.domain import errors
from jobqueue.domain.errors import JobQueueError
from jobqueue.protocol.problem import Problem


def leaves(base: type[JobQueueError] = JobQueueError) -> Iterator[type[JobQueueError]]:
    for kind in base.__subclasses__():
        if kind.__module__ != errors.__name__:
            continue
        below = list(leaves(kind))
        yield from below or [kind]


WITH_DATA: list[JobQueueError] = [
    errors.InvalidFields([("/a", "wrong"), ("/b/0", "wrong too")]),
    errors.BodyMalformed([("/a", "no")]),
    errors.BodyTooLarge(bytes_max=5),
    errors.HeaderInvalid("no", header="X-Correlation-Id"),
    errors.IdempotencyKeyReused("no", job_id="x"),
    errors.ScopeMissing("work"),
    errors.WrongState("no", status="running"),
    errors.QueueFull("no", retry_after_s=1.2),
    errors.RateLimited("no", retry_after_s=0.3),
    errors.TooManyAttempts("no", retry_after_s=1.2),
    errors.TooManyStreams("no", retry_after_s=1.0),
]
SAMPLES = [*WITH_DATA, *(kind("no") for kind in PROBLEMS if kind not in map(type, WITH_DATA))]


def answer(error: JobQueueError) -> tuple[Problem, dict[str, str]]:
    request = Request({"type": "http", KEY: RequestContext("r1", "c1", None), "headers": []})
    response = answer_error(request, error)
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(orjson.loads(bytes(response.body)))
    assert problem.status == response.status_code
    return problem, dict(response.headers)


def test_every_leaf_error_has_one_row() -> None:
    assert set(PROBLEMS) == set(leaves())
    assert len({kind.code for kind in PROBLEMS}) == len(PROBLEMS)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_answered_as_its_row_says(error: JobQueueError) -> None:
    problem, _ = answer(error)
    assert (problem.status, problem.title, problem.code) == (PROBLEMS[type(error)].status, PROBLEMS[type(error)].title, error.code)
    assert (problem.detail, problem.request_id) == (str(error), "r1")


def test_fields_are_named() -> None:
    problem, _ = answer(SAMPLES[0])
    assert problem.errors is not None
    assert [(fault.pointer, fault.detail) for fault in problem.errors] == [("/a", "wrong"), ("/b/0", "wrong too")]


def test_a_caller_is_told_when_to_come_back_in_whole_seconds_rounded_up() -> None:
    problem, headers = answer(errors.QueueFull("no", retry_after_s=1.2))
    assert (problem.retry_after_seconds, headers["retry-after"]) == (2, "2")
    assert answer(errors.QueueFull("no", retry_after_s=0))[1]["retry-after"] == "1"


def test_everything_that_may_pass_later_says_so() -> None:
    for sample in SAMPLES:
        problem, headers = answer(sample)
        assert ("retry-after" in headers) == (problem.status in (429, 503) or problem.code in ("submit_in_progress", "not_finished"))


def test_who_lacks_a_credential_is_told_the_scheme() -> None:
    assert answer(errors.Unauthenticated("no"))[1]["www-authenticate"].startswith("Bearer")


def test_an_error_without_a_row_is_a_mistake_of_ours() -> None:
    class Unknown(JobQueueError):
        code = "unknown"

    with pytest.raises(Unknown):
        answer(Unknown("no"))
