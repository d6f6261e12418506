"""What paths, queries and headers of several routes share: ids, pages, cursors, waits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Path, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request

from jobqueue.api.context import context_of
from jobqueue.domain.access import Principal, Scope
from jobqueue.domain.audit import ActorKind, AuditFilter, Author
from jobqueue.domain.errors import CursorInvalid, NotFound
from jobqueue.domain.job import QUEUE_NAME, WORKER_NAME
from jobqueue.domain.job_filter import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, JobFilter
from jobqueue.operations.jobs import Caller

UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
ID_BYTES, SEAL_BYTES = 16, 8
CURSOR_CHARACTERS_MAX: Final = 200
NO_IDS: Final = frozenset({"stats", "cancel", "batch", "import"})
"""Paths of their own beside /v1/jobs/{job_id}, which takes their other methods."""
WAIT_S_MAX: Final = 30

JobId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
QueueNamePath = Annotated[str, Path(json_schema_extra={"pattern": f"^{QUEUE_NAME.pattern}$"})]
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]
PAGE_SIZE: Final = PAGE_SIZE_DEFAULT
Cursor = Annotated[str | None, Query(description="A `next_cursor` of this list, with the same filters.")]
Wait = Annotated[int, Query(ge=0, le=WAIT_S_MAX, description="Answer when the job has ended, or after so many seconds.")]


def caller_of(principal: Principal) -> Caller:
    """Name the tenant a credential speaks for, as operations want it that only read, or that leave no row in the audit trail."""
    return Caller(principal.tenant_id, principal.tenant)


def acting(request: Request, principal: Principal) -> Caller:
    """Name the tenant a credential speaks for and who acts, as operations want it that leave a row in the audit trail."""
    return Caller(principal.tenant_id, principal.tenant, author_of(request, principal))


def author_of(request: Request, principal: Principal | None) -> Author:
    """Say who makes a request, and from where; principal None: nobody knows yet."""
    context = context_of(request.scope)
    if principal is None:
        kind = ActorKind.UNKNOWN
    else:
        kind = ActorKind.OPERATOR if Scope.OPERATOR in principal.scopes else ActorKind(principal.kind)
    return Author(
        kind,
        id=None if principal is None else principal.id,
        name=None if principal is None else principal.name,
        request_id=context.request_id,
        correlation_id=context.correlation_id,
        address=None if request.client is None else request.client.host,
    )


def read_id(text: str) -> UUID:
    """Read a job's id. Raises NotFound: no job has a malformed one; HTTPException where the path is a call of its own."""
    if UUID_TEXT.fullmatch(text) is None:
        if text in NO_IDS:
            raise HTTPException(405)
        raise NotFound("there is no such job")
    return UUID(text)


def read_queue_name(text: str) -> str:
    """Read a queue's name. Raises NotFound: no queue has a malformed one."""
    if QUEUE_NAME.fullmatch(text) is None:
        raise NotFound("there is no such queue")
    return text


def write_cursor(row_id: UUID, job_filter: JobFilter | AuditFilter) -> str:
    """Make the cursor of what is older than a job or another row, good for one filter only."""
    return _encode(row_id.bytes + _seal(job_filter))


def read_cursor(cursor: str, job_filter: JobFilter | AuditFilter) -> UUID:
    """Read a cursor. Raises CursorInvalid when it is not one of ours, or was made under another filter."""
    decoded = _decode(cursor)
    if len(decoded) != ID_BYTES + SEAL_BYTES:
        raise CursorInvalid("the cursor is not one of this list")
    if decoded[ID_BYTES:] != _seal(job_filter):
        raise CursorInvalid("the cursor belongs to other filters; start again without it")
    return UUID(bytes=decoded[:ID_BYTES])


def write_text_cursor(text: str) -> str:
    """Make the cursor of what follows a place that text names, in ASCII."""
    return _encode(text.encode("ascii"))


def read_text_cursor(cursor: str) -> str:
    """Read the text of a cursor; whether it is of its list is the caller's to check. Raises CursorInvalid."""
    return _decode(cursor).decode("latin-1")


def write_name_cursor(name: str) -> str:
    """Make the cursor of what follows a name."""
    return _encode(name.encode("ascii"))


def read_name_cursor(cursor: str) -> str:
    """Read the cursor of a list by name. Raises CursorInvalid."""
    return _read_name(cursor, QUEUE_NAME)


def read_worker_cursor(cursor: str) -> str:
    """Read the cursor of the list of workers. Raises CursorInvalid."""
    return _read_name(cursor, WORKER_NAME)


def _read_name(cursor: str, pattern: re.Pattern[str]) -> str:
    name = _decode(cursor).decode("latin-1")
    if pattern.fullmatch(name) is None:
        raise CursorInvalid("the cursor is not one of this list")
    return name


def page_links(request: Request, *, next_cursor: str | None) -> dict[str, str]:
    """Make the Link header of a page: the same query from its start, and from the next cursor on."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "cursor")]
    path = request.url.path
    links = [f'<{_address(path, query)}>; rel="first"']
    if next_cursor is not None:
        links.append(f'<{_address(path, [*query, ("cursor", next_cursor)])}>; rel="next"')
    return {"Link": ", ".join(links)}


def _address(path: str, query: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _seal(job_filter: JobFilter | AuditFilter) -> bytes:
    return hashlib.sha256(repr(job_filter).encode()).digest()[:SEAL_BYTES]


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _decode(cursor: str) -> bytes:
    try:
        if len(cursor) > CURSOR_CHARACTERS_MAX:
            raise CursorInvalid("the cursor is not one of this list")
        return base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise CursorInvalid("the cursor is not one of this list") from error
