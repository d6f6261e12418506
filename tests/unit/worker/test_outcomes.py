"""What a handler returns or raises becomes something the database can store."""

from typing import Any

import orjson
import pytest

from jobqueue import Discard, Retry, Snooze
from jobqueue.domain.outcome import OutcomeKind
from jobqueue.worker import outcomes
from jobqueue.worker.handler import ArgumentError


def raised(error: BaseException) -> BaseException:
    """Give the error with a traceback: one frame of the worker's, one of the handler's."""

    def handler() -> None:
        raise error

    try:
        handler()
    except BaseException as caught:
        return caught
    raise AssertionError


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None]}, "text", 0, [], "a backslash and u0000: \\u0000", "x" * (outcomes.RESULT_BYTES_MAX - 2)]
)
def test_result_that_can_be_stored_succeeds_as_it_is(value: Any) -> None:
    outcome = outcomes.of_value(value)
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert orjson.loads(outcome.result_json or "") == value


def test_no_result_is_stored_as_none() -> None:
    assert outcomes.of_value(None).result_json is None


def test_nan_becomes_null() -> None:
    assert outcomes.of_value({"n": float("nan")}).result_json == '{"n":null}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "cannot be written as JSON"),
        ({1: 2}, "cannot be written as JSON"),
        ("lone \ud800", "cannot be written as JSON"),
        ("nul \x00", "NUL"),
        ({"a\\\x00": 1}, "NUL"),
        ("x" * (outcomes.RESULT_BYTES_MAX - 1), "bytes of JSON"),
    ],
)
def test_result_that_cannot_be_stored_is_rejected_for_good(value: Any, said: str) -> None:
    outcome = outcomes.of_value(value)
    assert outcome.failure is not None
    assert (outcome.kind, outcome.is_retryable, outcome.failure.type) == (OutcomeKind.FAILED, False, "ResultRejected")
    assert said in outcome.failure.message


def test_deep_result_is_rejected_not_raised() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert outcomes.of_value(value).failure is not None


def test_error_keeps_its_type_message_and_the_handlers_frames() -> None:
    failure = outcomes.of_error(raised(KeyError("colour"))).failure
    assert failure is not None
    assert (failure.type, failure.message) == ("KeyError", "'colour'")
    assert failure.traceback is not None
    assert "in handler" in failure.traceback
    assert "in raised" not in failure.traceback


def test_long_error_is_cut_and_the_tail_of_its_traceback_kept() -> None:
    failure = outcomes.of_error(raised(ValueError("ä" * 50_000 + "END"))).failure
    assert failure is not None
    assert len(failure.message) == outcomes.MESSAGE_CHARS_MAX
    assert failure.traceback is not None
    assert len(failure.traceback.encode()) <= outcomes.TRACEBACK_BYTES_MAX
    assert failure.traceback.rstrip().endswith("END")


def test_error_text_that_postgres_cannot_hold_is_escaped() -> None:
    failure = outcomes.of_error(raised(ValueError("nul \x00 and \ud800"))).failure
    assert failure is not None
    assert failure.message == "nul \\x00 and \\ud800"
    assert "\x00" not in (failure.traceback or "")


def test_error_that_cannot_describe_itself_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    failure = outcomes.of_error(raised(Mute())).failure
    assert failure is not None
    assert failure.type == "Mute"


def test_verdicts_say_what_follows() -> None:
    snoozed, retried, plain, discarded = (
        outcomes.of_error(raised(error)) for error in (Snooze(7), Retry(delay=3), ValueError(), Discard("gone"))
    )
    assert (snoozed.kind, snoozed.delay_s) == (OutcomeKind.SNOOZED, 7)
    assert (retried.kind, retried.delay_s, retried.is_retryable) == (OutcomeKind.FAILED, 3, True)
    assert (plain.delay_s, plain.is_retryable) == (None, True)
    assert (discarded.kind, discarded.is_retryable) == (OutcomeKind.FAILED, False)


def test_argument_error_is_final_and_has_no_traceback() -> None:
    outcome = outcomes.of_error(raised(ArgumentError("argument 'a' is missing")))
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.is_retryable, outcome.failure.traceback) == ("ArgumentError", False, None)
