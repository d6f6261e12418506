"""Draw `top`: figures and curves above, queues below them, then workers and failing types, as far as the screen reaches."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jobqueue.cli.looks import STATUS_STYLES, ago, count, duration, plain, rate, table
from jobqueue.cli.top_reading import Failing, Reading, total
from jobqueue.domain.lifecycle import Status

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
OLD_S: Final = 60.0
"""A job that waited longer is told in red."""

ROWS_BESIDE: Final = 15
"""Lines the screen needs for all but the rows of its three tables."""

ROWS_MIN: Final = 3
WIDTH_MAX: Final = 160
SAYS_CHARS_MAX: Final = 200
FRAME: Final = 4
"""What a panel takes of a line: its sides and a blank beside each."""


def draw(reading: Reading, *, url: str, width: int, height: int) -> RenderableType:
    """Lay out one reading. height 0: as long as it takes."""
    rows = 50 if not height else max(ROWS_MIN * 3, height - ROWS_BESIDE)
    width = min(width, WIDTH_MAX)
    busiest = sorted(reading.queues.items(), key=lambda item: (-item[1].running - item[1].ready, item[0]))
    parts: list[RenderableType] = [
        _head(reading, url),
        _states(reading),
        _curves(reading, width),
        _titled("queues", _queues(busiest[: max(ROWS_MIN, rows // 2)], reading.paused), len(busiest) - max(ROWS_MIN, rows // 2), width),
    ]
    workers = reading.workers or []
    if reading.workers is not None:
        shown = max(ROWS_MIN, rows // 4)
        parts.append(_titled("workers", _workers(workers[:shown]), len(workers) - shown, width))
    if reading.failing:
        parts.append(_titled("failing", _failing(reading.failing[: max(ROWS_MIN, rows // 4)], width - FRAME), 0, width))
    return Group(*parts)


def _head(reading: Reading, url: str) -> Text:
    head = Text.assemble((" jobqueue top ", "bold white on blue"), f"  {reading.tenant} at {url}  ", (f"{reading.at:%H:%M:%S} UTC", "dim"))
    if reading.trouble:
        head.append(f"\n {reading.trouble}", "bold red")
    return head


def _states(reading: Reading) -> Text:
    line = Text("\n ")
    for status in Status:
        number = reading.by_status.get(status.value, 0)
        if number or status in (Status.QUEUED, Status.RUNNING, Status.SUCCEEDED, Status.DLQ):
            line.append(f"{count(number)} ", "bold").append(status.value, STATUS_STYLES[status.value]).append("   ")
    return line


def _curves(reading: Reading, width: int) -> Table:
    """Draw what came in and what went out, with depth and the oldest job beside them."""
    queues = reading.queues
    oldest_s = max((figures.oldest_ready_age_seconds for figures in queues.values() if figures.ready), default=0.0)
    highest = max([*reading.arrivals, *reading.completions, 1.0])
    wide = max(10, width - 50)
    grid = Table.grid(padding=(0, 2))
    age = Text(duration(oldest_s), "bold red" if oldest_s > OLD_S else "bold")
    for label, rates, colour, figure in (("in", reading.arrivals, "blue", "ready"), ("out", reading.completions, "green", "running")):
        now = Text(rate(rates[-1] if rates else 0.0).rjust(9), "bold")
        grid.add_row(f" {label}", now, Text(_curve(rates, highest, wide), colour), figure, Text(count(total(queues, figure)), "bold"))
    grid.add_row("", "", Text("jobs a second, over the last minute at each look", "dim"), "oldest", age)
    return grid


def _curve(values: Sequence[float], highest: float, width: int) -> str:
    """Draw the newest values as blocks, an eighth of a line each step."""
    shown = values[-width:]
    return "".join(BLOCKS[min(8, max(0 if value <= 0 else 1, round(8 * value / highest)))] for value in shown).ljust(width)


def _titled(title: str, body: RenderableType, hidden: int, width: int) -> Panel:
    subtitle = f"and {hidden} more" if hidden > 0 else None
    return Panel(body, title=title, title_align="left", subtitle=subtitle, subtitle_align="right", border_style="dim", width=width)


def _queues(queues: Sequence[tuple[str, Any]], paused: frozenset[str]) -> RenderableType:
    if not queues:
        return Text("no queues yet", "dim")
    columns = ["queue", "ready", "running", "scheduled", "failed", "dlq", "in", "out", "oldest", "needs"]
    rows = []
    for name, its in queues:
        called = plain(name).append(" paused", "yellow") if name in paused else plain(name)
        age = Text(duration(its.oldest_ready_age_seconds) if its.ready else "-", "red" if its.oldest_ready_age_seconds > OLD_S else "")
        dead = Text(count(its.dlq), "red" if its.dlq else "")
        numbers = [count(its.ready), count(its.running), count(its.scheduled), count(its.failed), dead]
        rows.append([called, *numbers, rate(its.arrival_rate), rate(its.completion_rate), age, _needs(its.desired_workers)])
    return table(columns, rows, right=columns[1:])


def _needs(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _workers(workers: Sequence[dict[str, Any]]) -> RenderableType:
    if not workers:
        return Text("no worker is alive: what waits will not run", "bold red")
    columns = ["worker", "running", "of", "queues", "types", "seen", "told"]
    rows = []
    for worker in workers:
        seen = worker.get("last_heartbeat_at")
        at = None if seen is None else datetime.fromisoformat(seen).astimezone(UTC)
        directive = worker.get("directive", "run")
        rows.append(
            [
                worker.get("worker_id") or worker.get("id"),
                worker.get("running", 0),
                worker.get("concurrency"),
                _short(worker.get("queues") or ["*"]),
                _short(worker.get("job_types") or []),
                ago(at),
                "" if directive == "run" else directive,
            ]
        )
    return table(columns, rows, right=("running", "of"))


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "")


def _failing(failing: Sequence[Failing], width: int) -> RenderableType:
    columns = ["type", "error", "buried", "will retry", "last", "says"]
    rows = []
    for each in failing:
        buried = Text(count(each.buried), "red" if each.buried else "")
        rows.append([each.job_type, each.error, buried, count(each.waiting), ago(each.last_at), _line(each.example)])
    return table(columns, rows, right=("buried", "will retry"), width=width)


def _line(text: str) -> str:
    return " ".join(text.split())[:80]
