"""`jobqueue bench`: load of a chosen shape against a running service. bench_load.py makes it, bench_report.py tells what came of it."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Final

import typer

from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.cli import filters
from jobqueue.cli.bench_load import Load, Run, Shape
from jobqueue.cli.connection import URL_DEFAULT, ApiKey, Url, open_async, plain_words
from jobqueue.cli.looks import screen, show
from jobqueue.cli.output import say_json

REQUEST_S_MAX: Final = 30.0
STDOUT: Final = "-"
QUEUE: Final = "bench"


def bench(
    jobs: Annotated[int, typer.Option(min=1, max=10_000_000, metavar="N", help="How many jobs.")] = 1_000,
    shape: Annotated[Shape, typer.Option(help="How they come; all but burst at --rate on average.")] = Shape.BURST,
    rate: Annotated[float, typer.Option(min=0.1, max=1_000_000, metavar="N", help="Jobs a second.")] = 50.0,
    clients: Annotated[int, typer.Option(min=1, max=1_000, metavar="N", help="Requests under way at once.")] = 16,
    batch: Annotated[int, typer.Option(min=1, max=1_000, metavar="N", help="Jobs a request: more than 1 uses the batch call.")] = 1,
    job_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="What to run.")] = "echo",
    data_bytes: Annotated[int, typer.Option(min=0, max=200_000, metavar="N", help="Size of each job's data.")] = 64,
    queue: Annotated[str, typer.Option(metavar="NAME", help="Which queue; best one that nobody else uses.")] = QUEUE,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only submit; do not wait until all have ended.")] = False,
    give_up: Annotated[str, typer.Option("--give-up", metavar="TIME", help="End after so long, whatever is left.")] = "10m",
    json_file: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the figures there; - is stdout.")] = None,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Put load on a running service and measure: how fast it takes jobs in, how long they wait, when all have ended.

    burst: as fast as --clients allow. steady: evenly. ramp: from nothing to twice the rate. spikes: ten bursts, evenly apart.
    """
    load = Load(
        jobs=jobs, shape=shape, rate=rate, clients=clients, batch=batch, job_type=job_type, data_bytes=data_bytes, queue=queue,
        is_waiting=not no_wait, seconds_max=filters.seconds("--give-up", give_up) or 0.0,
    )  # fmt: skip
    _check_writable(json_file)
    run = Run(load)
    with plain_words(url):
        asyncio.run(_measure(run, url, api_key))
    figures = run.figures()
    if json_file == STDOUT:
        say_json(figures)
    else:
        from jobqueue.cli.bench_report import summary

        show(summary(run))
        if json_file is not None:
            Path(json_file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if run.why_incomplete:
        raise RoleFailed(run.why_incomplete)


async def _measure(run: Run, url: str, api_key: str | None) -> None:
    from jobqueue.cli.bench_report import showing

    async with open_async(url, api_key, timeout_s=REQUEST_S_MAX, retry_for_s=0) as client:
        await client.me()  # a wrong address or key is told before anything begins
        with showing(run, screen(is_error=True)) as refresh:
            await run.go(client, refresh=refresh)


def _check_writable(file: str | None) -> None:
    """Say now that a file cannot be written, not after minutes of load. Raises StartRefused."""
    if file is None or file == STDOUT:
        return
    try:
        Path(file).open("a", encoding="utf-8").close()
    except OSError as error:
        raise StartRefused(f"--json: cannot write {file!r}: {error.strerror}") from None
