"""The report of a load test: one page with plots, and the plots as a picture. Needs matplotlib."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.load.ledger import Ledger, Verdict

mpl.use("Agg")
UNDER_WAY = ("queued", "leased", "running", "failed", "scheduled")
COLUMNS = ("call", "requests", "failed", "a second", "p50 ms", "p95 ms", "p99 ms", "max ms")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left }
img { width: 100% } .good { color: #116329 } .bad { color: #a40e26 } pre { white-space: pre-wrap }
"""


@dataclass(frozen=True)
class Sample:
    """How things were at one moment; requests and failures are totals since the start."""

    at_s: float
    users: int
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    by_status: dict[str, int]


def write_report(directory: Path, ledger: Ledger, verdict: Verdict, samples: Sequence[Sample], stats: Any) -> Path:
    """Write report.html and report.png; answers the page."""
    directory.mkdir(parents=True, exist_ok=True)
    picture = draw(directory / "report.png", ledger.run, samples)
    page = directory / "report.html"
    page.write_text(page_of(ledger, verdict, samples, rows_of(stats), picture.read_bytes()))
    return page


def rows_of(stats: Any) -> list[tuple[str, ...]]:
    """One row a call, the sum last."""
    entries = [*sorted(stats.entries.values(), key=lambda entry: -entry.num_requests), stats.total]
    return [
        (
            entry.name,
            str(entry.num_requests),
            str(entry.num_failures),
            f"{entry.total_rps:.1f}",
            *(f"{entry.get_response_time_percentile(share):.0f}" for share in (0.5, 0.95, 0.99)),
            f"{entry.max_response_time:.0f}",
        )
        for entry in entries
    ]


def page_of(ledger: Ledger, verdict: Verdict, samples: Sequence[Sample], rows: Sequence[Sequence[str]], picture: bytes) -> str:
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    seconds, users = max(sample.at_s for sample in samples), max(sample.users for sample in samples)
    refused = ", ".join(f"{count} times {code}" for code, count in sorted(ledger.refused.items())) or "none"
    kind, heading = ("bad", "Wrong") if verdict.faults else ("good", "Nothing doubled, nothing vanished")
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Load test {ledger.run}</title><style>{STYLE}</style>
<h1>Load test {ledger.run}</h1>
<p>{seconds:.0f} s, at most {users} users; refused for rate or load and tried again: {refused}.</p>
<h2 class="{kind}">{heading}</h2>
<pre>{html.escape(verdict.tell())}</pre>
<img alt="requests a second, response times, jobs by status, users" src="data:image/png;base64,{base64.b64encode(picture).decode()}">
<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></html>
"""


def draw(file: Path, title: str, samples: Sequence[Sample]) -> Path:
    """Draw requests, response times, jobs and users over time."""
    figure, (rates, times, jobs, users) = plt.subplots(
        4, 1, figsize=(12, 12), sharex=True, height_ratios=[3, 3, 3, 1], layout="constrained"
    )
    at_s = [sample.at_s for sample in samples]
    draw_rates(rates, at_s, samples)
    times.plot(at_s, [sample.p95_ms for sample in samples], label="p95", color="tab:orange")
    times.plot(at_s, [sample.p50_ms for sample in samples], label="p50", color="tab:blue")
    times.set_ylabel("response time, ms")
    times.set_ylim(bottom=0)
    draw_jobs(jobs, at_s, samples)
    users.step(at_s, [sample.users for sample in samples], where="post", color="tab:gray")
    users.set_ylabel("users")
    users.set_xlabel("seconds since the start")
    for axes in (rates, times, jobs, users):
        axes.grid(alpha=0.3)
    for axes in (rates, times, jobs):
        axes.legend(loc="upper right")
    rates.set_title(title)
    figure.savefig(file, dpi=90)
    plt.close(figure)
    return file


def draw_rates(axes: Axes, at_s: Sequence[float], samples: Sequence[Sample]) -> None:
    for name, totals, color in (
        ("requests", [sample.requests for sample in samples], "tab:blue"),
        ("failures", [sample.failures for sample in samples], "tab:red"),
        ("jobs ended", [count_of(sample, "succeeded", "cancelled") for sample in samples], "tab:green"),
    ):
        axes.plot(at_s[1:], paces(at_s, totals), label=name, color=color, linewidth=1.2)
    axes.set_ylabel("a second")


def paces(at_s: Sequence[float], totals: Sequence[int]) -> list[float]:
    """What was added a second between each two samples."""
    added = (after - before for before, after in itertools.pairwise(totals))
    return [more / max(1e-3, end - start) for more, (start, end) in zip(added, itertools.pairwise(at_s), strict=True)]


def draw_jobs(axes: Axes, at_s: Sequence[float], samples: Sequence[Sample]) -> None:
    shown = [status for status in UNDER_WAY if any(count_of(sample, status) for sample in samples)]
    axes.stackplot(
        at_s, *[[count_of(sample, status) for sample in samples] for status in shown or UNDER_WAY[:1]], labels=shown or UNDER_WAY[:1]
    )
    axes.set_ylabel("jobs under way")


def count_of(sample: Sample, *statuses: str) -> int:
    return sum(sample.by_status.get(status, 0) for status in statuses)
