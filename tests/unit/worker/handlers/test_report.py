"""What a report counts, and that its page and chart say it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from jobqueue.worker.handlers import report_chart, report_page
from jobqueue.worker.handlers.report_figures import BARS_MAX, OTHER, TYPES_SHOWN_MAX, Figures, Times, bar_width_s
from jobqueue.worker.surroundings import JobRow
from tests.unit.worker.handlers.running import failure, run

BEFORE = datetime(2026, 11, 25, 12, tzinfo=UTC)
AFTER = BEFORE - timedelta(days=1)


def row(
    status: str = "succeeded", *, ago_s: float = 3600, job_type: str = "t", waited_s: float | None = 2, ran_s: float | None = 3
) -> JobRow:
    created_at = BEFORE - timedelta(seconds=ago_s)
    started_at = None if waited_s is None else created_at + timedelta(seconds=waited_s)
    finished_at = None if started_at is None or ran_s is None else started_at + timedelta(seconds=ran_s)
    return JobRow(uuid4(), "default", job_type, status, "normal", 1, created_at, started_at, finished_at)


def figures(*rows: JobRow) -> Figures:
    found = Figures(AFTER, BEFORE)
    for each in rows:
        found.add(each)
    return found


def test_each_status_is_counted_in_its_group_and_time() -> None:
    found = figures(
        row(), row("dlq"), row("cancelled", ago_s=86_400), row("expired", waited_s=None), row("running", ran_s=None), row("failed")
    )
    assert found.total == 6
    assert sum((bar for bar in found.bars), start=type(found.bars[0])()) == {"succeeded": 1, "lost": 1, "stopped": 2, "open": 2}
    assert found.bars[0] == {"stopped": 1}
    assert found.by_status["cancelled"] == 1


@pytest.mark.parametrize("seconds", [1, 3600, 86_400, 7 * 86_400, 365 * 86_400, 3_660 * 86_400])
def test_period_of_any_length_has_some_bars_and_not_too_many(seconds: int) -> None:
    found = Figures(BEFORE - timedelta(seconds=seconds), BEFORE)
    assert 1 <= len(found.bars) <= BARS_MAX + 1
    assert found.bar_start(0) <= found.after
    assert found.bar_start(len(found.bars) - 1) < found.before
    assert found.width_s == bar_width_s(found.after, found.before)


def test_quantile_is_one_of_the_values() -> None:
    times = Times()
    assert times.quantile(0.5) is None
    for seconds in (5, 1, 2, 4, 3):
        times.add(seconds)
    assert (times.quantile(0.0), times.quantile(0.5), times.quantile(0.95), times.quantile(1.0)) == (1, 3, 5, 5)


def test_types_beyond_the_bound_are_one_row() -> None:
    found = figures(*(row(job_type=f"t{number:03}") for number in range(TYPES_SHOWN_MAX + 7)), row(job_type="most"), row(job_type="most"))
    listed = found.by_type()
    assert (listed[0][0], listed[-1][0]) == ("most", OTHER)
    assert (len(listed), listed[-1][1].total) == (TYPES_SHOWN_MAX + 1, 8)


def test_page_is_whole_escapes_what_it_shows_and_needs_nothing_beside_it() -> None:
    found = figures(row(), row("dlq", job_type="a"))
    page = report_page.write(found, tenant="<acme>", chart=b"png", made_at=BEFORE)
    assert "&lt;acme&gt;" in page
    assert "<acme>" not in page
    assert '<td class="bad">1</td>' in page
    assert "2.0 s" in page
    assert "3.0 s" in page
    assert "<script" not in page
    assert "http" not in page
    assert report_page.write(figures(), tenant="acme", chart=b"", made_at=BEFORE).count("No jobs were submitted") == 1


def test_chart_shows_each_group_in_its_colour() -> None:
    chart = report_chart.draw(figures(*(row() for _ in range(5)), row("dlq"), row("cancelled"), row("queued")), "Jobs")
    with Image.open(io.BytesIO(chart)) as picture:
        assert picture.size == (report_chart.WIDTH, report_chart.HEIGHT)
        colours = {colour for _, colour in picture.convert("RGB").crop((0, 60, 1000, 320)).getcolors(1_000_000) or []}
    for colour in report_chart.COLOURS.values():
        assert tuple(bytes.fromhex(colour[1:])) in colours


@pytest.mark.parametrize("count", [0, 1, 3, 999, 10**6])
def test_chart_of_any_height_is_drawn(count: int) -> None:
    found = figures()
    found.bars[0]["succeeded"] = count
    assert report_chart.draw(found, "Jobs").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "data",
    [{"after": "2026-01-02T00:00:00Z", "before": "2026-01-01T00:00:00Z"}, {"after": "1990-01-01T00:00:00Z"},
     {"after": "2026-01-01T00:00:00"},
     {"formats": []}, {"formats": ["pdf"]}, {"output": ""}],
)  # fmt: skip
async def test_arguments_that_cannot_be_are_refused(data: dict[str, Any]) -> None:
    assert failure(await run("report", data))[:2] == ("dlq", "ArgumentError")


async def test_worker_without_a_way_to_jobs_or_files_says_so(tmp_path: Any) -> None:
    assert failure(await run("report", {}))[1] == "FileRefused"
    status, kind, message = failure(await run("report", {}, files_dir=str(tmp_path)))
    assert (status, kind) == ("dlq", "Discard")
    assert "without a way to them" in message
    assert list((tmp_path / "demo").iterdir()) == []
