"""A function decorated with `@job` is submitted with what its decoration says."""

from typing import Any

import orjson
import pytest

from jobqueue import NewJob
from jobqueue.client import calls
from jobqueue.worker.registry import Registry

handlers = Registry()


@handlers.job("resize_image", queue="images", max_attempts=5, timeout=60)
async def resize_image(ctx: Any, path: str, width: int) -> None:
    """A handler that says all."""


@handlers.job("plain")
def plain(ctx: Any) -> None:
    """A handler that says nothing more."""


def undecorated(ctx: Any) -> None:
    """No handler."""


@pytest.mark.parametrize(
    ("job", "job_type", "queue", "max_attempts"),
    [
        (NewJob(job_type=resize_image), "resize_image", "images", 5),
        (NewJob(job_type=resize_image, queue="other", max_attempts=2), "resize_image", "other", 2),
        (NewJob(job_type="resize_image"), "resize_image", "default", None),
        (NewJob(job_type=plain), "plain", "default", None),
        (NewJob(job_type=plain, queue="q"), "plain", "q", None),
    ],
)
def test_a_job_has_what_it_says_else_what_its_handler_says(job: NewJob, job_type: str, queue: str, max_attempts: int | None) -> None:
    body = job.body()
    assert (body["payload"]["job_type"], body["queue"], body.get("max_attempts")) == (job_type, queue, max_attempts)
    assert "timeout_seconds" not in body  # the worker knows it
    assert orjson.loads(calls.batch_job(job))["queue"] == queue


@pytest.mark.parametrize("wrong", [undecorated, print, 7])
def test_a_function_that_is_no_handler_is_refused_with_what_to_do(wrong: Any) -> None:
    with pytest.raises(TypeError, match="decorate it with @job, or name the job type"):
        NewJob(job_type=wrong).body()


def test_a_callable_that_takes_no_attributes_is_a_handler_by_its_name() -> None:
    registry = Registry()
    assert registry.job("text", queue="q")(str.upper) is str.upper
    assert "text" in registry


def test_a_decorated_function_can_still_be_called() -> None:
    assert plain(None) is None  # type: ignore[func-returns-value]
