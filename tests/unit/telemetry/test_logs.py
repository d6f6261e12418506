"""Logs: one JSON object a line, in the fixed order, without secrets, from every library."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from jobqueue.telemetry.events import JobsSubmitted, ServiceFaulted
from jobqueue.telemetry.logs import configure_logs, context, get_logger, log_event


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_with_time_level_and_event_first(stream: io.StringIO) -> None:
    get_logger().info("leader.elected", term=3, worker_id="w1")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert str(line["timestamp"]).endswith("Z")
    assert (line["level"], line["event"], line["term"], line["worker_id"]) == ("info", "leader.elected", 3, "w1")


def test_lines_under_the_level_are_left_out(stream: io.StringIO) -> None:
    configure_logs("warning", "json", stream)
    get_logger().info("quiet")
    get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_context_is_on_every_line_inside_and_on_none_after(stream: io.StringIO) -> None:
    with context(job_id="j1", tenant_id="acme", trace_id=None):
        get_logger().info("inside")
        logging.getLogger("asyncpg").warning("inside, from a library")
    get_logger().info("after")
    inside, library, after = lines(stream)
    assert (inside["job_id"], inside["tenant_id"]) == ("j1", "acme") == (library["job_id"], library["tenant_id"])
    assert "trace_id" not in inside
    assert "job_id" not in after


def test_libraries_come_out_in_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("asyncpg").info("left out")
    logging.getLogger("uvicorn.access").info("left out")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["event"], line["logger"]) == ("Started server process [7]", "uvicorn.error")


def test_exceptions_are_one_line(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        get_logger().exception("tick.failed")
    (line,) = lines(stream)
    assert "RuntimeError: broken" in str(line["exception"])


@pytest.mark.parametrize("field", ["payload", "data", "result", "password", "api_key", "token", "lease_token", "authorization"])
def test_secret_fields_are_left_out(stream: io.StringIO, field: str) -> None:
    get_logger().info("job.started", **{field: "hunter2"}, job_id="j1")
    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0]["job_id"] == "j1"


@pytest.mark.parametrize(
    "text",
    [
        "key jq_hunter2hunter2 refused",
        "connect to postgresql://user:hunter2@host/db failed",
        "header Bearer hunter2",
        "token eyJhbGciOi.eyJodW50ZXIy.hunter2",
    ],
)
def test_secrets_inside_strings_are_masked(stream: io.StringIO, text: str) -> None:
    get_logger().info(text, detail=text)
    logging.getLogger("asyncpg").error(text)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        get_logger().exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert len(lines(stream)) == 3


@pytest.mark.parametrize("value", ["\ud800", 2**70, object(), {1: 2}, b"\xff", float("nan")])
def test_no_value_breaks_the_line(stream: io.StringIO, value: object) -> None:
    get_logger().info("odd", value=value)
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]


def test_console_form_is_for_people(stream: io.StringIO) -> None:
    configure_logs("info", "console", stream)
    get_logger().info("leader.elected", term=3)
    with pytest.raises(json.JSONDecodeError):
        lines(stream)
    assert "leader.elected" in stream.getvalue()
    assert "term=3" in stream.getvalue()


def test_form_is_json_unless_a_terminal(stream: io.StringIO) -> None:
    configure_logs("info", None, stream)
    get_logger().info("leader.elected")
    assert len(lines(stream)) == 1


def test_events_are_logged_under_their_names_at_their_level(stream: io.StringIO) -> None:
    log_event(JobsSubmitted("acme", "high", 3))
    log_event(ServiceFaulted("promoter", RuntimeError("broken")))
    submitted, faulted = lines(stream)
    assert (submitted["level"], submitted["event"], submitted["tenant_id"], submitted["count"]) == ("debug", "job.submitted", "acme", 3)
    assert (faulted["level"], faulted["event"], faulted["error"]) == ("warning", "service.faulted", "RuntimeError: broken")
