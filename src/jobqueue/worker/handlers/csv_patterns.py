"""Patterns from a job's data, matched in linear time and within a known cost.

A backtracking engine can take hours over forty characters, and `re` holds the interpreter's lock meanwhile, so that one pattern would
stop every heartbeat of the worker. These run on the engine pydantic carries, Rust's `regex`: no backtracking, and so neither look-around
nor back-references. What is left is its cost per character, which grows with counted repeats inside counted repeats: (?:a{0,300}){0,300}
took 10 s over 1,000 characters. So the pattern is weighed before it is used, and long values are not matched at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

PATTERN_CHARS_MAX: Final = 1_000
PATTERN_WEIGHT_MAX: Final = 1_000
"""Characters and classes, counted repeats multiplied out."""

WIDE_WEIGHT: Final = 10
r"""Of a class with \w and its like, negated, or beyond ASCII: \w compiles to some 25 KB, and so a pattern to at most some 3 MB."""

VALUE_CHARS_MAX: Final = 1_000
"""Weight times length is at most 1e6 steps: 0.1 s for the worst value that could be made."""

_COUNT: Final = re.compile(r"\{\s*([0-9]{0,6})\s*(?:,\s*([0-9]{0,6})\s*)?\}")
_NAMED_ESCAPE: Final = re.compile(r"[pPxuUb]\{[^}]*\}")
_NARROW_CLASS: Final = re.compile(r"(?!\^)[!-Z_-~ ]*")  # ASCII, no backslash
_VERBOSE: Final = re.compile(r"\(\?[A-Za-z-]*x")


class PatternError(ValueError):
    """A pattern cannot be used; the message says why, without the argument's name."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Make a test whether a pattern matches a whole value. Raises PatternError."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise PatternError(f"the pattern has more than {PATTERN_CHARS_MAX} characters")
    if _VERBOSE.search(pattern):
        raise PatternError("the pattern uses the flag x, which is not taken")
    if weigh(pattern) > PATTERN_WEIGHT_MAX:
        raise PatternError(
            f"the pattern is too costly: its repeats multiply to more than {PATTERN_WEIGHT_MAX} ({WIDE_WEIGHT} for a wide class)"
        )
    _build(pattern)  # by itself first: `a)|(b` would pass inside the group
    matches = _build(rf"\A(?:{pattern})\z").isinstance_python
    return lambda value: len(value) <= VALUE_CHARS_MAX and matches(value)


def _build(pattern: str) -> SchemaValidator:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))
    except SchemaError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), lines[-1])
        raise PatternError(f"the pattern cannot be compiled: {reason}") from error


def weigh(pattern: str) -> int:
    """Count what a compiled pattern comes to, never too low. Raises PatternError for classes it cannot read with certainty."""
    totals, last = [0], 0  # per open group: what it holds; last: what a repeat would multiply
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            named = _NAMED_ESCAPE.match(pattern, at)
            last = WIDE_WEIGHT if pattern[at : at + 1].isalpha() else 1
            at = named.end() if named else at + 1
        elif char == "[":
            end = _end_of_class(pattern, at)
            last = 1 if _NARROW_CLASS.fullmatch(pattern, at, end - 1) else WIDE_WEIGHT
            at = end
        elif char == "(":
            totals.append(0)
            last = 0
            continue
        elif char in "?*+|":
            continue
        elif char == ")" and len(totals) > 1:
            last = max(totals.pop(), 1)
        elif char == "{" and (count := _COUNT.match(pattern, at - 1)):
            at = count.end()
            times = max(int(count[1] or 1), int(count[2] or 1), 1)
            totals[-1] += last * (times - 1)
            last *= times
            continue
        else:
            last = 1
        totals[-1] += last
    return sum(totals)


def _end_of_class(pattern: str, at: int) -> int:
    start = at + (pattern[at : at + 1] == "^")
    if pattern[start : start + 1] == "]":
        raise PatternError(r"a class in the pattern begins with ]: write \]")
    while at < len(pattern):
        if pattern[at] == "]":
            return at + 1
        if pattern[at] == "[":
            raise PatternError(r"the pattern has a class inside a class: write \[ for the character")
        at += 2 if pattern[at] == "\\" else 1
    raise PatternError("a class in the pattern is not closed")
