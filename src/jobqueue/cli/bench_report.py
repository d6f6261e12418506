"""What a bench shows: bars and a table while it runs, a table at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from jobqueue.cli.bench_load import Run, per_second, quantiles
from jobqueue.cli.looks import count, duration, rate, table

QUANTILES = ("p50", "p95", "p99", "max")


@contextmanager
def showing(run: Run, console: Console) -> Iterator[Callable[[], None]]:
    """Show a run while the block goes on, where there is a terminal; gives what draws it anew."""
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console)
    submitting = bars.add_task("submitted", total=run.load.jobs)
    ending = bars.add_task("ended", total=run.load.jobs) if run.load.is_waiting else None
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def refresh() -> None:
            bars.update(submitting, completed=run.submitted)
            if ending is not None:
                bars.update(ending, completed=run.ended)
            live.update(Group(bars, "", _speeds(run, run.seconds), _times(run)), refresh=True)

        yield refresh


def summary(run: Run) -> RenderableType:
    """Tell how it went."""
    load = run.load
    what = f"{count(load.jobs)} jobs of type {load.job_type}, {load.shape}" + ("" if load.shape == "burst" else f" at {rate(load.rate)}")
    how = f"{load.clients} clients, {load.batch} a request, {load.data_bytes} bytes of data, tag {run.tag}"
    parts: list[RenderableType] = [Text(what, "bold"), Text(how, "dim"), Text(), _speeds(run, run.total_seconds), Text(), _times(run)]
    if run.by_status:
        parts += [Text(), Text("became  " + "   ".join(f"{count(jobs)} {status}" for status, jobs in run.by_status.most_common()))]
    return Group(*parts)


def _speeds(run: Run, seconds: float) -> RenderableType:
    submit_s = run.submit_seconds or seconds
    rows = [["submitted", count(run.submitted), duration(submit_s), rate(per_second(run.submitted, submit_s))]]
    if run.load.is_waiting:
        rows.append(["ended", count(run.ended), duration(seconds), rate(per_second(run.ended, seconds))])
    for code, times in run.refused.most_common():
        rows.append([f"refused: {code}", count(times), "", ""])
    return table(("", "count", "in", "speed"), rows, right=("count", "in", "speed"))


def _times(run: Run) -> RenderableType:
    named = (
        ("a request takes", run.requests),
        ("it is sent late by", run.lateness),
        ("a job waits", run.waits),
        ("a job runs", run.runs),
        ("from submit to end", run.totals),
    )
    rows = [
        [name, *(duration(found[quantile]) for quantile in QUANTILES)] for name, values in named if (found := quantiles(values)) is not None
    ]
    return table(("", *QUANTILES), rows, right=QUANTILES)
