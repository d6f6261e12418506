"""How runs ended, as their holders report it over the wire: read so that one job's unstorable result costs only that job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import orjson
from starlette.requests import Request

from jobqueue.api.bodies import BESIDE_BYTES_MIN, BODY_BYTES_MAX, read_body
from jobqueue.domain.errors import BodyMalformed, InvalidFields
from jobqueue.domain.job import DELAY_S_MAX, RESULT_BYTES_MAX
from jobqueue.domain.outcome import Failure, Outcome, OutcomeKind
from jobqueue.protocol import strict_json
from jobqueue.protocol.json_walk import find_fault
from jobqueue.protocol.work import OutcomeFields, ReportedError

SETTLE_BYTES_MAX: Final = 16 * 1024 * 1024
TYPE_CHARACTERS_MAX: Final = 200
MESSAGE_CHARACTERS_MAX: Final = 2_000
TRACEBACK_CHARACTERS_MAX: Final = 16 * 1024
RESULT: Final = "result"
REJECTED: Final = "ResultRejected"
UNSAID: Final = Failure("Error", "the worker did not say what went wrong")

Rejections = dict[int, str]
"""Why results were taken out of a body, by the place of their outcome."""


async def read_outcome(request: Request) -> tuple[dict[str, Any], Rejections]:
    """Read the body of one outcome, at place 0. Raises BodyTooLarge, BodyMalformed, InvalidFields."""
    return load(await read_body(request, bytes_max=BODY_BYTES_MAX), _alone)


async def read_outcomes(request: Request) -> tuple[dict[str, Any], Rejections]:
    """Read the body of a settle. Raises BodyTooLarge, BodyMalformed, InvalidFields."""
    body = await read_body(request, bytes_max=SETTLE_BYTES_MAX)
    if len(body) <= BESIDE_BYTES_MIN:
        return load(body, _each)
    return await asyncio.to_thread(load, body, _each)


def _alone(value: Any) -> list[Any]:
    return [value]


def _each(value: Any) -> list[Any]:
    outcomes = value.get("outcomes")
    return outcomes if isinstance(outcomes, list) else []


def load(body: bytes, outcomes_of: Callable[[Any], list[Any]]) -> tuple[dict[str, Any], Rejections]:
    """Read a body strictly; where that fails for some results alone, take these out and say why.

    Raises BodyMalformed for what is not JSON, InvalidFields for what is wrong elsewhere.
    """
    try:
        return strict_json.load_object(body), {}
    except (BodyMalformed, InvalidFields) as refusal:
        value = _load_leniently(body)
        rejections = _take_out(outcomes_of(value)) if isinstance(value, dict) else {}
        if not rejections:
            raise refusal from None
    return strict_json.load_object(json.dumps(value).encode()), rejections


def _load_leniently(body: bytes) -> Any:
    """Read all JSON there is, as large and as deep as it comes; None: it is none."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def _take_out(outcomes: list[Any]) -> Rejections:
    rejections: Rejections = {}
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, dict) and outcome.get(RESULT) is not None:
            fault = find_fault(json.dumps(outcome[RESULT]).encode())
            if fault is not None:
                outcome[RESULT] = None
                rejections[place] = f"the result cannot be stored: {fault.pointer or 'it'} {fault.detail}"
    return rejections


def outcome_of(kind: OutcomeKind, told: OutcomeFields, rejection: str | None) -> Outcome:
    """Make an outcome of what was told. rejection: why its result was taken out of the body."""
    ran_s = None if told.ran_seconds is None else bounded_s(told.ran_seconds)
    match kind:
        case OutcomeKind.SUCCEEDED:
            return _succeeded(told, rejection, ran_s or 0.0)
        case OutcomeKind.FAILED:
            return Outcome(
                kind,
                failure=UNSAID if told.error is None else _failure(told.error),
                is_retryable=told.retry == "auto",
                is_crash=told.crashed,
                delay_s=told.delay_seconds,
                ran_s=ran_s or 0.0,
            )
        case _:
            failure = None if told.error is None else _failure(told.error)
            return Outcome(kind, failure=failure, delay_s=told.delay_seconds, ran_s=ran_s)


def _succeeded(told: OutcomeFields, rejection: str | None, ran_s: float) -> Outcome:
    """A run that ended had started, even if nobody said so."""
    encoded = b"" if told.result is None else orjson.dumps(told.result)
    if rejection is None and len(encoded) > RESULT_BYTES_MAX:
        rejection = f"the result is {len(encoded)} bytes of JSON, more than {RESULT_BYTES_MAX}"
    if rejection is not None:
        failure = Failure(REJECTED, _cut(rejection, MESSAGE_CHARACTERS_MAX))
        return Outcome(OutcomeKind.FAILED, failure=failure, is_retryable=False, ran_s=ran_s)
    return Outcome(OutcomeKind.SUCCEEDED, encoded.decode() or None, told.result_ref, ran_s=ran_s)


def _failure(error: ReportedError) -> Failure:
    trace = None if error.traceback is None else error.traceback[-TRACEBACK_CHARACTERS_MAX:]
    return Failure(_cut(error.type, TYPE_CHARACTERS_MAX) or UNSAID.type, _cut(error.message, MESSAGE_CHARACTERS_MAX), trace)


def _cut(text: str, characters: int) -> str:
    return text[:characters].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def bounded_s(seconds: float) -> float:
    """Bring a duration into what a row can hold."""
    return min(max(0.0, seconds), float(DELAY_S_MAX))
