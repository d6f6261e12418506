"""What went wrong, as errors: a problem of the API becomes the class that has its code.

Codes the server's tree knows come back as the same class, with the same attributes, as inside the server (domain/errors.py). The classes
here are for what only a client can meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final
from uuid import UUID

import orjson

from jobqueue.domain.errors import Conflict, InvalidRequest, JobQueueError, Unavailable
from jobqueue.protocol.problem import MEDIA_TYPE

FIELD_NAMES: Final = {"job_status": "status", "retry_after_seconds": "retry_after_s"}
"""Members of a problem whose attribute has another name."""
SAID_BY_EVERY_PROBLEM: Final = frozenset({"type", "title", "status", "detail", "code", "request_id", "errors"})
HEADER_POINTER: Final = "/header/"
GATEWAY_STATUSES: Final = frozenset({502, 503, 504})


class Unreachable(Unavailable):
    """The service did not answer. was_sent: the request may have arrived, so whether it was carried out is not known."""

    code: ClassVar[str] = "unreachable"

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class NotReady(Unavailable):
    """The process that was asked starts, drains, or has lost its database."""

    code: ClassVar[str] = "not_ready"


class ServerFault(JobQueueError):
    """A mistake on the server's side; its log has it under the request id in this error's notes."""

    code: ClassVar[str] = "internal"


class MethodNotAllowed(InvalidRequest):
    """The address is right, the method is not."""

    code: ClassVar[str] = "method_not_allowed"


class RequestRefused(InvalidRequest):
    """The server's framework refused the request before any route saw it."""

    code: ClassVar[str] = "refused"


class RequestMalformed(InvalidRequest):
    """The server could not read the request as HTTP/1.1: something between has changed it."""

    code: ClassVar[str] = "request_malformed"


class RequestTimedOut(Unavailable):
    """The request did not arrive in time: the way is slow."""

    code: ClassVar[str] = "request_timeout"


class HeadTooLarge(InvalidRequest):
    """The request's line and headers are too many or too long."""

    code: ClassVar[str] = "head_too_large"


class UnknownProblem(JobQueueError):
    """A problem of a newer server; `code` says which, `http_status` how it was answered."""

    def __init__(self, message: str, *, code: str, http_status: int) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # this instance's own
        self.http_status = http_status


class UnexpectedAnswer(JobQueueError):
    """Something answered that does not speak our protocol: a proxy, another service at this address."""

    code: ClassVar[str] = "unexpected_answer"


class WaitTimedOut(JobQueueError, TimeoutError):
    """The job has not ended within the time given; it goes on, and may be waited for again."""

    code: ClassVar[str] = "wait_timed_out"

    def __init__(self, job_id: UUID, *, timeout_s: float, status: str) -> None:
        super().__init__(f"job {job_id} is {status} after {timeout_s:g} s")
        self.job_id = job_id
        self.status = status


class JobNotSucceeded(Conflict):
    """The job ended without a result. `status`: cancelled, expired or dlq; `error`: what its last run failed with, where it ran."""

    code: ClassVar[str] = "job_not_succeeded"

    def __init__(self, job_id: UUID, *, status: str, error: str | None) -> None:
        super().__init__(f"job {job_id} is {status}" + (f": {error}" if error else ""))
        self.job_id = job_id
        self.status = status
        self.error = error


def kinds() -> dict[str, type[JobQueueError]]:
    """List the classes by their code; of those that share one the most general."""
    found: dict[str, type[JobQueueError]] = {}
    for kind in _tree(JobQueueError):
        found.setdefault(kind.code, kind)
    return found


def _tree(kind: type[JobQueueError]) -> Iterator[type[JobQueueError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def read_problem(status: int, headers: Mapping[str, str], content: bytes) -> JobQueueError:
    """Make the error of an answer that is not a success. Never raises."""
    members = _members(headers, content)
    if members is None:
        if status in GATEWAY_STATUSES:
            return _with_wait(Unreachable(f"a gateway answered {status}"), headers)
        return UnexpectedAnswer(f"the answer is {status} and no problem of this API: is the address right?")
    error = _make(status, members)
    error.add_note(f"request id {members.get('request_id')}")
    return _with_wait(error, headers)


def _members(headers: Mapping[str, str], content: bytes) -> dict[str, Any] | None:
    if not headers.get("content-type", "").startswith(MEDIA_TYPE):
        return None
    try:
        members = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return members if isinstance(members, dict) and isinstance(members.get("code"), str) else None


def _make(status: int, members: dict[str, Any]) -> JobQueueError:
    """Make the error as the server had it: its message, and each further member as an attribute."""
    code, detail = members["code"], str(members.get("detail", ""))
    kind = kinds().get(code)
    if kind is None:
        return UnknownProblem(detail, code=code, http_status=status)
    error = kind.__new__(kind, detail)
    for name, value in members.items():
        if name not in SAID_BY_EVERY_PROBLEM:
            setattr(error, FIELD_NAMES.get(name, name), value)
    fields = [(str(fault.get("pointer")), str(fault.get("detail"))) for fault in members.get("errors") or []]
    if fields:
        setattr(error, "fields", fields)  # noqa: B010 - of the classes that have it
        if fields[0][0].startswith(HEADER_POINTER):
            setattr(error, "header", fields[0][0].removeprefix(HEADER_POINTER))  # noqa: B010
    return error


def _with_wait(error: JobQueueError, headers: Mapping[str, str]) -> JobQueueError:
    """Keep what Retry-After says, in seconds; a date there is left to the usual backoff."""
    text = headers.get("retry-after", "")
    if text.isdecimal():
        setattr(error, "retry_after_s", int(text[:6]))  # noqa: B010 - where to look: retries.py
    return error
