"""`jobqueue tenants`: operator commands on the database."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from jobqueue.cli.output import say, say_json, say_table
from jobqueue.cli.start import load_settings, server_packages

COLUMNS: Final = ("name", "plan", "weight", "max_concurrent", "max_queued", "rate_per_minute", "running", "queued", "created_at")

commands = typer.Typer(help="Make and list tenants, on the database.", rich_markup_mode=None)


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="1-63 of a-z, 0-9 and -.")],
    plan: Annotated[str, typer.Option(help="free, pro, business or enterprise.")] = "free",
) -> None:
    """Make a tenant."""
    with server_packages():
        from jobqueue.apps import operator
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    run(operator.create_tenant(settings, name, plan=plan))
    say(f"created tenant {name} on plan {plan}")


@commands.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False) -> None:
    """List all tenants with their limits, their own or their plan's; one that is not set is the settings'."""
    with server_packages():
        from jobqueue.apps import operator
        from jobqueue.apps.process import run
    settings = load_settings("database_url")
    rows = [{column: asdict(tenant)[column] for column in COLUMNS} for tenant in run(operator.list_tenants(settings))]
    if as_json:
        say_json(rows)
    else:
        say_table(rows, COLUMNS)
