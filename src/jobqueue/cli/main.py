"""`jobqueue`: the commands, and what they end with.

Exit codes: 0 done, 1 the thing failed, 2 wrong usage or configuration. What was foreseen is one line on stderr, the rest a traceback.
Importing this needs the base install only; what a command needs is imported when it runs, so that `jobqueue --help` is quick.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import typer

from jobqueue.apps.refusals import ChildRefused, RoleFailed, StartRefused
from jobqueue.apps.version import own_version
from jobqueue.cli import bench, dlq, jobs, keys, queues, restored, roles, tenants, top, users
from jobqueue.cli.output import EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USAGE, complain, say

PROGRAM: Final = "jobqueue"

commands = typer.Typer(
    help="A durable job queue on PostgreSQL.", add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
for role in (roles.dev, roles.api, roles.worker, roles.reaper, roles.migrate):
    commands.command()(role)
commands.command()(restored.restored)
commands.command()(top.top)
commands.command()(bench.bench)
commands.add_typer(jobs.commands, name="jobs")
commands.add_typer(dlq.commands, name="dlq")
commands.add_typer(queues.commands, name="queues")
commands.add_typer(tenants.commands, name="tenants")
commands.add_typer(keys.commands, name="keys")
commands.add_typer(users.commands, name="users")


def _named(name: str) -> type[Exception]:
    """Find a class of errors that typer does not show under a name of its own."""
    waiting = [base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"]
    while waiting:
        found = waiting.pop()
        if found.__name__ == name:
            return found
        waiting += found.__subclasses__()
    raise ImportError(f"typer has no {name}")


WrongUsage: Final = cast(type[Any], _named("ClickException"))

NoArguments: Final = cast(type[Any], _named("NoArgsIsHelpError"))


def show_version(is_asked: bool) -> None:
    """Say the version and end."""
    if is_asked:
        say(f"{PROGRAM} {own_version()}")
        raise typer.Exit


@commands.callback()
def options(
    is_version_asked: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A durable job queue on PostgreSQL."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; answers its exit code."""
    try:
        return commands(arguments, prog_name=PROGRAM, standalone_mode=False) or EXIT_DONE
    except WrongUsage as error:
        if isinstance(error, NoArguments):
            say(error.ctx.get_help())
            return EXIT_WRONG_USAGE
        path = error.ctx.command_path if getattr(error, "ctx", None) else PROGRAM
        complain(f"{error.format_message().replace('Value error, ', '').rstrip('.')}; see `{path} --help`")
        return EXIT_WRONG_USAGE
    except StartRefused as error:
        complain(str(error))
        return EXIT_WRONG_USAGE
    except ChildRefused:
        return EXIT_WRONG_USAGE
    except RoleFailed as error:
        complain(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return EXIT_FAILED


def app() -> None:
    """Run the command of this process's arguments and end with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    app()
