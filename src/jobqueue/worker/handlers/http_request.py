"""Make one HTTP request to a public address, and say what came back.

A job runs at least once, so a request may be made more than once: it carries the job's id as `Idempotency-Key`, unless the job gives one.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import orjson
from pydantic import Field

from jobqueue.worker.handler import ArgumentError, Context, Discard, Retry

if TYPE_CHECKING:
    from jobqueue.outbound.http import Answer

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

BODY_BYTES_MAX: Final = 128 * 1024
"""Of an answer that goes into the result, which may have 256 KiB of JSON; base64 needs a third more, and a text may double by escapes."""

OUTPUT_BYTES_MAX: Final = 1024**3
TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRY_AFTER_S_MAX: Final = 3600.0
SUCCESS: Final = range(200, 300)


async def http_request(
    ctx: Context,
    url: str,
    method: Method = "GET",
    headers: dict[str, str] | None = None,
    json: Any = None,
    body: str | None = None,
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0,  # noqa: ASYNC109 - the name users know
    redirects: Annotated[int, Field(ge=0, le=5)] = 0,
    expect: list[Annotated[int, Field(ge=100, le=599)]] | None = None,
    output: str | None = None,
    max_bytes: Annotated[int | None, Field(ge=1, le=OUTPUT_BYTES_MAX)] = None,
) -> dict[str, Any]:
    """Send the request; `output` is the file the answer's body goes to, else it is part of the result.

    Raises Discard for what a further try would not change, Retry for what it may. `timeout` bounds everything, in seconds.
    """
    from jobqueue.outbound.http import OutboundFailed, OutboundRefused, Outgoing, sending

    if max_bytes is not None and output is None and max_bytes > BODY_BYTES_MAX:
        raise ArgumentError(f"argument 'max_bytes': at most {BODY_BYTES_MAX} without 'output', since a result is no larger")
    request = Outgoing(
        method=method,
        url=url,
        headers=_headers(ctx, method, headers or {}, has_json=json is not None),
        body=_body(json, body),
        seconds_max=timeout,
        body_bytes_max=max_bytes or (BODY_BYTES_MAX if output is None else OUTPUT_BYTES_MAX),
        redirects_max=redirects,
    )
    try:
        async with sending(request, _guard(ctx)) as answer:
            _check_status(answer.status, answer.headers, expect)
            return {"status": answer.status, "url": answer.url, "headers": answer.headers, **await _take(ctx, answer, output)}
    except OutboundRefused as error:
        raise Discard(str(error)) from None
    except OutboundFailed as error:
        raise Retry(reason=str(error)) from None
    except TimeoutError:
        raise Retry(reason=f"the answer was not complete within {timeout:g} s") from None


def _guard(ctx: Context) -> Any:
    from jobqueue.domain.addresses import parse_networks
    from jobqueue.outbound.http import Guard

    return Guard(allowed=parse_networks(ctx.surroundings.outbound_networks))


def _headers(ctx: Context, method: str, given: dict[str, str], *, has_json: bool) -> dict[str, str]:
    names = {name.lower() for name in given}
    ours = {"user-agent": "jobqueue"}
    if has_json:
        ours["content-type"] = "application/json"
    if method not in ("GET", "HEAD", "OPTIONS"):
        ours["idempotency-key"] = str(ctx.job.id)
    return {**{name: value for name, value in ours.items() if name not in names}, **given}


def _body(json: Any, body: str | None) -> bytes:
    if json is not None and body is not None:
        raise ArgumentError("argument 'json' or argument 'body', not both")
    if json is not None:
        return orjson.dumps(json)
    return (body or "").encode()


def _check_status(status: int, headers: dict[str, str], expect: list[int] | None) -> None:
    """Raise Retry for an answer that may be another one later, Discard for the rest that was not expected."""
    if status in expect if expect is not None else status in SUCCESS:
        return
    if status in TRY_AGAIN:
        raise Retry(_retry_after_s(headers.get("retry-after", "")), reason=f"the answer is {status}")
    raise Discard(f"the answer is {status}")


def _retry_after_s(value: str) -> float | None:
    """Read Retry-After in seconds; a date, or nonsense, is left to the usual backoff."""
    return min(float(value), RETRY_AFTER_S_MAX) if value.isascii() and value.isdigit() else None


async def _take(ctx: Context, answer: Answer, output: str | None) -> dict[str, Any]:
    if output is not None:
        return {"output": output, "bytes": await _save(ctx, answer.chunks, output)}
    data = b"".join([chunk async for chunk in answer.chunks])
    return {"bytes": len(data), **_told(data, answer.headers)}


async def _save(ctx: Context, chunks: AsyncIterator[bytes], output: str) -> int:
    size = 0
    with ctx.files.write(output) as file:
        async for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
    return size


def _told(data: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Give a body as JSON where it says so and is, as text where it is UTF-8 without NUL, else as base64."""
    is_json = headers.get("content-type", "").partition(";")[0].strip().endswith(("/json", "+json"))
    if "content-encoding" not in headers and b"\x00" not in data and b"\\u0000" not in data:
        try:
            return {"json": orjson.loads(data)} if is_json else {"text": data.decode()}
        except ValueError:
            pass
    return {"base64": base64.b64encode(data).decode()}
