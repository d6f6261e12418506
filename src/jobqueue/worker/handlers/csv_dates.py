"""Dates and times in the forms files have them, read and written without the process's locale.

A format is written as for `strftime`, of these directives: %Y %y %m %b %B %d %H %I %p %M %S %f %z %%. Month names are English. As
`strptime` does, numbers are taken with or without a leading zero, and years of two digits are 1969 to 2068.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

FORMAT_CHARS_MAX: Final = 100
CENTURY_PIVOT: Final = 69

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_NUMBERS: Final = {name.lower(): at for at, name in enumerate(MONTHS, 1)} | {name[:3].lower(): at for at, name in enumerate(MONTHS, 1)}
_PATTERNS: Final = {
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "m": r"(?P<m>1[0-2]|0?[1-9])",
    "b": rf"(?P<b>{'|'.join(name[:3] for name in MONTHS)})",
    "B": rf"(?P<B>{'|'.join(MONTHS)})",
    "d": r"(?P<d>3[01]|[12][0-9]|0?[1-9])",
    "H": r"(?P<H>2[0-3]|1[0-9]|0?[0-9])",
    "I": r"(?P<I>1[0-2]|0?[1-9])",
    "p": r"(?P<p>AM|PM)",
    "M": r"(?P<M>[1-5][0-9]|0?[0-9])",
    "S": r"(?P<S>[1-5][0-9]|0?[0-9])",
    "f": r"(?P<f>[0-9]{1,6})",
    "z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
}
_WRITTEN: Final = {
    "Y": "{0.year:04d}", "y": "{1:02d}", "m": "{0.month:02d}", "b": "{2:.3}", "B": "{2}", "d": "{0.day:02d}", "H": "{0.hour:02d}",
    "I": "{3:02d}", "p": "{4}", "M": "{0.minute:02d}", "S": "{0.second:02d}", "f": "{0.microsecond:06d}", "z": "{5}", "%": "%",
}  # fmt: skip
_YEARS: Final = ("Y", "y")
_MONTHS: Final = ("m", "b", "B")

_DIRECTIVE: Final = re.compile("%(.?)", re.DOTALL)
_ISO_DATE: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ISO_DATETIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


class FormatError(ValueError):
    """A format cannot be used; the message says why, without the argument's name."""


def read_iso_date(text: str) -> datetime | None:
    """Read YYYY-MM-DD, nothing else; None when it is not that, or no such day."""
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        return None


def read_iso_datetime(text: str) -> datetime | None:
    """Read YYYY-MM-DDTHH:MM, seconds, fractions and an offset at will; a space may stand for the T. Without offset it is UTC."""
    if not _ISO_DATETIME.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def write_iso(value: datetime, *, is_date: bool) -> str:
    """Write a date or a time in the form the readers above take."""
    if is_date:
        return value.date().isoformat()
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


class DateFormat:
    """One format, for reading and writing. has_time: whether it says more than the day. Raises FormatError."""

    __slots__ = ("_pattern", "_template", "has_time", "has_zone")

    def __init__(self, text: str) -> None:
        if not 1 <= len(text) <= FORMAT_CHARS_MAX:
            raise FormatError(f"a date format has 1 to {FORMAT_CHARS_MAX} characters")
        used: list[str] = []
        pattern: list[str] = []
        template: list[str] = []
        at = 0
        for found in _DIRECTIVE.finditer(text):
            directive = found[1]
            for part in (text[at : found.start()], *(["%"] if directive == "%" else [])):
                pattern.append(re.escape(part))
                template.append(part.replace("{", "{{").replace("}", "}}"))
            at = found.end()
            if directive == "%":
                continue
            if directive not in _PATTERNS:
                raise FormatError(f"date format {text!r} has %{directive}; known are {' '.join('%' + known for known in _PATTERNS)}")
            if directive in used:
                raise FormatError(f"date format {text!r} has %{directive} twice")
            used.append(directive)
            pattern.append(_PATTERNS[directive])
            template.append(_WRITTEN[directive])
        rest = text[at:]
        self._pattern = re.compile("".join(pattern) + re.escape(rest), re.IGNORECASE | re.ASCII)
        self._template = "".join(template) + rest.replace("{", "{{").replace("}", "}}")
        _check_parts(text, used)
        self.has_time = not set(used).issubset({*_YEARS, *_MONTHS, "d"})
        self.has_zone = "z" in used

    def read(self, text: str) -> datetime | None:
        """Read a text that is of this format from end to end; None when it is not, or no such day. Without offset it is UTC."""
        found = self._pattern.fullmatch(text)
        if found is None:
            return None
        part = found.groupdict(default="0")
        month = int(part["m"]) if "m" in part else _NUMBERS[part.get("b", part.get("B", "")).lower()]
        try:
            return datetime(
                _year(part), month, int(part["d"]), _hour(part), int(part.get("M", "0")), int(part.get("S", "0")),
                int(part.get("f", "0").ljust(6, "0")), _zone(part.get("z", "Z")),
            )  # fmt: skip
        except ValueError:  # 31 April, the year 0, an offset of a day
            return None

    def write(self, value: datetime) -> str:
        """Write a time in this format."""
        half = "AM" if value.hour < 12 else "PM"
        offset = value.strftime("%z") or "+0000"
        return self._template.format(value, value.year % 100, MONTHS[value.month - 1], (value.hour + 11) % 12 + 1, half, offset)


def _check_parts(text: str, used: list[str]) -> None:
    for name, choices in (("a year", _YEARS), ("a month", _MONTHS), ("a day", ("d",))):
        count = sum(directive in choices for directive in used)
        if count != 1:
            raise FormatError(f"date format {text!r} needs {name} once: {' or '.join('%' + choice for choice in choices)}")
    if "H" in used and "I" in used:
        raise FormatError(f"date format {text!r} has the hour twice: %H and %I")
    if ("I" in used) != ("p" in used):
        raise FormatError(f"date format {text!r} needs %I and %p together")


def _year(part: dict[str, str]) -> int:
    if "Y" in part:
        return int(part["Y"])
    short = int(part["y"])
    return short + (1900 if short >= CENTURY_PIVOT else 2000)


def _hour(part: dict[str, str]) -> int:
    if "I" not in part:
        return int(part.get("H", "0"))
    return int(part["I"]) % 12 + (12 if part["p"].upper() == "PM" else 0)


def _zone(text: str) -> timezone:
    if text in ("Z", "z"):
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)
