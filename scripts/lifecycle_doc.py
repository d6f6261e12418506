"""Write docs/lifecycle.md from domain/lifecycle.py, the only list of transitions.

python scripts/lifecycle_doc.py
"""

from __future__ import annotations

from pathlib import Path

from jobqueue.domain.lifecycle import FINAL, HELD, TRANSITIONS, WAITING, Event, Status

TARGET = Path(__file__).parents[1] / "docs" / "lifecycle.md"

HEAD = """# The life of a job

Written by `scripts/lifecycle_doc.py` from `TRANSITIONS` in `src/jobqueue/domain/lifecycle.py`; a test holds it to that, and that to the
`-- edges:` headers of the SQL. An arrow carries the event that is written to the history (`job.` + its name).
"""


def render() -> str:
    """The document."""
    return f"{HEAD}\n```mermaid\n{diagram()}\n```\n\n{table()}"


def edges() -> dict[tuple[Status | None, Status], list[Event]]:
    """Pairs of statuses with the events that lead from one to the other, in the order of the enums."""
    found: dict[tuple[Status | None, Status], list[Event]] = {}
    for (before, event), afters in TRANSITIONS.items():
        for after in afters:
            found.setdefault((before, after), []).append(event)
    order = [None, *Status]
    return {
        pair: sorted(events, key=list(Event).index)
        for pair, events in sorted(found.items(), key=lambda item: (order.index(item[0][0]), order.index(item[0][1])))
    }


def diagram() -> str:
    """The graph, as mermaid draws it; what stays where it is is left to the table."""
    lines = ["stateDiagram-v2"]
    for (before, after), events in edges().items():
        if before != after:
            lines.append(f"    {'[*]' if before is None else before.value} --> {after.value}: {', '.join(event.value for event in events)}")
    lines += [f"    {status.value} --> [*]" for status in Status if status in FINAL]
    return "\n".join(lines)


def table() -> str:
    """Every transition: from, event, to."""
    rows = ["| status | event | then |", "| --- | --- | --- |"]
    for status in [None, *Status]:
        for event in Event:
            afters = TRANSITIONS.get((status, event))
            if afters:
                name = "(none)" if status is None else f"`{status.value}` ({kind(status)})"
                rows.append(f"| {name} | `{event.value}` | {', '.join(f'`{after.value}`' for after in Status if after in afters)} |")
    return "\n".join(rows) + "\n"


def kind(status: Status) -> str:
    """What a status means for limits and for those who wait."""
    if status in FINAL:
        return "ended"
    assert (status in WAITING) != (status in HELD)
    return "waits" if status in WAITING else "held"


if __name__ == "__main__":
    TARGET.write_text(render(), "utf-8")
