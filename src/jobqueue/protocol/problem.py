"""Errors on the line: RFC 9457."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from jobqueue.protocol.wire import Answered

MEDIA_TYPE: Final = "application/problem+json"


class FieldFault(Answered):
    """One field that is wrong; pointer is a JSON pointer into the body, or starts with /query or /header."""

    pointer: str
    detail: str


class Problem(Answered):
    """Why a request was refused. code never changes; detail is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldFault] | None = None
    job_id: str | None = Field(default=None, description="With idempotency_key_reused: the job that holds the key.")
    job_status: str | None = Field(default=None, description="With wrong_state: what the job is.")
    scope: str | None = Field(default=None, description="With scope_missing: what the credential lacks.")
    bytes_max: int | None = Field(default=None, description="With body_too_large: how many bytes are allowed.")
    retry_after_seconds: int | None = Field(default=None, description="As in the header Retry-After.")
