"""The commands that run a part of the service: dev, api, worker, reaper, migrate."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from jobqueue.cli.output import say
from jobqueue.cli.start import load_settings, server_packages

PORT_MAX: Final = 65_535
PROCESSES_MAX: Final = 256
CONCURRENCY_MAX: Final = 10_000

Child = Annotated[bool, typer.Option("--child", hidden=True, help="End when stdin ends: for processes started by jobqueue itself.")]
Port = Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Port of the HTTP API.")]


def dev(
    port: Port = 8000,
    data_dir: Annotated[Path, typer.Option(help="Where data, demo key and signing key are kept.")] = Path(".jobqueue"),
    workers: Annotated[int, typer.Option(min=1, max=PROCESSES_MAX, help="Worker processes.")] = 1,
    concurrency: Annotated[int | None, typer.Option(min=1, max=CONCURRENCY_MAX, help="Jobs a worker runs at once.")] = None,
) -> None:
    """Run everything in this terminal: embedded Postgres (or DATABASE_URL's), migrations, API, worker, reaper."""
    with server_packages():
        from jobqueue.apps import dev as app
        from jobqueue.apps.process import run_role
    settings = load_settings()
    options = app.DevOptions(port=port, data_dir=data_dir, workers=workers, concurrency=concurrency)
    run_role(settings, lambda stops: app.serve(settings, options, stops, announce=say), log_format="console")


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    child: Child = False,
) -> None:
    """Run the HTTP API."""
    with server_packages():
        from jobqueue.apps import api as app
        from jobqueue.apps.process import run_role
    settings = load_settings("database_url", "api_secret_keys")
    run_role(settings, lambda stops: app.serve(settings, host=host, port=port, stop=stops.stop), is_child=child, is_cut_off=True)


def worker(
    processes: Annotated[int, typer.Option(min=1, max=PROCESSES_MAX, help="Run so many, and start again those that die.")] = 1,
    child: Child = False,
) -> None:
    """Run jobs: the built-in handlers and those of JOBQUEUE_HANDLERS.

    On the database; or over HTTP, where JOBQUEUE_URL and JOBQUEUE_API_KEY are set and no database is.
    """
    if processes == 1 and (service := service_of_worker()) is not None:
        from jobqueue.apps import service_worker

        service_worker.serve(load_settings(), *service, is_child=child)
        return
    with server_packages():
        from jobqueue.apps import worker as app
        from jobqueue.apps import workers
        from jobqueue.apps.process import run_role
    settings = load_settings("database_url")
    if processes > 1:
        run_role(settings, lambda stops: workers.serve(settings, stops, processes=processes), is_child=child)
    else:
        run_role(settings, lambda stops: app.serve(settings, stops), is_child=child)


def service_of_worker() -> tuple[str, str] | None:
    """The service a worker without a database works for: its address and the key."""
    url, api_key = os.environ.get("JOBQUEUE_URL"), os.environ.get("JOBQUEUE_API_KEY")
    has_database = any(os.environ.get(name + kind) for name in ("JOBQUEUE_DATABASE_URL", "DATABASE_URL") for kind in ("", "_FILE"))
    return (url, api_key) if url and api_key and not has_database else None


def reaper(child: Child = False) -> None:
    """Keep time: recover lost leases, start what is due, expire, clean up."""
    with server_packages():
        from jobqueue.apps import reaper as app
        from jobqueue.apps.process import run_role
    settings = load_settings("database_url")
    run_role(settings, lambda stops: app.serve(settings, stops), is_child=child, is_cut_off=True)


def migrate() -> None:
    """Bring the database's schema to this version's. Safe to run from several places at once."""
    with server_packages():
        from jobqueue.apps import migrate as app
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    assert settings.direct_url is not None
    say(f"schema is at {run(app.migrate(settings.direct_url))}")
