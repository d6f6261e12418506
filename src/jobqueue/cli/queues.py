"""`jobqueue queues`: list, pause, resume."""

from typing import Annotated

import typer

from jobqueue.cli.connection import URL_DEFAULT, ApiKey, AsJson, Url, connected
from jobqueue.cli.job_views import as_json
from jobqueue.cli.looks import count, duration, rate, show, table
from jobqueue.cli.output import say_json

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]

commands = typer.Typer(help="List queues with their figures, pause and resume them.", rich_markup_mode=None, no_args_is_help=True)


@commands.command("list")
def list_(is_json: AsJson = False, url: Url = URL_DEFAULT, api_key: ApiKey = None) -> None:
    """List the tenant's queues: what waits and runs, how fast, and their settings."""
    with connected(url, api_key) as client:
        queues = list(client.queues())
        figures = client.queue_stats().queues
    if is_json:
        say_json([{**as_json(queue), **(as_json(figures[queue.name]) if queue.name in figures else {})} for queue in queues])
        return
    if not queues:
        show("no queues yet: a queue exists once a job was submitted to it")
        return
    columns = ["queue", "ready", "running", "scheduled", "failed", "dlq", "oldest", "in", "out", "limit", "paused"]
    rows = []
    for queue in queues:
        its = figures.get(queue.name)
        numbers = [None] * 8 if its is None else [
            count(its.ready), count(its.running), count(its.scheduled), count(its.failed), count(its.dlq),
            duration(its.oldest_ready_age_seconds) if its.ready else None, rate(its.arrival_rate), rate(its.completion_rate),
        ]  # fmt: skip
        rows.append([queue.name, *numbers, queue.max_concurrent, "paused" if queue.paused else ""])
    show(table(columns, rows, right=columns[1:-1]))


@commands.command()
def pause(name: Name, is_json: AsJson = False, url: Url = URL_DEFAULT, api_key: ApiKey = None) -> None:
    """Have no more jobs of a queue started; those that run go on."""
    with connected(url, api_key) as client:
        queue = client.pause_queue(name)
    say_json(as_json(queue)) if is_json else show(f"{queue.name} is paused")


@commands.command()
def resume(name: Name, is_json: AsJson = False, url: Url = URL_DEFAULT, api_key: ApiKey = None) -> None:
    """Have jobs of a queue started again."""
    with connected(url, api_key) as client:
        queue = client.resume_queue(name)
    say_json(as_json(queue)) if is_json else show(f"{queue.name} goes on")
