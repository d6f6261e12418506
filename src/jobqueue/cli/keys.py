"""`jobqueue keys`: operator commands on the database."""

from typing import Annotated

import typer

from jobqueue.cli.output import say
from jobqueue.cli.start import load_settings, server_packages

commands = typer.Typer(help="Make API keys, on the database.", rich_markup_mode=None)


@commands.callback()
def keys() -> None:
    """Make API keys, on the database."""


@commands.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="May be given several times; without it the key has all of its tenant's scopes.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
) -> None:
    """Make a key and print it; it is not shown again."""
    with server_packages():
        from jobqueue.apps import operator
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    say(run(operator.create_key(settings, tenant=tenant, name=name, scopes=scope or None)))
