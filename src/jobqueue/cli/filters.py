"""The filters that lists and bulk commands share."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from jobqueue.apps.refusals import StartRefused
from jobqueue.domain.lifecycle import Status


class Priority(StrEnum):
    """How urgent a job is, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def _option(name: str, metavar: str, help_text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help_text)


Statuses = Annotated[list[Status] | None, _option("--status", "STATUS", "In this status (queued, running, dlq ...); repeatable.")]
Queues = Annotated[list[str] | None, _option("--queue", "NAME", "In this queue; repeatable.")]
Types = Annotated[list[str] | None, _option("--type", "TYPE", "Of this type; repeatable.")]
Priorities = Annotated[list[Priority] | None, _option("--priority", "PRIORITY", "Critical, high, normal or low; repeatable.")]
Tags = Annotated[list[str] | None, _option("--tag", "TAG", "With this tag; of several all must be there.")]
Correlation = Annotated[str | None, _option("--correlation-id", "ID", "Submitted under this correlation id.")]
Since = Annotated[str | None, _option("--since", "TIME", "Submitted since: 30m, 6h, 7d, or a time like 2026-11-25T08:00:00Z.")]
Until = Annotated[str | None, _option("--until", "TIME", "Submitted before: the same forms.")]


def gather(**given: Any) -> dict[str, Any]:
    """Make the client's filter of what was given; `since` and `until` become times. Raises StartRefused."""
    filters: dict[str, Any] = {name: _values(value) for name, value in given.items() if value and name not in ("since", "until")}
    for name, field in (("since", "created_after"), ("until", "created_before")):
        if given.get(name):
            filters[field] = moment(f"--{name}", given[name])
    return filters


def _values(given: str | list[str]) -> str | list[str]:
    """Take the plain texts out of enums."""
    return str(given) if isinstance(given, str) else [str(value) for value in given]


def moment(option: str, text: str, *, now: datetime | None = None, is_future: bool = False) -> datetime:
    """Read a time: how long ago (or from now), or RFC 3339. Raises StartRefused."""
    number, unit = text[:-1], text[-1:]
    if unit in UNITS_S and number.replace(".", "", 1).isdigit():
        distance = timedelta(seconds=float(number) * UNITS_S[unit])
        return (now or datetime.now(UTC)) + (distance if is_future else -distance)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StartRefused(f"{option}: {text!r} is no time; write 30m, 6h, 7d, or 2026-11-25T08:00:00Z") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def seconds(option: str, text: str | None) -> float | None:
    """Read a duration: 90, 90s, 5m, 2h, 1d. Raises StartRefused."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS_S else (text, "s")
    try:
        found = float(number) * UNITS_S[unit]
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise StartRefused(f"{option}: {text!r} is no duration; write 90, 90s, 5m, 2h or 1d")
    return found
