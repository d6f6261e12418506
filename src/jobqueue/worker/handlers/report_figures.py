"""What a report says: jobs of a period counted by time, state and type, with how long they waited and ran."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from jobqueue.worker.surroundings import JobRow

BARS_MAX: Final = 60
WIDTHS_S: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400, 364 * 86_400)
"""What a bar of the chart may stand for, from a minute to a year of weeks: the first that gives at most BARS_MAX of them."""

TYPES_SHOWN_MAX: Final = 50
OTHER: Final = "(other types)"

GROUPS: Final = ("succeeded", "lost", "stopped", "open")
GROUP_OF: Final = {"succeeded": "succeeded", "dlq": "lost", "cancelled": "stopped", "expired": "stopped"}
"""Every other status is a job that has not ended."""


@dataclass(slots=True)
class Times:
    """Durations in seconds, kept to say quantiles exactly: 8 bytes each."""

    seconds: array[float] = field(default_factory=lambda: array("d"))

    def add(self, seconds: float) -> None:
        """Take one."""
        self.seconds.append(max(0.0, seconds))

    def quantile(self, share: float) -> float | None:
        """Say what that share of them do not exceed; None when there are none."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class TypeFigures:
    """The jobs of one type."""

    by_group: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    waits: Times = field(default_factory=Times)
    runs: Times = field(default_factory=Times)

    @property
    def total(self) -> int:
        """All of them."""
        return self.by_group.total()


def waited_s(row: JobRow) -> float | None:
    """From submit to the start of the last run."""
    return None if row.started_at is None else (row.started_at - row.created_at).total_seconds()


def ran_s(row: JobRow) -> float | None:
    """From the start of the last run to the job's end."""
    return None if row.started_at is None or row.finished_at is None else (row.finished_at - row.started_at).total_seconds()


class Figures:
    """Gathers jobs one by one; memory grows by some 16 bytes a job."""

    def __init__(self, after: datetime, before: datetime) -> None:
        assert after < before
        self.after = after
        self.before = before
        self.width_s = bar_width_s(after, before)
        self.bars: list[Counter[str]] = [Counter() for _ in range(self._bar_at(before - timedelta(microseconds=1)) + 1)]
        self.by_status: Counter[str] = Counter()
        self.types: dict[str, TypeFigures] = {}
        self.total = 0

    def add(self, row: JobRow) -> None:
        """Count one job."""
        group = GROUP_OF.get(row.status, "open")
        self.total += 1
        self.by_status[row.status] += 1
        self.bars[min(max(0, self._bar_at(row.created_at)), len(self.bars) - 1)][group] += 1
        of_type = self.types.setdefault(row.job_type, TypeFigures())
        of_type.by_group[group] += 1
        of_type.attempts += row.attempt
        if (seconds := waited_s(row)) is not None:
            of_type.waits.add(seconds)
        if (seconds := ran_s(row)) is not None:
            of_type.runs.add(seconds)

    def bar_start(self, number: int) -> datetime:
        """When a bar begins."""
        return datetime.fromtimestamp((self._first + number) * self.width_s, UTC)

    def by_type(self) -> list[tuple[str, TypeFigures]]:
        """List the types, those with most jobs first; what is beyond TYPES_SHOWN_MAX is one entry."""
        ordered = sorted(self.types.items(), key=lambda item: (-item[1].total, item[0]))
        shown, rest = ordered[:TYPES_SHOWN_MAX], ordered[TYPES_SHOWN_MAX:]
        return [*shown, (OTHER, _merged(figures for _, figures in rest))] if rest else shown

    @property
    def _first(self) -> int:
        return int(self.after.timestamp() // self.width_s)

    def _bar_at(self, at: datetime) -> int:
        return int(at.timestamp() // self.width_s) - self._first


def bar_width_s(after: datetime, before: datetime) -> int:
    """Choose how long a time each bar stands for."""
    period_s = (before - after).total_seconds()
    return next((width_s for width_s in WIDTHS_S if period_s / width_s <= BARS_MAX - 1), WIDTHS_S[-1])


def _merged(several: Iterable[TypeFigures]) -> TypeFigures:
    merged = TypeFigures()
    for figures in several:
        merged.by_group += figures.by_group
        merged.attempts += figures.attempts
        merged.waits.seconds.extend(figures.waits.seconds)
        merged.runs.seconds.extend(figures.runs.seconds)
    return merged
