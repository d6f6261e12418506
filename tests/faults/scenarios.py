"""The named tests of whole deployments, with their pass figures. `python -m tests.faults.run --list` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.faults import nemesis
from tests.faults.load import Shape
from tests.faults.nemesis import disturbing, killing, restarting_postgres, stopping, terminating
from tests.faults.play import Scenario

LEASE_S: Final = 5.0
RECOVERY_S_MAX: Final = LEASE_S + 3.5
CALL_S_MAX: Final = 10.0
GRACE_S: Final = 2.0
Report = dict[str, Any]


def recovered_in_time(report: Report) -> list[str]:
    """Orphans are taken back soon; when they run again depends on the slots that are free, too."""
    found = report["figures"]["orphan_recovered_s"]
    unmet = []
    if found["n"] and found["p99"] > RECOVERY_S_MAX:
        unmet.append(f"p99 of an orphan's recovery is {found['p99']} s, not <= {RECOVERY_S_MAX} s")
    if found["n"] and found["max"] > 12:
        unmet.append(f"the slowest recovery of an orphan took {found['max']} s, not <= 12 s")
    return unmet


def nothing_run_again(report: Report) -> list[str]:
    """No job whose worker lived lost its lease after its start."""
    count = report["counters"].get("recovered_started", 0)
    return [f"{count} running jobs of living workers were taken away"] if count else []


def quiet_after_healing(report: Report) -> list[str]:
    """No submit fails once everything is healed for two seconds."""
    count = report["figures"]["errors_after_heal"]
    return [f"{count} submits failed more than 2 s after healing"] if count else []


def bounded_calls(report: Report) -> list[str]:
    """No call of a worker to its database hangs."""
    longest = report["figures"]["call_s"]["max"]
    return [f"a call of a worker lasted {longest} s, not <= {CALL_S_MAX} s"] if longest > CALL_S_MAX else []


def stale_all_refused(report: Report) -> list[str]:
    """Each write under a token that was taken away is refused."""
    counters = report["counters"]
    return [
        f"{counters[f'stale_{what}_refused']} of {counters[f'stale_{what}_sent']} stale {what}s were refused"
        for what in ("beat", "progress", "settle")
        if counters.get(f"stale_{what}_refused") != counters.get(f"stale_{what}_sent")
    ]


def ended_within_lease(report: Report) -> list[str]:
    """A handler whose worker is cut off is ended before its lease can have gone to somebody else."""
    found = report["figures"]["ended_after_lease_s"]
    return [f"{found['n']} runs outlived their lease, by up to {found['max']} s"] if found["n"] else []


def only_poison_buried(report: Report) -> list[str]:
    """Every poison job is in the dead letter queue, and nobody else."""
    counters = report["counters"]
    unmet = [
        f"{count} {name.removeprefix('dlq_of_')} jobs were buried"
        for name, count in counters.items()
        if name.startswith("dlq_of_") and name != "dlq_of_poison"
    ]
    if counters.get("dlq_of_poison") != counters.get("jobs_of_poison"):
        unmet.append(f"{counters.get('dlq_of_poison', 0)} of {counters.get('jobs_of_poison', 0)} poison jobs were buried")
    return unmet


def prompt_ends(report: Report) -> list[str]:
    """A worker asked to end does so within its grace and two seconds."""
    found = report["figures"]["term_exit_s"]
    return [f"the slowest end took {found['max']} s, not <= {GRACE_S + 2} s"] if found["n"] and found["max"] > GRACE_S + 2 else []


def prompt_starts_again(report: Report) -> list[str]:
    """What a worker gave back starts soon."""
    found = report["figures"]["released_leased_again_s"]
    return [f"p99 of a released job's next lease is {found['p99']} s, not <= 1 s"] if found["n"] and found["p99"] > 1 else []


def steady_through_steps(report: Report) -> list[str]:
    """Immediate jobs do not care for the clock, and orphans come back one lease later than else at the most.

    They are timed to their next start, which is later than their recovery: that is told by the server's clock, which was stepped.
    """
    figures = report["figures"]
    unmet = []
    if figures["started_within_5_s"] < 0.9:
        unmet.append(f"{figures['started_within_5_s']:.0%} of the jobs started within 5 s, not >= 90 %")
    found = figures["orphan_started_again_s"]
    if found["n"] and found["p99"] > RECOVERY_S_MAX + LEASE_S:
        unmet.append(f"p99 of an orphan's next start is {found['p99']} s, not <= {RECOVERY_S_MAX + LEASE_S} s")
    return unmet


def quick_claims(report: Report) -> list[str]:
    """Claims stay quick, or as quick as they were before the fault."""
    found, before = report["figures"]["claim_s"]["p99"], report["figures"]["claim_s_before_fault"]["p99"]
    return [f"p99 of a claim is {found} s, {before} s before the fault"] if found > max(0.1, 2 * before) else []


def all_of(*judges: Any) -> Any:
    """Every figure of several judges."""
    return lambda report: [unmet for judge in judges for unmet in judge(report)]


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "T01": Scenario(
        "T01 workers killed",
        (killing("worker", 2, 4),),
        seconds=120,
        cycle_s=3.0,
        sometimes=("nemesis_kill_worker", "recovered_started", "recovered_unstarted"),
        passes=all_of(recovered_in_time, quiet_after_healing),
    ),
    "T04": Scenario(
        "T04 Postgres stopped like a crash, away for up to three leases",
        (restarting_postgres(5, 9, down_leases=(0, 3)),),
        seconds=180,
        cycle_s=16.0,
        sometimes=("nemesis_pg_stop", "settle_unknown", "submit_info"),
        passes=quiet_after_healing,
    ),
    "T04-short": Scenario(
        "T04 Postgres restarted within a lease of 30 s: living workers keep their jobs",
        (restarting_postgres(4, 8, down_leases=(0, 0.2)),),
        seconds=120,
        cycle_s=10.0,
        shape=Shape(long=0.05, long_s=12.0),
        settings={"JOBQUEUE_LEASE_SECONDS": "30"},
        sometimes=("nemesis_pg_stop", "settle_unknown"),
        passes=all_of(nothing_run_again, quiet_after_healing),
    ),
    "T05": Scenario(
        "T05 backends killed, now and then the postmaster",
        (nemesis.killing_a_backend(4, 6), nemesis.killing_the_postmaster(50, 70)),
        seconds=180,
        sometimes=("nemesis_kill_backend", "nemesis_kill_postmaster", "settle_unknown"),
        passes=quiet_after_healing,
    ),
    "T06": Scenario(
        "T06 the power of the database's machine is cut",
        (nemesis.cutting_power,),
        seconds=60,
        cycle_s=10.0,
        disk_bytes=3 << 30,
        sometimes=("nemesis_power_cut", "nemesis_power_back", "settled", "settle_unknown"),
        passes=quiet_after_healing,
    ),
    "T06-control": Scenario(
        "T06 control: the same with fsync off has to lose acknowledged jobs",
        (nemesis.cutting_power,),
        seconds=12,
        disk_bytes=3 << 30,
        server_options={"fsync": "off"},
        settings={"JOBQUEUE_ACCEPT_UNSAFE_DATABASE": "true"},
        expected=("lost",),
    ),
    "disk-full": Scenario(
        "T12, T13 the database's disk fills to the last byte, its log included, and is given room again",
        (nemesis.filling_disk,),
        seconds=120,
        cycle_s=14.0,
        disk_bytes=400 << 20,
        sometimes=("nemesis_disk_full", "nemesis_disk_room", "answer_503"),
        passes=quiet_after_healing,
    ),
    "T07": Scenario(
        "T07 every connection terminated, again and again",
        (nemesis.terminating_backends(0.5, 2),),
        seconds=60,
        sometimes=("nemesis_terminate_backends", "settle_unknown"),
        passes=quiet_after_healing,
    ),
    "T08": Scenario(
        "T08 the ways to the database disturbed, one component at a time",
        (disturbing(1, 3, for_s=(3, 12)), disturbing(1, 3, for_s=(3, 12))),
        seconds=300,
        cycle_s=5.0,
        sometimes=("nemesis_net_freeze", "nemesis_net_lose_to_client", "nemesis_net_reset", "settle_unknown"),
        passes=all_of(quiet_after_healing, bounded_calls),
    ),
    "T08-slow": Scenario(
        "T08 all workers a second away from their database: no lease is lost",
        (disturbing(0, 0.5, for_s=(20, 30), moods=("delay_1000",), who="worker"),) * 4,
        seconds=120,
        sometimes=("nemesis_net_delay_1000",),
        passes=nothing_run_again,
    ),
    "T09": Scenario(
        "T09 workers partitioned from the database for three leases",
        tuple(nemesis.cutting_link(place) for place in range(6)),
        seconds=120,
        cycle_s=3.4,
        workers=6,
        is_partitioned=True,
        shape=Shape(per_s=20, long=0.03, long_s=8.0),
        tenant_caps=(0, 16),
        sometimes=("nemesis_link_down", "settle_refused", "recovered_started"),
        passes=all_of(ended_within_lease, quiet_after_healing),
    ),
    "T10": Scenario(
        "T10 workers stopped for two leases at named points, and resumed",
        (nemesis.wake_stopped,),
        seconds=250,
        workers=12,
        shape=Shape(per_s=8, long=0, seconds=0.5, cancel=0, threaded=0),
        tenant_caps=(0,),
        worker_settings={
            "JOBQUEUE_WORKER_CONCURRENCY": "2",
            "JOBQUEUE_FAULTS_POINTS": '{"prove": true, "claim.after": ["stop", 0.05], "handler": ["stop", 0.04], '
            '"settle.before": ["stop", 0.05], "settle.after": ["stop", 0.05]}',
        },
        sometimes=(
            *(f"nemesis_stop_at_{point}" for point in ("claim.after", "handler", "settle.before", "settle.after")),
            *("stale_settle_sent", "settle_refused", "beat_lost"),
        ),
        passes=stale_all_refused,
    ),
    "T15": Scenario(
        "T15 a transaction held open: nothing that dies is cleaned up",
        (nemesis.holding_a_snapshot,),
        seconds=300,
        shape=Shape(per_s=100, seconds=0.05, long=0, threaded=0),
        tenant_caps=(0, 40),
        sometimes=("nemesis_snapshot_held",),
        passes=quick_claims,
    ),
    "T16": Scenario(
        "T16 wall clocks stepped by seconds, an hour, a day; workers killed now and then",
        (nemesis.stepping_clocks, killing("worker", 20, 40)),
        seconds=300,
        cycle_s=20.0,
        shape=Shape(per_s=20, long=0.02, long_s=8.0, fails=0, later=0, cancel=0),
        tenant_caps=(0, 0),
        steps_clock=True,
        sometimes=("nemesis_clock_server", "nemesis_clock_workers", "recovered_started"),
        passes=all_of(steady_through_steps, quiet_after_healing),
    ),
    "T32": Scenario(
        "T32 one poison job among 500: exits, segfaults, eats memory",
        (),
        seconds=60,
        cycle_s=20.0,
        workers=3,
        may_end_with=(3, -11, -9),
        memory_bytes=400 << 20,
        shape=Shape(per_s=25, long=0, fails=0, cancel=0, poison=("exit", "segfault", "memory"), seconds=0.2),
        settings={"JOBQUEUE_MAX_CRASHES": "3"},
        sometimes=("dlq_of_poison",),
        passes=only_poison_buried,
    ),
    "T33": Scenario(
        "T33 handlers block the loop for three leases, or hold the interpreter",
        (),
        seconds=120,
        shape=Shape(per_s=4, blocking=0.03, hogging=0.03, long=0.02, long_s=15.0),
        tenant_caps=(0,),
        sometimes=("jobs_of_blocking", "jobs_of_hogging"),
        passes=nothing_run_again,
    ),
    "T34": Scenario(
        "T34 workers asked to end, sometimes twice; others have slots free",
        (terminating("worker", 1.5, 2.5),),
        seconds=400,
        cycle_s=2.5,
        workers=8,
        shape=Shape(per_s=12, long=0.15, long_s=6.0),
        tenant_caps=(0,),
        worker_settings={"JOBQUEUE_WORKER_CONCURRENCY": "16"},
        sometimes=("nemesis_term_worker", "released"),
        passes=all_of(prompt_ends, prompt_starts_again, quiet_after_healing),
    ),
    "T34-away": Scenario(
        "T34 workers asked to end, sometimes twice, while Postgres is away",
        (nemesis.terminating_while_away(3, 5),),
        seconds=160,
        cycle_s=8.0,
        workers=8,
        shape=Shape(per_s=12, long=0.15, long_s=6.0),
        tenant_caps=(0,),
        worker_settings={"JOBQUEUE_WORKER_CONCURRENCY": "16"},
        sometimes=("nemesis_term_worker_away", "recovered_started"),
        passes=all_of(prompt_ends, quiet_after_healing),
    ),
    "kill-points": Scenario(
        "workers killed at named points",
        (),
        seconds=120,
        workers=6,
        may_end_with=(-9,),
        worker_settings={
            "JOBQUEUE_FAULTS_POINTS": '{"claim.after": ["kill", 0.02], "handler": ["kill", 0.01], '
            '"settle.before": ["kill", 0.02], "settle.after": ["kill", 0.02]}'
        },
        sometimes=tuple(f"nemesis_kill_at_{point}" for point in ("claim.after", "handler", "settle.before", "settle.after")),
    ),
    "all": Scenario(
        "everything on",
        (
            killing("worker", 6, 14),
            stopping("worker", 10, 25, leases=(0.5, 2.5)),
            terminating("worker", 15, 30),
            killing("api", 25, 60),
            stopping("api", 20, 40, leases=(0.2, 1)),
            killing("reaper", 20, 40),
            stopping("reaper", 20, 40, leases=(0.5, 2)),
            restarting_postgres(40, 80, down_leases=(0, 2)),
            nemesis.killing_a_backend(20, 50),
            nemesis.terminating_backends(10, 30),
            disturbing(5, 12, for_s=(2, 12)),
        ),
        seconds=600,
        workers=6,
        tenant_caps=(0, 16, 8, 6),
        snapshot_every_s=2.0,
        worker_settings={"JOBQUEUE_FAULTS_POINTS": '{"claim.after": ["kill", 0.001], "settle.before": ["kill", 0.001]}'},
        may_end_with=(-9,),
        sometimes=(
            *("nemesis_kill_worker", "nemesis_stop_worker", "nemesis_term_worker", "nemesis_kill_api", "nemesis_stop_api"),
            *("nemesis_kill_reaper", "nemesis_pg_stop", "nemesis_kill_backend", "nemesis_terminate_backends", "nemesis_net_heal"),
            *("settle_refused", "settle_replayed", "beat_lost", "recovered_started", "recovered_unstarted", "released"),
            *("submit_info", "submit_info_happened", "answer_200", "answer_422", "answer_503", "cancelled"),
        ),
        passes=quiet_after_healing,
    ),
    "short": Scenario(
        "everything on, for the suite",
        (
            killing("worker", 2, 4),
            stopping("worker", 1, 3, leases=(1.3, 1.8)),
            killing("api", 4, 8),
            killing("reaper", 8, 14),
            restarting_postgres(12, 16, down_leases=(0.1, 0.3)),
            nemesis.terminating_backends(5, 9),
            disturbing(3, 5, for_s=(1, 4)),
        ),
        seconds=40,
        shape=Shape(per_s=20, long=0.03, long_s=6.0, seconds=0.2),
        sometimes=(
            *("nemesis_kill_worker", "nemesis_stop_worker", "nemesis_kill_api", "nemesis_kill_reaper", "nemesis_pg_stop"),
            *("nemesis_terminate_backends", "nemesis_net_heal", "recovered_started", "answer_200", "answer_422"),
        ),
        passes=quiet_after_healing,
    ),
}
