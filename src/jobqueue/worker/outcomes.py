"""Turn what a handler returned or raised into an Outcome the database can store."""

from __future__ import annotations

import re
import traceback
from asyncio import CancelledError
from typing import Any, Final

import orjson

from jobqueue.domain.outcome import Failure, Outcome, OutcomeKind
from jobqueue.worker.files import FileRefused
from jobqueue.worker.handler import ArgumentError, Discard, Retry, Snooze
from jobqueue.worker.text import storable

RESULT_BYTES_MAX: Final = 256 * 1024
MESSAGE_CHARS_MAX: Final = 2_000
TYPE_CHARS_MAX: Final = 200
TRACEBACK_BYTES_MAX: Final = 16 * 1024
"""The tail is kept: it names the place and the error."""

_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL as orjson writes it; an even number of backslashes before it would make it text about one."""


def of_value(value: Any) -> Outcome:
    """Make the outcome of a handler that returned. NaN and infinity become null, as JSON has neither."""
    if value is None:
        return Outcome(OutcomeKind.SUCCEEDED)
    try:
        text = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:  # orjson.JSONEncodeError is a TypeError
        return rejected(f"the result cannot be written as JSON: {error}")
    if len(text) > RESULT_BYTES_MAX:
        return rejected(f"the result is {len(text)} bytes of JSON, more than {RESULT_BYTES_MAX}")
    result_json = text.decode()
    if "\\u0000" in result_json and _NUL.search(result_json):
        return rejected("the result contains a NUL character, which the database cannot hold")
    return Outcome(OutcomeKind.SUCCEEDED, result_json)


def of_error(error: BaseException) -> Outcome:
    """Make the outcome of a handler that raised, as if nobody had told it to stop."""
    match error:
        case Snooze():
            return Outcome(OutcomeKind.SNOOZED, delay_s=error.seconds)
        case Retry():
            return Outcome(OutcomeKind.FAILED, failure=_failure(error), delay_s=error.delay)
        case Discard():
            return Outcome(OutcomeKind.FAILED, failure=_failure(error), is_retryable=False)
        case ArgumentError() | FileRefused():
            return Outcome(OutcomeKind.FAILED, failure=Failure(type(error).__name__, _tidy(error)), is_retryable=False)
        case _:
            return Outcome(OutcomeKind.FAILED, failure=_failure(error))


def is_verdict(error: BaseException) -> bool:
    """Whether the handler itself said what should follow."""
    return isinstance(error, Retry | Discard | Snooze)


def timed_out(timeout_s: float) -> Outcome:
    """Make the outcome of a run that went past its deadline."""
    return Outcome(OutcomeKind.FAILED, failure=Failure("Timeout", f"the handler did not end within {timeout_s:g} s"))


def rejected(reason: str) -> Outcome:
    """Make the outcome of a run whose result cannot be stored."""
    return Outcome(OutcomeKind.FAILED, failure=Failure("ResultRejected", storable(reason)[:MESSAGE_CHARS_MAX]), is_retryable=False)


def crashed(how: str) -> Outcome:
    """Make the outcome of a run whose process died without an answer."""
    return Outcome(OutcomeKind.FAILED, failure=Failure("Crashed", f"the job's process ended without an answer: {how}"), is_crash=True)


def out_of_memory() -> Outcome:
    """Make the outcome of an isolated run that wanted more memory than it has: a crash, for without a process of its own it is one."""
    failure = Failure("OutOfMemory", "the run wanted more memory than it may have; @job(memory_mib=...) sets how much that is")
    return Outcome(OutcomeKind.FAILED, failure=failure, is_crash=True)


def released() -> Outcome:
    """Make the outcome that gives a job back with its attempt."""
    return Outcome(OutcomeKind.RELEASED)


def cancelled() -> Outcome:
    """Make the outcome of a run that ended because its job was cancelled."""
    return Outcome(OutcomeKind.CANCELLED)


def _failure(error: BaseException) -> Failure:
    return Failure(storable(type(error).__name__)[:TYPE_CHARS_MAX], _tidy(error), _traceback(error))


def _tidy(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a handler's exception may fail to describe itself
        message = "(the error has no readable message)"
    return storable(message[:MESSAGE_CHARS_MAX])[:MESSAGE_CHARS_MAX]


def _traceback(error: BaseException) -> str | None:
    """Format the traceback from the handler's first frame on; the frame above is this worker's."""
    frames = error.__traceback__
    if frames is None or isinstance(error, CancelledError):
        return None
    try:
        lines = traceback.format_exception(type(error), error, frames.tb_next or frames)
    except Exception:  # noqa: BLE001 - the same: formatting calls the exception's own code
        return None
    text = storable("".join(lines)).encode()
    return text[-TRACEBACK_BYTES_MAX:].decode("utf-8", "ignore")
