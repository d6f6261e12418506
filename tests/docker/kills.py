"""500 jobs, a worker and the database killed while they run: every job ends, none is doubled, none is lost."""

import threading
import time
from collections.abc import Iterator

from tests.docker.boxes import Finding
from tests.docker.caller import Caller
from tests.docker.engine import Stack, Wrong, docker, inspect, wait_for

JOBS = 500
BATCH = 10
BATCH_PAUSE_S = 0.2
JOB_S = 0.5
FIRST_JOBS_S = 6.0
"""Of the first batch, so that the worker that is killed is in the middle of them."""
TAG = "kills"
DATABASE_AWAY_S = 3.0
ENDED_S_MAX = 180.0
FIRST_KEYS = {f"{TAG}-{number}" for number in range(BATCH)}
KILL_CHILDREN_OF_INIT = "import os; [os.kill(int(pid), 9) for pid in open('/proc/1/task/1/children').read().split()]"
KILLED: set[str] = set()
"""Containers ended by us, which are not expected to have ended well."""


def kill_among_jobs(stack: Stack, caller: Caller) -> Iterator[Finding]:
    """Submit 500 jobs over some ten seconds, and kill meanwhile. Raises Wrong."""
    start = time.monotonic()
    accepted: list[str] = []
    faults: list[Exception] = []
    submitting = threading.Thread(target=submit_all, args=(caller, accepted, faults))
    submitting.start()
    victim = kill_a_busy_worker(stack, caller)
    yield "docker kill of a worker", f"{victim}, while it ran jobs; {len(accepted)} of {JOBS} submitted"
    away_s = kill_database(stack)
    yield "docker kill of postgres", f"away for {away_s:.0f} s; {len(accepted)} of {JOBS} submitted"
    restarted = crash_a_worker(stack, but=victim)
    yield "a worker's process killed inside its container", f"{restarted} started again by its restart policy"
    submitting.join()
    if faults:
        raise Wrong(f"submitting: {faults[0]}")
    yield f"{JOBS} jobs submitted", f"{caller.refusals} refused meanwhile and tried again with the same keys"
    wait_for("every job ended", lambda: has_ended(caller), seconds=ENDED_S_MAX)
    yield "all ended", f"{judge(caller, accepted)}, {time.monotonic() - start:.0f} s after the first was submitted"


def submit_all(caller: Caller, accepted: list[str], faults: list[Exception]) -> None:
    try:
        for first in range(0, JOBS, BATCH):
            keys = [f"{TAG}-{number}" for number in range(first, first + BATCH)]
            seconds = FIRST_JOBS_S if first == 0 else JOB_S
            accepted += caller.submit(keys, job_type="sleep", data={"duration": seconds}, tag=TAG)
            time.sleep(BATCH_PAUSE_S)
    except Exception as error:
        faults.append(error)


def host_of(container: str) -> str:
    return inspect(container)["Config"]["Hostname"]


def kill_a_busy_worker(stack: Stack, caller: Caller) -> str:
    """Kill a worker's container that holds jobs; answers its name."""
    found: list[str] = []

    def is_found() -> bool:
        owners = {job["lease_owner"] for job in caller.jobs(TAG) if job["status"] == "running" and job["idempotency_key"] in FIRST_KEYS}
        found[:] = [name for name in stack.containers("worker") if any(host_of(name) in owner for owner in owners)]
        return bool(found)

    wait_for("a worker in the middle of the first jobs", is_found, seconds=30)
    docker("kill", found[0])
    KILLED.add(found[0])
    return found[0]


def kill_database(stack: Stack) -> float:
    """Kill the database's container, start it again a while later; answers for how long it was away."""
    name = stack.containers("postgres")[0]
    start = time.monotonic()
    docker("kill", name)
    time.sleep(DATABASE_AWAY_S)
    docker("start", name)
    wait_for("postgres healthy again", lambda: inspect(name)["State"]["Health"]["Status"] == "healthy", seconds=60)
    return time.monotonic() - start


def crash_a_worker(stack: Stack, *, but: str) -> str:
    """Kill the process inside a container, as a crash would end it; answers the container, started again by the engine."""
    name = next(name for name in stack.containers("worker") if name != but)
    before = inspect(name)["RestartCount"]
    docker("exec", name, "python", "-c", KILL_CHILDREN_OF_INIT, check=False)
    wait_for("the container started again", lambda: inspect(name)["RestartCount"] > before and is_healthy(name), seconds=60)
    return name


def is_healthy(name: str) -> bool:
    return inspect(name)["State"]["Health"]["Status"] == "healthy"


def has_ended(caller: Caller) -> bool:
    return all(job["finished_at"] for job in caller.jobs(TAG))


def judge(caller: Caller, accepted: list[str]) -> str:
    """Compare what was accepted with what there is. Raises Wrong."""
    jobs = caller.jobs(TAG)
    if len(accepted) != JOBS or {job["id"] for job in jobs} != set(accepted) or len(jobs) != JOBS:
        raise Wrong(f"{len(accepted)} accepted ({len(set(accepted))} ids), {len(jobs)} there")
    if unwell := [(job["id"], job["status"]) for job in jobs if job["status"] != "succeeded"]:
        raise Wrong(f"not succeeded: {unwell[:5]}")
    again = [job for job in jobs if job["attempt"] > 1]
    if not again:
        raise Wrong("no job ran a second time: nothing was killed that held jobs")
    return f"{len(jobs)} succeeded, none doubled, none lost, {len(again)} of them after a lost lease"
