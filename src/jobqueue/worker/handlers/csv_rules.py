"""What a column's values must be. Pure: rules in, a check out; no file, no clock.

A value is text. An empty one breaks `required` and nothing else. One that is not of its `type` is not compared with `min` and `max`;
but for that a value is told with every rule it breaks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Len, MaxLen

from jobqueue.worker.handler import ArgumentError
from jobqueue.worker.handlers.csv_dates import DateFormat, FormatError, read_iso_date, read_iso_datetime
from jobqueue.worker.handlers.csv_patterns import PatternError, compile_pattern
from jobqueue.worker.handlers.csv_report import NAME_CHARS_MAX, shown

COLUMNS_MAX: Final = 200
"""Columns a job may name: the counts for each of them stand in its result."""

PATTERNS_MAX: Final = 50
"""Compiled, one is at most some 3 MB."""

ALLOWED_MAX: Final = 10_000
FORMATS_MAX: Final = 20

TRUTHS: Final = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "1", "0"})

ColumnName = Annotated[str, MaxLen(NAME_CHARS_MAX)]
Formats = str | Annotated[list[str], Len(1, FORMATS_MAX)]
Bound = int | float | str

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?")
_ARTICLES: Final = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date",
    "datetime": "a date with time",
}
_COMPARED: Final = ("integer", "number", "date", "datetime")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRules:
    """The rules of one column, as a job gives them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    required: bool = False
    type: Literal["string", "integer", "number", "boolean", "date", "datetime"] = "string"
    min: Bound | None = None
    max: Bound | None = None
    min_length: Annotated[int, Ge(0)] | None = None
    max_length: Annotated[int, Ge(0)] | None = None
    pattern: str | None = None
    allowed: Annotated[list[str], Len(1, ALLOWED_MAX)] | None = None
    unique: bool = False
    format: Formats | None = None


Rules = Annotated[dict[ColumnName, ColumnRules], MaxLen(COLUMNS_MAX)]


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule a value breaks, and how."""

    rule: str
    reason: str


Typed = int | float | datetime
Convert = Callable[[str], Typed | None]
Check = Callable[[str], list[Broken]]
"""value -> the rules it breaks, in a fixed order. `unique` is not among them: it needs the other rows."""

_REQUIRED: Final = [Broken("required", "is empty")]
_FINE: Final[list[Broken]] = []


def compile_checks(rules: Mapping[str, ColumnRules]) -> dict[str, Check]:
    """Make the checks of all columns. Raises ArgumentError."""
    if sum(given.pattern is not None for given in rules.values()) > PATTERNS_MAX:
        raise ArgumentError(f"argument 'rules': more than {PATTERNS_MAX} columns have a pattern")
    return {column: compile_check(column, given) for column, given in rules.items()}


def compile_check(column: str, rules: ColumnRules) -> Check:
    """Make the check of one column. Raises ArgumentError that names column and rule."""
    missing = _REQUIRED if rules.required else _FINE
    is_required = rules.required
    convert = _converter(column, rules)
    not_of_type = [Broken("type", f"is not {_ARTICLES[rules.type]}{_in_format(rules)}")] if convert is not None else []
    bounds = _bounds(column, rules)
    tests = _text_tests(column, rules)

    def check(value: str) -> list[Broken]:
        if not value or (is_required and value.isspace()):
            return missing
        broken = _FINE
        if convert is not None:
            typed = convert(value)
            if typed is None:
                broken = not_of_type
            else:
                for breaks, told in bounds:
                    if breaks(typed):
                        broken = [*broken, told]
        for holds, told in tests:
            if not holds(value):
                broken = [*broken, told]
        return broken

    return check


def _converter(column: str, rules: ColumnRules) -> Convert | None:
    if rules.format is not None and rules.type not in ("date", "datetime"):
        raise _wrong(column, "format", "needs type date or datetime")
    match rules.type:
        case "integer":
            return read_integer
        case "number":
            return read_number
        case "boolean":
            return lambda value: 1 if value.lower() in TRUTHS else None
        case "date" | "datetime":
            return _date_converter(column, rules)
        case _:
            return None


def read_integer(value: str) -> int | None:
    """Read digits with an optional sign, nothing else."""
    return int(value) if _INTEGER.fullmatch(value) else None


def read_number(value: str) -> float | None:
    """Read a decimal with a point and an optional exponent; None also for one beyond what a double holds."""
    if not _NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _date_converter(column: str, rules: ColumnRules) -> Convert:
    if rules.format is None:
        return read_iso_date if rules.type == "date" else read_iso_datetime
    formats = compile_formats(column, "format", rules.format)
    if rules.type == "date" and any(form.has_time for form in formats):
        raise _wrong(column, "format", "has a time: that is type datetime")
    return reader_of(formats)


def compile_formats(column: str, rule: str, given: Formats) -> list[DateFormat]:
    """Make readers of formats. Raises ArgumentError."""
    try:
        return [DateFormat(text) for text in ([given] if isinstance(given, str) else given)]
    except FormatError as error:
        raise _wrong(column, rule, str(error)) from error


def reader_of(formats: list[DateFormat]) -> Callable[[str], datetime | None]:
    """Read by the first format that fits."""
    first, *others = formats

    def read(value: str) -> datetime | None:
        found = first.read(value)
        for form in others:
            if found is not None:
                break
            found = form.read(value)
        return found

    return read


def _in_format(rules: ColumnRules) -> str:
    if rules.format is not None:
        formats = [rules.format] if isinstance(rules.format, str) else rules.format
        return f" like {shown(', '.join(formats))}"
    return {"date": " like 2024-12-31", "datetime": " like 2024-12-31T23:59:59Z"}.get(rules.type, "")


def _bounds(column: str, rules: ColumnRules) -> list[tuple[Callable[[Any], bool], Broken]]:
    low = None if rules.min is None else _bound(column, "min", rules.min, rules)
    high = None if rules.max is None else _bound(column, "max", rules.max, rules)
    found: list[tuple[Callable[[Any], bool], Broken]] = []
    if low is not None:
        found.append((low.__gt__ if isinstance(low, datetime) else lambda typed: typed < low, Broken("min", f"is less than {rules.min}")))
    if high is not None:
        found.append(
            (high.__lt__ if isinstance(high, datetime) else lambda typed: typed > high, Broken("max", f"is more than {rules.max}"))
        )
    if low is not None and high is not None and low > high:  # type: ignore[operator]  # both are of the column's type
        raise _wrong(column, "min", "is more than max")
    return found


def _bound(column: str, rule: str, given: Bound, rules: ColumnRules) -> Typed:
    if rules.type not in _COMPARED:
        raise _wrong(column, rule, f"needs type {', '.join(_COMPARED[:-1])} or {_COMPARED[-1]}")
    if rules.type in ("integer", "number"):
        if isinstance(given, str) or not math.isfinite(given):
            raise _wrong(column, rule, "is a number for this type")
        return given
    found = read_iso_date(given) or (read_iso_datetime(given) if rules.type == "datetime" else None) if isinstance(given, str) else None
    if found is None:
        raise _wrong(column, rule, "is a text like 2024-12-31 for this type" + ("" if rules.type == "date" else ", or with time"))
    return found


def _text_tests(column: str, rules: ColumnRules) -> list[tuple[Callable[[str], bool], Broken]]:
    shortest, longest = rules.min_length, rules.max_length
    tests: list[tuple[Callable[[str], bool], Broken]] = []
    if shortest is not None:
        tests.append((lambda value: len(value) >= shortest, Broken("min_length", f"is shorter than {shortest} characters")))
    if longest is not None:
        if shortest is not None and shortest > longest:
            raise _wrong(column, "min_length", "is more than max_length")
        tests.append((lambda value: len(value) <= longest, Broken("max_length", f"is longer than {longest} characters")))
    if rules.pattern is not None:
        try:
            tests.append((compile_pattern(rules.pattern), Broken("pattern", "does not match the pattern")))
        except PatternError as error:
            raise _wrong(column, "pattern", str(error)) from error
    if rules.allowed is not None:
        tests.append((frozenset(rules.allowed).__contains__, Broken("allowed", "is not one of the allowed values")))
    return tests


def _wrong(column: str, rule: str, reason: str) -> ArgumentError:
    return ArgumentError(f"argument 'rules': column {shown(column)!r}: {rule} {reason}")


def positions(header: list[str], named: Mapping[str, object], *, argument: str) -> list[tuple[int, str]]:
    """Find where the named columns stand; every place of one that stands twice. Raises ArgumentError for one that is not there."""
    for column in named:
        if column not in header:
            known = ", ".join(repr(shown(name)) for name in header[:20])
            raise ArgumentError(f"argument {argument!r}: the CSV has no column {shown(column)!r}; it has {known}")
    return [(at, column) for at, column in enumerate(header) if column in named]
