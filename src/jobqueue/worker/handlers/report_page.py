"""Write a report as one HTML file that needs nothing beside it: style and chart are in it, there is no script."""

from __future__ import annotations

import base64
from datetime import datetime
from html import escape
from typing import Final

from jobqueue.domain.lifecycle import Status
from jobqueue.worker.handlers.report_figures import Figures, TypeFigures

STYLE: Final = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:1000px;margin:32px auto;padding:0 16px;background:#fff}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:28px 0 8px}p{margin:4px 0 16px;color:#5b6775}
ul{display:flex;flex-wrap:wrap;gap:8px;list-style:none;padding:0;margin:0}
li{border:1px solid #e3e7ec;border-radius:8px;padding:8px 14px;min-width:84px}
li b{display:block;font-size:20px;font-variant-numeric:tabular-nums}li span{color:#5b6775;font-size:13px}
img{max-width:100%;height:auto;display:block}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid #e3e7ec;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:#5b6775;font-weight:600;font-size:13px;white-space:normal;vertical-align:bottom}
.bad{color:#b42323;font-weight:600}
"""
COLUMNS: Final = (
    "type", "jobs", "succeeded", "dead letter", "cancelled, expired", "not ended", "attempts a job", "wait p50", "wait p95", "run p50",
    "run p95",
)  # fmt: skip


def write(figures: Figures, *, tenant: str, chart: bytes, made_at: datetime) -> str:
    """Make the page."""
    period = f"{_time(figures.after)} to {_time(figures.before)}"
    rows = "".join(_row(name, of_type) for name, of_type in figures.by_type())
    tiles = "".join(
        f"<li><b>{count:,}</b><span>{escape(name)}</span></li>"
        for name, count in [("jobs", figures.total), *((status.value, figures.by_status[status.value]) for status in Status)]
        if name == "jobs" or count
    )
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    picture = base64.b64encode(chart).decode()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Jobs of {escape(tenant)}, {period}</title><style>{STYLE}</style>"
        f"<h1>Jobs of {escape(tenant)}</h1><p>Submitted {period} (UTC). Made {_time(made_at)}.</p>"
        f"<ul>{tiles}</ul>"
        f'<h2>Over time</h2><img alt="Jobs by time of submit" width="1000" height="360" src="data:image/png;base64,{picture}">'
        f"<h2>By type</h2>{table if rows else '<p>No jobs were submitted in this period.</p>'}</html>\n"
    )


def _row(name: str, figures: TypeFigures) -> str:
    lost = figures.by_group["lost"]
    cells = [
        f"<td>{escape(name)}</td>",
        f"<td>{figures.total:,}</td>",
        f"<td>{figures.by_group['succeeded']:,}</td>",
        f'<td class="bad">{lost:,}</td>' if lost else "<td>0</td>",
        f"<td>{figures.by_group['stopped']:,}</td>",
        f"<td>{figures.by_group['open']:,}</td>",
        f"<td>{figures.attempts / figures.total:.2f}</td>",
        *(f"<td>{_duration(times.quantile(share))}</td>" for times in (figures.waits, figures.runs) for share in (0.5, 0.95)),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def _duration(seconds: float | None) -> str:
    """Write a duration as people do."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
