"""Errors at the door: the one table from error to status, and RFC 9457 for everything that is refused, the framework's own refusals too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jobqueue.api.context import context_of
from jobqueue.domain import errors
from jobqueue.domain.errors import JobQueueError
from jobqueue.protocol.problem import MEDIA_TYPE

TYPE_ROOT: Final = "/docs/problems/"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="jobqueue"'}


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """How an error looks from outside. retry_after_s: when trying again may pass, where the error itself does not say."""

    status: int
    title: str
    retry_after_s: int | None = None


PROBLEMS: Final[Mapping[type[JobQueueError], ProblemKind]] = {
    errors.InvalidFields: ProblemKind(422, "Some fields are not valid"),
    errors.BodyMalformed: ProblemKind(400, "The body is not JSON"),
    errors.BodyTooLarge: ProblemKind(413, "The body is too large"),
    errors.MediaTypeRefused: ProblemKind(415, "This kind of body is not taken here"),
    errors.HeaderInvalid: ProblemKind(400, "A header is not valid"),
    errors.CursorInvalid: ProblemKind(400, "The cursor is not valid here"),
    errors.PageTooDeep: ProblemKind(400, "The page is too deep"),
    errors.IdempotencyKeyMissing: ProblemKind(400, "An Idempotency-Key is needed"),
    errors.IdempotencyKeyInvalid: ProblemKind(400, "The Idempotency-Key is not valid"),
    errors.IdempotencyKeyReused: ProblemKind(422, "The Idempotency-Key belongs to another body"),
    errors.Unauthenticated: ProblemKind(401, "A valid credential is needed"),
    errors.ScopeMissing: ProblemKind(403, "The credential does not allow this"),
    errors.RegistrationClosed: ProblemKind(403, "Registration is closed"),
    errors.WrongTenant: ProblemKind(403, "The tenant is not the credential's"),
    errors.NotFound: ProblemKind(404, "Not found"),
    errors.SubmitInProgress: ProblemKind(409, "A request with this key is under way", retry_after_s=1),
    errors.WrongState: ProblemKind(409, "The job's status does not allow this"),
    errors.AttemptsExhausted: ProblemKind(409, "No attempts are left"),
    errors.NotFinished: ProblemKind(409, "The job has not ended", retry_after_s=1),
    errors.NameTaken: ProblemKind(409, "The name is taken"),
    errors.KeysExhausted: ProblemKind(409, "The tenant has as many API keys as it may have"),
    errors.WebhooksExhausted: ProblemKind(409, "The tenant has as many webhooks as it may have"),
    errors.WebhookDisabled: ProblemKind(409, "The webhook is disabled"),
    errors.LeaseLost: ProblemKind(409, "The lease is lost"),
    errors.QueueFull: ProblemKind(429, "The tenant's queue is full"),
    errors.RateLimited: ProblemKind(429, "Too many requests"),
    errors.TooManyAttempts: ProblemKind(429, "Too many attempts"),
    errors.TooManyStreams: ProblemKind(429, "The tenant has too many live streams"),
    errors.DatabaseUnavailable: ProblemKind(503, "The database does not answer", retry_after_s=1),
    errors.Overloaded: ProblemKind(503, "Too much at once", retry_after_s=1),
    errors.UnsafeDatabase: ProblemKind(503, "The database is not set up safely", retry_after_s=30),
    errors.SchemaTooOld: ProblemKind(503, "The database's schema is too old", retry_after_s=30),
}
"""Every leaf of the tree in domain/errors.py, once."""

INTERNAL_CODE, NOT_READY_CODE = "internal", "not_ready"
DOOR_PROBLEMS: Final[Mapping[str, ProblemKind]] = {
    INTERNAL_CODE: ProblemKind(500, "An error on our side; the log has it under the answer's request_id"),
    NOT_READY_CODE: ProblemKind(503, "Not ready", retry_after_s=1),
    "method_not_allowed": ProblemKind(405, "This method is not allowed here"),
    "refused": ProblemKind(400, "The request is refused"),
    "request_malformed": ProblemKind(400, "This is not HTTP"),
    "request_timeout": ProblemKind(408, "The request did not arrive in time"),
    "head_too_large": ProblemKind(431, "The request's head is too large"),
}
"""What only the door says, by code; nothing below raises it."""
FRAMEWORK_CODES: Final[Mapping[int, str]] = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def problem_response(
    request_id: str, *, status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Write one problem. more: members beyond RFC 9457's; those that are None are left out."""
    members = {
        "type": TYPE_ROOT + code,
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **{name: value for name, value in more.items() if value is not None},
    }
    return Response(orjson.dumps(members), status, headers=headers, media_type=MEDIA_TYPE)


def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error of ours. Raises it again when the table does not know it: that is a mistake of ours."""
    assert isinstance(error, JobQueueError)
    kind = PROBLEMS.get(type(error))
    if kind is None:
        raise error
    retry_after_s = _retry_after_s(error, kind)
    return problem_response(
        context_of(request.scope).request_id,
        status=kind.status,
        code=error.code,
        title=kind.title,
        detail=str(error),
        headers=_headers(kind.status, retry_after_s),
        retry_after_seconds=retry_after_s,
        **_members(error),
    )


def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses itself: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    detail, headers = "the request is refused", dict(error.headers or {})
    if status == 404:
        detail = "there is nothing at this path"
    elif status == 405:
        detail = f"{request.method} is not allowed here"
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    return problem_response(
        context_of(request.scope).request_id,
        status=status,
        code=FRAMEWORK_CODES.get(status, "refused"),
        title=HTTPStatus(status).phrase,
        detail=detail,
        headers=headers,
    )


def _methods_at(request: Request) -> set[str]:
    """All methods of a path; the framework names those of the first route only. A path of its own goes before a template it also fits."""
    path = request.scope["path"]
    routes = [route for route in request.app.router.routes if route.path_regex.match(path)]
    own = [route for route in routes if route.path == path]
    return {method for route in own or routes for method in route.methods}


def not_ready(request_id: str, detail: str, **more: Any) -> Response:
    """Answer a probe that this process cannot work now."""
    kind = DOOR_PROBLEMS[NOT_READY_CODE]
    headers = {"Retry-After": str(kind.retry_after_s)}
    return problem_response(request_id, status=kind.status, code=NOT_READY_CODE, title=kind.title, detail=detail, headers=headers, **more)


def answer_validation_error(request: Request, error: Exception) -> Response:
    """Answer query and path parameters the framework refuses."""
    assert isinstance(error, RequestValidationError)
    fields = [("/" + "/".join(map(str, fault["loc"])), str(fault["msg"])) for fault in error.errors()]
    return answer_error(request, errors.InvalidFields(fields))


def internal_error(request_id: str) -> Response:
    """Answer a mistake of ours, without its trace."""
    kind = DOOR_PROBLEMS[INTERNAL_CODE]
    return problem_response(request_id, status=kind.status, code=INTERNAL_CODE, title="An error on our side", detail=kind.title)


def _retry_after_s(error: JobQueueError, kind: ProblemKind) -> int | None:
    """Whole seconds, rounded up, after which one request does pass."""
    if isinstance(error, errors.LimitReached):
        return max(1, math.ceil(error.retry_after_s))
    return kind.retry_after_s


def _headers(status: int, retry_after_s: int | None) -> dict[str, str] | None:
    if status == 401:
        return CHALLENGE
    if status == 413:
        return {"Connection": "close"}  # the rest of the body is not read
    return None if retry_after_s is None else {"Retry-After": str(retry_after_s)}


def _members(error: JobQueueError) -> dict[str, Any]:
    """The error's own data, so that a client can make the same error of it."""
    match error:
        case errors.InvalidFields(fields=fields) | errors.BodyMalformed(fields=fields):
            return {"errors": [{"pointer": pointer, "detail": detail} for pointer, detail in fields]}
        case errors.HeaderInvalid(header=header):
            return {"errors": [{"pointer": f"/header/{header}", "detail": str(error)}]}
        case errors.IdempotencyKeyReused(job_id=job_id):
            return {"job_id": job_id}
        case errors.BodyTooLarge(bytes_max=bytes_max):
            return {"bytes_max": bytes_max}
        case errors.WrongState(status=status):
            return {"job_status": status}
        case errors.ScopeMissing(scope=scope):
            return {"scope": scope}
        case _:
            return {}
