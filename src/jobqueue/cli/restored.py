"""`jobqueue restored`: what follows a restore from a backup, before any role starts."""

from typing import TYPE_CHECKING, Annotated

import typer

from jobqueue.cli.output import say
from jobqueue.cli.start import load_settings, server_packages

if TYPE_CHECKING:
    from jobqueue.operations.restored import Restored


def restored(
    hold: Annotated[bool, typer.Option("--hold", help="Pause every queue that has open jobs, to look before they run.")] = False,
) -> None:
    """Set a database right that was restored from a backup; run it before any role starts on it.

    Gives back all leases, and numbers events beyond those ever given out. Safe to run again. docs/operating.md says what a restore means.
    """
    with server_packages():
        from jobqueue.apps import operator
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    for line in _told(run(operator.set_restored_right(settings, is_held=hold))):
        say(line)


def _told(found: "Restored") -> list[str]:
    """Say what was done, what stands, and what is left to do by hand."""
    opens = f"{found.ready} ready, {found.scheduled} scheduled, {found.held_back} held back, {found.inbox} in the inbox"
    return [
        f"given back: {found.given_back} leases; {found.cancelled} more ended cancelled, as had been asked",
        f"open now: {opens}; those that ended after the moment restored run again",
        f"events go on at {found.events_from}; streams are told to start over",
        f"to check by hand: {found.api_keys} API keys and {found.users} users are as they were then; what was deleted since lives again",
        *(
            f"held: {held.tenant}/{held.queue}, {held.jobs} open jobs; let go with: jobqueue queues resume {held.queue}"
            for held in found.held
        ),
    ]
