"""Walk over a JSON text and say what is wrong with it, and where: the slow, exact half of strict_json.

Never recurses and never turns a long digit string into a number, so a hostile document costs time in proportion to its length only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final

DEPTH_MAX: Final = 64
"""Containers inside each other; Postgres and most readers take more, people do not."""
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
INTEGER_CHARACTERS_MAX: Final = 20

SPACE: Final = re.compile(r"[ \t\n\r]*+")
STRING: Final = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][+-]?[0-9]++)?")
WORD: Final = re.compile(r"true|false|null")
NON_FINITE: Final = re.compile(r"-?(?:NaN|Infinity)")
UNDECODABLE: Final = re.compile("[\udc80-\udcff]")
LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
BYTE_ORDER_MARK: Final = "\ufeff"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place. is_malformed: the document is not JSON; else it is JSON we refuse."""

    pointer: str
    detail: str
    is_malformed: bool


@dataclass(slots=True)
class Container:
    """An object or array being read; key is the place in it."""

    is_object: bool
    key: str | int
    keys: set[str] = field(default_factory=set)


class Found(Exception):
    """The walk has found a fault; never leaves this module."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def escape(part: str | int) -> str:
    """Write a key or index as part of a JSON pointer."""
    return str(part).replace("~", "~0").replace("/", "~1")


def find_fault(body: bytes) -> Fault | None:
    """Name the first fault of a document; None: it is one we take."""
    try:
        Walk(body.decode("utf-8", "surrogateescape")).run()
    except Found as found:
        return found.fault
    return None


class Walk:
    """One walk over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._stack: list[Container] = []

    def run(self) -> None:
        """Walk to the end. Raises Found."""
        if self._text.startswith(BYTE_ORDER_MARK):
            raise self._malformed("the body starts with a byte order mark")
        self._skip_space()
        if self._at == len(self._text):
            raise self._malformed("the body is empty")
        self._read_value()
        while self._stack:
            self._read_next()
        self._skip_space()
        if self._at != len(self._text):
            raise self._malformed("there is more after the end of the document")

    def _read_next(self) -> None:
        """Read what may follow a value or an opening inside the innermost container."""
        container = self._stack[-1]
        self._skip_space()
        is_first = container.key in ("", -1) and not container.keys
        closing = "}" if container.is_object else "]"
        if self._text.startswith(closing, self._at):
            self._at += 1
            self._stack.pop()
            return
        if not is_first:
            self._expect(",")
        if container.is_object:
            self._read_key(container)
        else:
            assert isinstance(container.key, int)
            container.key += 1
        self._skip_space()
        self._read_value()

    def _read_key(self, container: Container) -> None:
        self._skip_space()
        key = self._read_string()
        container.key = key
        if key in container.keys:
            raise self._refused("the key is there twice")
        container.keys.add(key)
        self._skip_space()
        self._expect(":")

    def _read_value(self) -> None:
        first = self._text[self._at : self._at + 1]
        if first in ("{", "["):
            if len(self._stack) == DEPTH_MAX:
                raise self._refused(f"nested deeper than {DEPTH_MAX}")
            self._at += 1
            self._stack.append(Container(is_object=first == "{", key="" if first == "{" else -1))
        elif first == '"':
            self._read_string()
        elif (match := WORD.match(self._text, self._at)) is not None:
            self._at = match.end()
        else:
            self._read_number()

    def _read_number(self) -> None:
        if NON_FINITE.match(self._text, self._at):
            raise self._malformed("NaN and infinities are not JSON")
        match = NUMBER.match(self._text, self._at)
        if match is None:
            raise self._malformed("not a JSON value")
        self._at = match.end()
        is_integer = match[1] is None and match[2] is None
        if is_integer and (len(match[0]) > INTEGER_CHARACTERS_MAX or not INTEGER_MIN <= int(match[0]) <= INTEGER_MAX):
            raise self._refused("integers beyond 64 bits are refused; send it as a string")
        if not is_integer and float(match[0]) in (float("inf"), float("-inf")):
            raise self._refused("the number is beyond the range of a double")

    def _read_string(self) -> str:
        match = STRING.match(self._text, self._at)
        if match is None:
            raise self._malformed("not a JSON string: a quote is missing, or a character needs escaping")
        if UNDECODABLE.search(match[0]):
            raise self._malformed("not UTF-8")
        text: str = json.loads(match[0]) if "\\" in match[0] else match[0][1:-1]
        if LONE_SURROGATE.search(text):
            raise self._malformed("half of a surrogate pair is not a character")
        if "\x00" in text:
            raise self._refused("the character U+0000 cannot be stored")
        self._at = match.end()
        return text

    def _expect(self, character: str) -> None:
        if not self._text.startswith(character, self._at):
            raise self._malformed(f"expected {character!r}")
        self._at += 1

    def _skip_space(self) -> None:
        match = SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _pointer(self) -> str:
        # before its first entry a container stands for itself
        started = [container.key for container in self._stack if container.keys or container.key not in ("", -1)]
        return "".join(f"/{escape(key)}" for key in started)

    def _malformed(self, what: str) -> Found:
        where = len(self._text[: self._at].encode("utf-8", "surrogateescape"))
        return Found(Fault(self._pointer(), f"{what} (at byte {where})", is_malformed=True))

    def _refused(self, what: str) -> Found:
        return Found(Fault(self._pointer(), what, is_malformed=False))
