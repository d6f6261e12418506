"""Read docs/interleavings.md, which is the list of what can meet on one job and the expectation of its tests in one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[4] / "docs" / "interleavings.md"
MEETINGS, APART = "## Meetings", "## What cannot meet"


@dataclass(frozen=True)
class After:
    """What the second answered, what the job is then, and the events that were added."""

    says: str
    status: str
    events: tuple[str, ...]


@dataclass(frozen=True)
class Meeting:
    """One row. waits: whether the second waits for the first."""

    start: str
    first: str
    first_says: str
    second: str
    waits: bool
    committed: After
    rolled_back: After

    def __str__(self) -> str:
        return f"{self.start}: {self.first}, then {self.second}"


def _rows(title: str) -> Iterator[list[str]]:
    """The cells of the table under a title, without its head."""
    text = DOCUMENT.read_text("utf-8").split(f"\n{title}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _after(says: str, then: str) -> After:
    status, _, events = then.partition(": ")
    return After(says, status, tuple(events.split()))


def meetings() -> list[Meeting]:
    """The first table."""
    return [
        Meeting(start, first, first_says, second, {"waits": True, "passes": False}[how], _after(says, then), _after(or_says, or_then))
        for start, first, first_says, second, how, says, then, or_says, or_then in _rows(MEETINGS)
    ]


def apart() -> list[tuple[set[str], set[str], str]]:
    """The second table: verbs that cannot come first, verbs that cannot come second after them, and why."""
    return [(set(firsts.split(", ")), set(seconds.split(", ")), why) for firsts, seconds, why in _rows(APART)]
