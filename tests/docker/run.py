"""The stack on a real Docker engine: built, started, looked at, scaled, killed, judged, taken down. Needs a Docker engine and Python only.

    python -m tests.docker.run                # some minutes
    python -m tests.docker.run --keep         # leaves the stack running

Every line is one thing that was found to be so, with its figure. The end is 0 when all were, 1 at the first that was not.
"""

import argparse
import socket
import sys
import time
from functools import partial

from tests.docker import boxes, kills
from tests.docker.caller import Caller
from tests.docker.engine import Stack, Wrong, docker, inspect, ran, wait_for

PROJECT = "jobqueue-test"
PORT = 8000
HEALTHY_S_MAX = 60.0
WORKERS = 5
LOG_LINE_MAX = 300


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keep", action="store_true", help="leave the stack running at the end")
    is_kept = arguments.parse_args().keep
    stack = Stack(PROJECT, free_port())
    start = time.monotonic()
    try:
        docker("info")  # an engine answers
        stack.down()
        run(stack)
    except Wrong as wrong:
        say("WRONG", str(wrong))
        say("", stack.compose("ps", "--all", check=False))
        say("", "\n".join(line[:LOG_LINE_MAX] for line in stack.compose("logs", "--tail", "5", check=False).splitlines()))
        return 1
    finally:
        if not is_kept:
            stack.down()
    say("all of it", f"in {time.monotonic() - start:.0f} s; {'left running' if is_kept else 'taken down'}")
    return 0


def run(stack: Stack) -> None:
    """Do everything in order. Raises Wrong at the first thing that is not as it must be."""
    for step in (build, start_up, look_inside, run_one_job, scale, kill_things, stop_and_start_again, be_process_1, refuse_a_short_key):
        step(stack)


def say(what: str, found: str) -> None:
    sys.stdout.write(f"{what:<46} {found}\n")
    sys.stdout.flush()


def free_port() -> int:
    """The port a user gets, where it is free here; else any."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Wrong("no free port")


def build(stack: Stack) -> None:
    """Build the images and look at what is in them."""
    for role in boxes.ROLES:
        start = time.monotonic()
        docker("build", "--tag", f"jobqueue-{role}", "--file", f"Dockerfile.{role}", ".")
        say(f"jobqueue-{role} built", f"in {time.monotonic() - start:.0f} s, {boxes.sizes(role)}")
    for finding in boxes.check_images():
        say(*finding)


def start_up(stack: Stack) -> None:
    """Start with nothing set, as a user does."""
    start = time.monotonic()
    stack.compose("up", "--detach")
    wait_for("every container healthy", stack.is_up, seconds=HEALTHY_S_MAX - (time.monotonic() - start))
    say("healthy after `docker compose up -d`", f"in {time.monotonic() - start:.0f} s (<= {HEALTHY_S_MAX:.0f} s)")


def look_inside(stack: Stack) -> None:
    """See what the containers may do."""
    for finding in boxes.check_containers(stack):
        say(*finding)


def caller_of(stack: Stack, tenant: str) -> Caller:
    """Make a tenant and a key with the commands of docs/docker.md."""
    stack.run_in("api", "jobqueue", "tenants", "create", tenant, "--plan", "enterprise")
    key = stack.run_in("api", "jobqueue", "keys", "create", "--tenant", tenant)
    return Caller(f"http://127.0.0.1:{stack.port}", key)


def run_one_job(stack: Stack) -> None:
    """Submit over the published port and wait for the end; see it in the view without naming a schema."""
    caller = caller_of(stack, "one")
    body = {"payload": {"job_type": "echo", "data": {"message": "Hello"}}}
    job = caller.ask("POST", "/v1/jobs", body, Idempotency_Key="hello-1", Prefer="wait=20")
    if job["status"] != "succeeded":
        raise Wrong(f"the job is {job['status']}")
    say(f"a job over 127.0.0.1:{stack.port}", f"{job['status']}, {job['finished_at']}")
    counted = stack.run_in(
        "postgres", "psql", "--username=jobqueue", "--no-align", "--tuples-only", "-c", "SELECT status, count(*) FROM jobs GROUP BY status"
    )
    if counted != "succeeded|1":
        raise Wrong(f"psql counts {counted!r}")
    say("psql: SELECT status, count(*) FROM jobs", counted)


def scale(stack: Stack) -> None:
    """Five workers, each healthy."""
    start = time.monotonic()
    stack.compose("up", "--detach", "--scale", f"worker={WORKERS}")
    wait_for("five workers healthy", lambda: stack.is_up(WORKERS), seconds=HEALTHY_S_MAX)
    say(f"--scale worker={WORKERS}", f"all healthy in {time.monotonic() - start:.0f} s")


def kill_things(stack: Stack) -> None:
    """500 jobs, with a worker and the database killed among them."""
    for finding in kills.kill_among_jobs(stack, caller_of(stack, "many")):
        say(*finding)


def stop_and_start_again(stack: Stack) -> None:
    """SIGTERM reaches each role: it drains and ends with 0. What was stored and the signing key are there at the next start."""
    caller = caller_of(stack, "again")
    token = caller.ask("POST", "/auth/token", {"api_key": stack.run_in("api", "jobqueue", "keys", "create", "--tenant", "again")})
    start = time.monotonic()
    stack.compose("stop")
    took_s = time.monotonic() - start
    wrong = {name: state for name, state in stack.states().items() if state != "exited 0" and name not in kills.KILLED}
    if wrong:
        raise Wrong(f"not ended with 0: {wrong}")
    say("docker compose stop", f"every role ended with 0, in {took_s:.0f} s")
    stack.compose("up", "--detach", "--scale", f"worker={WORKERS}")
    wait_for("healthy again", lambda: stack.is_up(WORKERS), seconds=HEALTHY_S_MAX)
    who = Caller(f"http://127.0.0.1:{stack.port}", token["access_token"]).ask("GET", "/auth/me")
    say("up again", f"a token from before is still {who['tenant_id']}'s")


def be_process_1(stack: Stack) -> None:
    """Run each role as a cluster does, without an init: SIGTERM reaches it, and it ends with 0."""
    for role in boxes.ROLES:
        name = f"{PROJECT}-{role}-alone"
        boxes.run_alone(stack, role, name)
        try:
            wait_for(f"{role} as process 1 healthy", partial(kills.is_healthy, name), seconds=HEALTHY_S_MAX)
            start = time.monotonic()
            docker("stop", "--time", "40", name)
            code = inspect(name)["State"]["ExitCode"]
            if code != 0:
                raise Wrong(f"{role} as process 1 ended with {code} on SIGTERM: {docker('logs', '--tail', '3', name)}")
            say(f"{role} as process 1, SIGTERM", f"ended with 0, in {time.monotonic() - start:.1f} s")
        finally:
            docker("rm", "--force", "--volumes", name, check=False)


def refuse_a_short_key(_: Stack) -> None:
    """A signing key of less than 32 bytes stops the start."""
    given = ("JOBQUEUE_API_SECRET_KEY=short", "JOBQUEUE_DATABASE_URL=postgresql://nobody@nowhere/none")
    code, said = ran("run", "--rm", "--network", "none", *(word for value in given for word in ("--env", value)), "jobqueue-api")
    if code != 2 or "JOBQUEUE_API_SECRET_KEY: each key must have at least 32 bytes" not in said:
        raise Wrong(f"with a short key the API ended with {code}: {said}")
    say("a signing key of 5 bytes", f"refused with {code}: {said}")


if __name__ == "__main__":
    sys.exit(main())
