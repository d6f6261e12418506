"""How a column's values are put right. Pure: corrections in, a function out.

They are taken in this order, each on what the one before made: trim, map, default, case, number, date. One that does not fit a value
(letters where a number is to be) leaves it as it is and is told; a value that has the wanted form already is left and not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
from annotated_types import Len, MaxLen

from jobqueue.worker.handler import ArgumentError
from jobqueue.worker.handlers.csv_dates import DateFormat, FormatError, read_iso_date, read_iso_datetime, write_iso
from jobqueue.worker.handlers.csv_report import shown
from jobqueue.worker.handlers.csv_rules import COLUMNS_MAX, FORMATS_MAX, ColumnName, read_number

MAP_MAX: Final = 10_000
NAMES_BYTES_MAX: Final = 16 * 1024
"""All names of corrected columns: the result counts changes under each."""

_FORBIDDEN: Final[dict[str, Any]] = {"extra": "forbid"}
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SPACES: Final = " \u00a0\u202f\u2009"
"""Thousands are set apart by any of these where a space is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberForm:
    """How numbers are written in the file; they become plain ones with a point."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBIDDEN

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DateForms:
    """How dates are written in the file, the first form that fits counts; and how they are to be, None for ISO 8601."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBIDDEN

    formats: Annotated[list[str], Len(1, FORMATS_MAX)]
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCorrections:
    """The corrections of one column, as a job gives them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _FORBIDDEN

    trim: bool = False
    map: Annotated[dict[str, str], MaxLen(MAP_MAX)] | None = None
    default: str | None = None
    case: Literal["upper", "lower", "title"] | None = None
    number: NumberForm | None = None
    date: DateForms | None = None


Corrections = Annotated[dict[ColumnName, ColumnCorrections], MaxLen(COLUMNS_MAX)]

Step = Callable[[str], str | None]
"""value -> the corrected one; None when the correction does not fit it."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A value after its corrections, with the names of those that changed it and of those that did not fit."""

    value: str
    by: tuple[str, ...]
    unfit: tuple[str, ...]


Correct = Callable[[str], Corrected | None]
"""value -> what became of it; None when it is as it should be."""


def check_names(corrections: Mapping[str, ColumnCorrections]) -> None:
    """Raise ArgumentError when the names alone would fill the result."""
    if len(orjson.dumps(list(corrections))) > NAMES_BYTES_MAX:
        raise ArgumentError(f"argument 'corrections': the names of its columns have more than {NAMES_BYTES_MAX} bytes together")


def compile_corrections(column: str, corrections: ColumnCorrections) -> Correct:
    """Make the function that puts one column right. Raises ArgumentError that names column and correction."""
    steps = _steps(column, corrections)

    def correct(value: str) -> Corrected | None:
        by: tuple[str, ...] = ()
        unfit: tuple[str, ...] = ()
        for name, step in steps:
            after = step(value)
            if after is None:
                unfit += (name,)
            elif after != value:
                by += (name,)
                value = after
        return Corrected(value, by, unfit) if by or unfit else None

    return correct


def _steps(column: str, corrections: ColumnCorrections) -> list[tuple[str, Step]]:
    steps: list[tuple[str, Step]] = []
    if corrections.trim:
        steps.append(("trim", str.strip))
    if (new := corrections.map) is not None:
        steps.append(("map", lambda value: new.get(value, value)))
    if (default := corrections.default) is not None:
        steps.append(("default", lambda value: value or default))
    if corrections.case is not None:
        steps.append(("case", {"upper": str.upper, "lower": str.lower, "title": title}[corrections.case]))
    if corrections.number is not None:
        steps.append(("number", _unless_empty(_number_step(column, corrections.number))))
    if corrections.date is not None:
        steps.append(("date", _unless_empty(_date_step(column, corrections.date))))
    return steps


def title(value: str) -> str:
    """Begin every word with a capital: O'Neill's, not O'Neill'S as `str.title` would for don't."""
    return _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), value)


def _unless_empty(step: Step) -> Step:
    return lambda value: step(value) if value else value


def _number_step(column: str, form: NumberForm) -> Step:
    decimal, thousands = form.decimal, form.thousands
    if decimal == thousands:
        raise _wrong(column, "number", "has the same character for decimal and thousands")
    digits = "[0-9]+"
    if thousands:
        mark = f"[{_SPACES}]" if thousands == " " else re.escape(thousands)
        digits = rf"[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+|[0-9]+"
    pattern = re.compile(rf"([+-]?)({digits})(?:{re.escape(decimal)}([0-9]+))?")
    drop = str.maketrans("", "", _SPACES if thousands == " " else thousands)

    def step(value: str) -> str | None:
        found = pattern.fullmatch(value)
        if found is None:
            return value if read_number(value) is not None else None
        sign, whole, fraction = found.groups()
        return f"{sign}{whole.translate(drop)}.{fraction}" if fraction else f"{sign}{whole.translate(drop)}"

    return step


def _date_step(column: str, forms: DateForms) -> Step:
    try:
        formats = [DateFormat(text) for text in forms.formats]
        to = None if forms.to is None else DateFormat(forms.to)
    except FormatError as error:
        raise _wrong(column, "date", str(error)) from error

    def step(value: str) -> str | None:
        for form in formats:
            found = form.read(value)
            if found is not None:
                if to is not None:
                    return to.write(found)
                return write_iso(found if form.has_zone else found.replace(tzinfo=None), is_date=not form.has_time)
        if to is not None:
            return value if to.read(value) is not None else None
        return value if (read_iso_date(value) or read_iso_datetime(value)) is not None else None

    return step


def _wrong(column: str, correction: str, reason: str) -> ArgumentError:
    return ArgumentError(f"argument 'corrections': column {shown(column)!r}: {correction} {reason}")
