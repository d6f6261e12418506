"""Draw a trace from the spans a collector received; as a program, run one job over three processes and write docs/trace.svg.

python -m tests.whole.trace_picture [FILE]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.postgres import Databases, migrate, running_server
from tests.whole.collector import Collector, Span
from tests.whole.roles import Roles
from tests.whole.traced_job import run_traced_job

TARGET: Final = Path(__file__).parents[2] / "docs" / "trace.svg"
WIDTH, LEFT, ROW, BAR, TOP = 1100, 330, 34, 18, 64
COLOURS: Final = ("#3b6fb6", "#2e8b57", "#b8741a", "#7a4fa3")
GAP_S: Final = 0.25
"""Of a pause in which nothing was under way, this much is drawn, so that the spans can be seen."""


def draw(spans: list[Span]) -> str:
    """Write the picture: a bar for each span, coloured by process, indented below its parent."""
    at = squeeze(spans)
    end = max(at[span.span_id][1] for span in spans)
    scale = (WIDTH - LEFT - 40) / end
    processes = list(dict.fromkeys(process_of(span) for span in spans))
    depths = depths_of(spans)
    height = TOP + ROW * len(spans) + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15">{escape(title_of(spans))}</text>',
    ]
    x = 16
    for process, colour in zip(processes, COLOURS, strict=False):
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="47">{escape(process)}</text>')
        x += 40 + 8 * len(process)
    for row, span in enumerate(spans):
        begun, ended = at[span.span_id]
        y = TOP + ROW * row
        colour = COLOURS[processes.index(process_of(span)) % len(COLOURS)]
        left = LEFT + begun * scale
        width = max(3.0, (ended - begun) * scale)
        edge = ' stroke="#c0262d" stroke-width="2"' if span.is_error else ""
        label = f"{span.name} (attempt {span.attributes['attempt']})" if span.attributes.get("attempt") else span.name
        took = f"{(span.ended_at - span.begun_at) * 1000:.1f} ms" + (f", {span.attributes['error.type']}" if span.is_error else "")
        side = f'x="{left + width + 6:.1f}"' if left + width < WIDTH - 150 else f'x="{left - 6:.1f}" text-anchor="end"'
        parts.append(f'<line x1="16" x2="{WIDTH - 16}" y1="{y + ROW - 6}" y2="{y + ROW - 6}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{16 + 18 * depths[span.span_id]}" y="{y + 14}">{escape(label)}</text>')
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"{edge}/>')
        parts.append(f'<text {side} y="{y + 14}" fill="#444444">{escape(took)}</text>')
    note = "Pauses in which nothing was under way are shortened. A red edge: the attempt failed."
    parts.append(f'<text x="16" y="{height - 14}" fill="#666666">{note}</text></svg>')
    return "\n".join(parts) + "\n"


def title_of(spans: list[Span]) -> str:
    """Say what is drawn."""
    first = spans[0]
    return f"One job of type {first.attributes['job_type']}, trace {first.trace_id}, as a collector received it"


def process_of(span: Span) -> str:
    """Name the process a span came from."""
    worker = span.attributes.get("worker_id")
    return span.service if worker is None else f"{span.service} {worker.rpartition('-')[0].rpartition('-')[2]}"


def depths_of(spans: list[Span]) -> dict[str, int]:
    """Count the ancestors of each span among those drawn."""
    depths: dict[str, int] = {}
    for span in spans:  # a parent begins before its children
        depths[span.span_id] = depths.get(span.parent_id, -1) + 1
    return depths


def squeeze(spans: list[Span]) -> dict[str, tuple[float, float]]:
    """Place the spans on a time of their own, in seconds from the first, without the long pauses."""
    moments = sorted({moment for span in spans for moment in (span.begun_at, span.ended_at)})
    placed = {moments[0]: 0.0}
    for before, after in pairwise(moments):
        is_busy = any(span.begun_at <= before and after <= span.ended_at for span in spans)
        placed[after] = placed[before] + (after - before if is_busy else min(after - before, GAP_S))
    return {span.span_id: (placed[span.begun_at], placed[span.ended_at]) for span in spans}


async def record(target: Path) -> None:
    """Run the job and write the picture."""
    async with running_server() as server:
        databases = Databases(server.dsn())
        await databases.ensure_template(migrate)
        with tempfile.TemporaryDirectory() as directory, Collector() as collector:
            roles = Roles(databases.dsn(await databases.copy()), Path(directory))
            try:
                _, spans = await run_traced_job(roles, collector)
            finally:
                roles.stop()
    target.write_text(draw(spans), "utf-8")


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET))
