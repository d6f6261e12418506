"""The Docker engine, by its own command line: one project of compose, its containers, and what the engine says of them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
POLL_S = 0.5


class Wrong(Exception):
    """Something is not as it must be; the message says what."""


def docker(*arguments: str, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run docker in the project's directory; answers what it wrote. Raises Wrong with its last words."""
    code, said = ran(*arguments, env=env)
    if check and code:
        raise Wrong(f"docker {' '.join(arguments[:6])} ended with {code}: {last_lines(said)}")
    return said


def ran(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run docker in the project's directory; answers its exit code and what it wrote."""
    surroundings = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(
            ["docker", *arguments], cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError as error:
        raise Wrong("there is no `docker` on the path") from error
    return done.returncode, done.stdout.strip()


def last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-4:])


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of one container or image."""
    return json.loads(docker("inspect", name))[0]


def wait_for(what: str, is_so: Callable[[], bool], *, seconds: float) -> float:
    """Ask until it is so; answers how long that took. Raises Wrong."""
    start = time.monotonic()
    while not is_so():
        if time.monotonic() - start > seconds:
            raise Wrong(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - start


class Stack:
    """The project of docker-compose.yml under a name and a port of its own, so that a stack that runs already is not touched."""

    def __init__(self, project: str, port: int) -> None:
        self.project = project
        self.port = port

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker compose on this project, with nothing set but the port."""
        env = {"JOBQUEUE_PORT": str(self.port), "COMPOSE_PROJECT_NAME": self.project}
        return docker("compose", "--project-name", self.project, *arguments, env=env, check=check)

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in a service's first container; answers its stdout."""
        return self.compose("exec", "--no-TTY", service, *command)

    def containers(self, service: str | None = None) -> list[str]:
        """The containers' names, those that have ended too."""
        names = self.compose("ps", "--all", "--format", "{{.Name}}", *([service] if service else []))
        return sorted(names.split())

    def states(self) -> dict[str, str]:
        """What each container is: healthy, running, exited 0, ..."""
        return {name: state_of(inspect(name)) for name in self.containers()}

    def is_up(self, workers: int = 1) -> bool:
        """Whether every role and the database are healthy and the one-shots have ended well."""
        states = self.states()
        healthy = [name for name, state in states.items() if state == "healthy"]
        ended = [name for name, state in states.items() if state == "exited 0"]
        return len(healthy) == 3 + workers and len(healthy) + len(ended) == len(states)

    def down(self) -> None:
        """Take away the containers, the networks and the volumes."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20", check=False)


def state_of(container: Mapping[str, Any]) -> str:
    state = container["State"]
    if state["Status"] == "exited":
        return f"exited {state['ExitCode']}"
    return state.get("Health", {}).get("Status") or state["Status"]
