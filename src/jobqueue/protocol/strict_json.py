"""Read JSON that means the same to everybody: what readers disagree on, or a database cannot hold, is refused with its place.

Refused besides what is not JSON: duplicate keys, depth over DEPTH_MAX, NUL and lone surrogates in strings, integers beyond 64 bits, numbers
beyond a double. Refusals name the place by JSON pointer (RFC 6901).

orjson reads quickly but keeps the last of two equal keys and turns large integers into floats. So a document is read by orjson, then
looked over for signs of trouble with byte searches alone (about 2 us for 200 bytes); only a suspicious or broken one is walked in Python
(json_walk), which is slow but knows the place.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, Final

import orjson

from jobqueue.domain.errors import BodyMalformed, InvalidFields
from jobqueue.protocol.json_walk import DEPTH_MAX, find_fault

DIGITS_AS_ZERO: Final = bytes(ord("0") if ord("0") <= byte <= ord("9") else byte for byte in range(256))
NINETEEN_DIGITS: Final = b"0" * 19
"""The shortest integer beyond 64 bits has 19 digits."""
LONG_INTEGER: Final = re.compile(rb"(?:^|[\s:,\[-])[0-9]{19}")
"""Where one may stand. Hexadecimal keys and hashes often have as many digits in a row, but inside."""
NO_PLACE: Final = ""


def loads(body: bytes) -> Any:
    """Read a document. Raises BodyMalformed for what is not JSON, InvalidFields for JSON we refuse."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse(body)
        raise BodyMalformed([(NO_PLACE, f"not JSON: {error.msg}")]) from error  # the walk is as strict, so this is a last resort
    if _is_suspicious(body, value):
        _refuse(body)
    return value


def load_object(body: bytes) -> dict[str, Any]:
    """Read a document that must be an object. Raises like loads."""
    value = loads(body)
    if type(value) is not dict:
        raise InvalidFields([(NO_PLACE, "the body must be a JSON object")])
    return value


def _refuse(body: bytes) -> None:
    """Raise for the first fault there is in a document, if there is one."""
    fault = find_fault(body)
    if fault is not None:
        refusal = BodyMalformed if fault.is_malformed else InvalidFields
        raise refusal([(fault.pointer, fault.detail)])


def _is_suspicious(body: bytes, value: Any) -> bool:
    """Say whether a document orjson has read needs a walk.

    Colons are counted in the source and in what was read, written again: a dropped key has taken at least one along. Only an escaped colon
    can hide that, and escapes of those characters (and of NUL) are walked anyway.
    """
    return (
        b"\\u000" in body
        or b"\\u003" in body
        or (NINETEEN_DIGITS in body.translate(DIGITS_AS_ZERO) and LONG_INTEGER.search(body) is not None)
        or (body.count(b"{") + body.count(b"[") > DEPTH_MAX and _is_deep(value))
        or body.count(b":") != orjson.dumps(value).count(b":")
    )


def _is_deep(value: Any) -> bool:
    """Say whether containers are nested deeper than DEPTH_MAX, level by level."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAX):
        if not level:
            return False
        inside = chain.from_iterable(node.values() if type(node) is dict else node for node in level)
        level = [child for child in inside if type(child) is dict or type(child) is list]
    return bool(level)
