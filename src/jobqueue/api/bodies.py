"""Bodies in, bodies out."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from jobqueue.domain.errors import BodyTooLarge
from jobqueue.protocol import strict_json

BODY_BYTES_MAX: Final = 1024 * 1024
CREDENTIAL_BODY_BYTES_MAX: Final = 16 * 1024
"""Bodies that are read before the caller is known."""
BESIDE_BYTES_MIN: Final = 512 * 1024
"""Bodies up to this are read in the loop: a thread would cost more than it spares."""
OUT: Final = orjson.OPT_UTC_Z


async def read_body(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Read the whole body, but never more than bytes_max and one chunk of it. Raises BodyTooLarge."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > bytes_max:
        raise BodyTooLarge(bytes_max=bytes_max)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise BodyTooLarge(bytes_max=bytes_max)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


async def read_object(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> dict[str, Any]:
    """Read a body that must be a JSON object. Raises BodyTooLarge, BodyMalformed, InvalidFields."""
    return strict_json.load_object(await read_body(request, bytes_max=bytes_max))


async def read_large_object(request: Request, *, bytes_max: int) -> dict[str, Any]:
    """Like read_object, but a body that takes long to look over is read beside the loop, so that others are answered meanwhile."""
    body = await read_body(request, bytes_max=bytes_max)
    if len(body) <= BESIDE_BYTES_MIN:
        return strict_json.load_object(body)
    return await asyncio.to_thread(strict_json.load_object, body)


async def read_optional_object(request: Request) -> dict[str, Any]:
    """Like read_object, but no body at all is an empty object."""
    body = await read_body(request)
    return strict_json.load_object(body) if body else {}


def fragment(json_text: str | None, empty: str = "null") -> orjson.Fragment:
    """Put JSON text that is stored as it is into an answer."""
    return orjson.Fragment(empty if json_text is None else json_text)


def json_response(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(content, default=str, option=OUT), status, headers=headers, media_type="application/json")
