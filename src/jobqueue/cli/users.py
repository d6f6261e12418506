"""`jobqueue users`: operator commands on the database."""

from typing import Annotated

import typer

from jobqueue.cli.output import say
from jobqueue.cli.start import load_settings, server_packages

commands = typer.Typer(help="Disable people who registered, on the database.", rich_markup_mode=None)
Email = Annotated[str, typer.Argument(help="The address the user logs in with.")]


@commands.command()
def disable(email: Email) -> None:
    """Let a user in no more; their tokens stop within 5 s, the API keys of their tenant go on."""
    _set(email, is_disabled=True)
    say(f"disabled {email}")


@commands.command()
def enable(email: Email) -> None:
    """Let a disabled user in again."""
    _set(email, is_disabled=False)
    say(f"enabled {email}")


def _set(email: str, *, is_disabled: bool) -> None:
    with server_packages():
        from jobqueue.apps import operator
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    run(operator.set_user_disabled(settings, email, is_disabled=is_disabled))
