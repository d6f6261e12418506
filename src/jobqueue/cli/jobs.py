"""`jobqueue jobs`: submit, import, get, list, cancel, retry, watch."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from jobqueue.apps.refusals import RoleFailed, StartRefused
from jobqueue.cli import filters
from jobqueue.cli.connection import URL_DEFAULT, ApiKey, AsJson, Url, connected
from jobqueue.cli.data import read_data
from jobqueue.cli.feed import changes
from jobqueue.cli.filters import Correlation, Priorities, Priority, Queues, Since, Statuses, Tags, Types, Until
from jobqueue.cli.following import follow, wait_for_end
from jobqueue.cli.imports import Format, import_file
from jobqueue.cli.job_views import as_json, pretty, says, show_job, show_jobs
from jobqueue.cli.looks import plain, screen, show, status_text
from jobqueue.cli.many import Limit, Yes, confirm, each
from jobqueue.cli.output import say, say_json

FINAL: Final = frozenset({"succeeded", "cancelled", "expired", "dlq"})
LIST_DEFAULT: Final = 20

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Jobs' ids; without one the filters say which.")]

commands = typer.Typer(help="Submit jobs, look at them, cancel and retry them.", rich_markup_mode=None, no_args_is_help=True)


@commands.command()
def submit(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="What to run, such as echo.")],
    pairs: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="The job's data: width=64 name=ann.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="JSON", help="The job's data as a JSON object.")] = None,
    data_file: Annotated[str | None, typer.Option("--data-file", metavar="FILE", help="The same from a file; - is stdin.")] = None,
    queue: Annotated[str, typer.Option(metavar="NAME", help="Which queue.")] = "default",
    priority: Annotated[Priority, typer.Option(help="How urgent.")] = Priority.NORMAL,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Idempotency key: the same key again is the same job.")] = None,
    delay: Annotated[str | None, typer.Option(metavar="TIME", help="Run it so much later: 90s, 5m, 2h, 1d.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Run it then: 2026-11-25T08:00:00Z.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="How long a run may take: 90s, 5m.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="TIME", help="Give it up if it was not started by then: 1h.")] = None,
    max_attempts: Annotated[int | None, typer.Option(metavar="N", help="How often to try.")] = None,
    concurrency_key: Annotated[str | None, typer.Option(metavar="KEY", help="Jobs with the same one run one at a time.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag; may be given several times.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result; exit code 1 unless it succeeded.")] = False,
    wait_timeout: Annotated[str | None, typer.Option(metavar="TIME", help="With --wait: give up after so long; the job goes on.")] = None,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Submit a job: jobqueue jobs submit echo message=Hello --wait."""
    fields: dict[str, Any] = {
        "queue": queue,
        "priority": priority.value,
        "idempotency_key": key,
        "delay": filters.seconds("--delay", delay),
        "scheduled_at": None if at is None else filters.moment("--at", at, is_future=True),
        "timeout": filters.seconds("--timeout", timeout),
        "expires_in": filters.seconds("--expires-in", expires_in),
        "max_attempts": max_attempts,
        "concurrency_key": concurrency_key,
        "tags": tag or [],
    }
    if delay is not None and at is not None:
        raise StartRefused("--delay and --at exclude each other")
    arguments = read_data(data, data_file, pairs or [])
    with connected(url, api_key) as client:
        handle = client.submit(job_type, arguments, **fields)
        if wait:
            wait_for_end(client, handle.job, timeout_s=filters.seconds("--wait-timeout", wait_timeout), is_json=is_json)
        elif is_json:
            say_json(as_json(handle.job))
        else:
            again = " (submitted before under this key)" if handle.is_replayed else ""
            show(f"{handle.job.id}  {handle.job.status}{again}")


@commands.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A CSV file, whose first line names the fields, or NDJSON; of any size.")],
    job_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="What to run for each row, such as echo.")],
    queue: Annotated[str, typer.Option(metavar="NAME", help="Which queue.")] = "default",
    priority: Annotated[Priority, typer.Option(help="How urgent.")] = Priority.NORMAL,
    key_column: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Whose values are the idempotency keys; without it a row's content is its key.")
    ] = None,
    file_format: Annotated[Format | None, typer.Option("--format", help="What the file is, where its name does not say.")] = None,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Make a job of each row of a file. Run it again where it broke off: nothing is added twice. Exit code 1 when rows were left out."""
    fields = {"job_type": job_type, "queue": queue, "priority": priority.value, "key_column": key_column}
    with connected(url, api_key) as client:
        import_file(client, file, file_format=file_format, is_json=is_json, **fields)


@commands.command()
def get(
    job_id: JobId,
    events: Annotated[bool, typer.Option("--events", help="Show its whole history, too.")] = False,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Show a job, with its result once it has one."""
    with connected(url, api_key) as client:
        job = client.get(job_id)
        has_result = job.status == "succeeded"
        result = client.ended(job_id).result if has_result else None
        history = list(client.events(job_id)) if events else []
    if is_json:
        more: dict[str, Any] = {"result": result} if has_result else {}
        if events:
            more["events"] = [as_json(event) for event in history]
        say_json({**as_json(job), **more})
    else:
        show_job(job, result=result, has_result=has_result, events=history)


@commands.command("list")
def list_(
    status: Statuses = None,
    queue: Queues = None,
    job_type: Types = None,
    priority: Priorities = None,
    tag: Tags = None,
    correlation_id: Correlation = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = LIST_DEFAULT,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """List jobs, newest first."""
    chosen = filters.gather(
        status=status, queue=queue, job_type=job_type, priority=priority, tag=tag, correlation_id=correlation_id, since=since, until=until
    )
    with connected(url, api_key) as client:
        found, has_more = _take(client.iterate(page_size=min(limit + 1, 200), **chosen), limit)
    if is_json:
        say_json([as_json(job) for job in found])
        return
    show_jobs(found)
    if has_more:
        show(f"the newest {len(found)}; --limit shows more")


@commands.command()
def cancel(
    job_ids: JobIds = None,
    status: Statuses = None,
    queue: Queues = None,
    job_type: Types = None,
    tag: Tags = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 10_000,
    is_sure: Yes = False,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Cancel jobs by id, or all that wait or run and fit the filters. One that runs is told to stop."""
    chosen = filters.gather(status=status, queue=queue, job_type=job_type, tag=tag, since=since, until=until)
    if bool(job_ids) == bool(chosen):
        raise StartRefused("name jobs by id, or by filters such as --queue or --type, and not by both")
    with connected(url, api_key) as client:
        if job_ids:
            each("cancelling", job_ids, client.cancel, is_json=is_json)
            return
        confirm(client.cancel_many(limit=limit, dry_run=True, **chosen), "cancel", is_sure=is_sure)
        _tell_count(client.cancel_many(limit=limit, **chosen), "cancelled, or asked to stop", is_json=is_json)


@commands.command()
def retry(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID", help="Jobs' ids.")],
    keep_attempts: Annotated[bool, typer.Option("--keep-attempts", help="Do not start counting attempts anew.")] = False,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Send ended jobs back to their queues; `jobqueue dlq replay` does it for many."""
    with connected(url, api_key) as client:
        each("retrying", job_ids, lambda job_id: client.retry(job_id, reset_attempts=not keep_attempts), is_json=is_json)


@commands.command()
def watch(
    job_id: Annotated[str | None, typer.Argument(metavar="ID", help="One job, until its end; without it every change.")] = None,
    status: Statuses = None,
    queue: Queues = None,
    job_type: Types = None,
    is_json: AsJson = False,
    url: Url = URL_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Follow one job until it ends (exit code 1 unless it succeeded), or all changes until Ctrl-C. With --json one object a line."""
    chosen = filters.gather(status=status, queue=queue, job_type=job_type)
    if job_id is not None and chosen:
        raise StartRefused("give an id or filters, not both")
    with connected(url, api_key) as client:
        if job_id is not None:
            follow(client, _id(job_id), is_json=is_json)
            return
        for told in changes(client, chosen):
            if is_json:
                say(_compact(told))
            else:
                _show_change(getattr(told, "at", None) or datetime.now(UTC), told.job)


def _show_change(at: datetime, job: Any) -> None:
    from rich.text import Text

    line = Text(f"{at.astimezone(UTC):%H:%M:%S}  {job.id}  ")
    status = status_text(job.status)
    status.pad_right(10 - len(status.plain))
    line.append_text(status).append(f"  {job.job_type}  {job.queue}  ").append_text(plain(says(job) or f"attempt {job.attempt}"))
    screen().print(line, soft_wrap=True)


def _take(jobs: Iterable[Any], limit: int) -> tuple[list[Any], bool]:
    """Take the first so many, and say whether there are more."""
    found: list[Any] = []
    for job in jobs:
        if len(found) == limit:
            return found, True
        found.append(job)
    return found, False


def _tell_count(count: int, what: str, *, is_json: bool) -> None:
    if is_json:
        say_json({"count": count})
    else:
        show(f"{count:,} {what}")


def _id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise RoleFailed(f"there is no such job: {text!r} is no id") from None


def _compact(job: Any) -> str:
    return " ".join(pretty(as_json(job)).split())
