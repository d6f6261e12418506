"""`jobqueue dlq`: what was buried, and sending it back."""

from typing import Annotated

import typer

from jobqueue.apps.refusals import StartRefused
from jobqueue.cli import filters
from jobqueue.cli.connection import URL_DEFAULT, ApiKey, AsJson, Url, connected
from jobqueue.cli.filters import Queues, Since, Tags, Types, Until
from jobqueue.cli.job_views import as_json, show_jobs
from jobqueue.cli.looks import show
from jobqueue.cli.many import BULK_MAX, Limit, Yes, confirm, each
from jobqueue.cli.output import say_json

commands = typer.Typer(help="Look at the dead letter queue, and send jobs back.", rich_markup_mode=None, no_args_is_help=True)


@commands.command("list")
def list_(
    queue: Queues = None,
    job_type: Types = None,
    tag: Tags = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 20,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """List the jobs whose attempts are used up, newest first, with what went wrong."""
    chosen = filters.gather(queue=queue, job_type=job_type, tag=tag, since=since, until=until)
    found = []
    with connected(url, api_key) as client:
        for job in client.iterate(status="dlq", page_size=min(limit, 200), **chosen):
            found.append(job)
            if len(found) == limit:
                break
    if is_json:
        say_json([as_json(job) for job in found])
    elif found:
        show_jobs(found)
    else:
        show("the dead letter queue is empty" + (" for these filters" if chosen else ""))


@commands.command()
def replay(
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Jobs' ids; without one the filters say which.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    queue: Queues = None,
    job_type: Types = None,
    tag: Tags = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = BULK_MAX,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    is_sure: Yes = False,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Send jobs back to their queues, their attempts counted anew: by id, by filters, or --all."""
    chosen = filters.gather(queue=queue, job_type=job_type, tag=tag, since=since, until=until)
    if sum([bool(job_ids), bool(chosen), is_all]) != 1:
        raise StartRefused("say which: jobs by id, or filters such as --type, or --all")
    with connected(url, api_key) as client:
        if job_ids:
            each("replaying", job_ids, client.retry, is_json=is_json)
            return
        count = client.replay_dlq(limit=limit, dry_run=True, **chosen)
        if not is_dry_run:
            confirm(count, "replay", is_sure=is_sure)
            count = client.replay_dlq(limit=limit, **chosen) if count else 0
    if is_json:
        say_json({"count": count})
    else:
        show(f"{count:,} jobs would be replayed" if is_dry_run else f"{count:,} replayed")
