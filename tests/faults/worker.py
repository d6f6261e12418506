"""The worker role as it is shipped, with a recorder between it and its database (tap.py): `python -m tests.faults.worker`."""

from __future__ import annotations

import os
from typing import Any

from jobqueue.apps import worker as app
from jobqueue.apps.process import run_role
from jobqueue.cli.start import load_settings
from tests.faults.cgroup import enter_group
from tests.faults.record import Recorder
from tests.faults.tap import WORKER, tapped

plain_factory = app.factory


def tapped_factory(*arguments: Any, **options: Any) -> tuple[Any, ...]:
    """Make the worker's two ways to the database, both recorded."""
    recorder = Recorder.of_this_process()
    openers = plain_factory(*arguments, **options)
    return openers if recorder is None else tuple(tapped(opener, recorder) for opener in openers)


def main() -> None:
    """Run the role until a signal ends it."""
    enter_group()
    os.environ[WORKER] = str(os.getpid())
    app.factory = tapped_factory  # type: ignore[assignment]
    settings = load_settings("database_url")
    run_role(settings, lambda stops: app.serve(settings, stops))


if __name__ == "__main__":
    main()
