"""Run schemathesis against real processes: the API under uvicorn, a worker and a reaper on a database of their own.

    python -m tests.schema.run [--examples 200] [--stateful-s 300] [--skip-stateless] [--only /v1/jobs] [--seed N]

All checks but those tests/schema/schemathesis.toml switches off, with the reason; stateful links are on. Ends with 1 on any finding.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import postgres
from tests.whole.roles import Roles

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def run(arguments: argparse.Namespace) -> int:
    """Start everything, run the program, stop everything; answers its exit code."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-schema-") as directory:
        async with postgres.running_server() as server:
            await server.ensure_database("schema")
            await postgres.migrate(server.dsn("schema"))
            roles = Roles(server.dsn("schema"), Path(directory), {"JOBQUEUE_LOG_LEVEL": "warning"})
            try:
                await roles.start_api()
                roles.start("worker")
                roles.start("reaper")
                code = await asyncio.to_thread(check, roles, arguments)
            finally:
                roles.stop()
                show_logs(Path(directory))
    return code


def check(roles: Roles, arguments: argparse.Namespace) -> int:
    """Run schemathesis twice; answers the worse exit code.

    The links have a run of their own, by time: with a count of examples hypothesis ends that phase without a word, some dozen scenarios in,
    when answers that differ from call to call (new ids) make a replay draw differently; a run by time starts it again each time.
    """
    stateless = 0 if arguments.skip_stateless else once(roles, arguments, phases="examples,coverage,fuzzing")
    return max(stateless, once(roles, arguments, phases="stateful", max_time_s=arguments.stateful_s))


def once(roles: Roles, arguments: argparse.Namespace, *, phases: str, max_time_s: int | None = None) -> int:
    """Run schemathesis to its end."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(CONFIG), "run", f"{roles.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {roles.api_key}", "--max-examples", str(arguments.examples), "--continue-on-failure"]
    command += ["--request-timeout", "40"]
    command += ["--phases", phases]
    command += ["--max-time", str(max_time_s)] if max_time_s else []
    command += [] if arguments.seed is None else ["--seed", str(arguments.seed)]
    command += [word for path in arguments.only for word in ("--include-path", path)]
    return subprocess.run(command, env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schema.hooks"}, check=False).returncode


def show_logs(directory: Path) -> None:
    """Show what the processes complained about."""
    for log in sorted(directory.glob("*.log")):
        text = log.read_text(errors="replace")
        sys.stdout.write(f"== {log.name}: {text.count(chr(10))} lines at warning or above\n{text[-3_000:]}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--stateful-s", type=int, default=300, help="how long to walk the links")
    parser.add_argument("--skip-stateless", action="store_true")
    parser.add_argument("--seed", type=int)
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
