"""What the state machine knows and what it checks after each step (failures.md 5: I1-I8, I13, I15, I17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant

from jobqueue.domain.lease import Lease
from jobqueue.operations.jobs import Caller
from tests.integration.engine.machine.model import CRASHES_MAX, HELD, Job, Limits, Model
from tests.integration.engine.machine.world import World

JOBS: Final = "SELECT id, status, attempt, max_attempts FROM jobqueue.jobs"
KEYS: Final = "SELECT tenant_id, job_id FROM jobqueue.idempotency"
LEASES: Final = "SELECT job_id, token, attempt, crashes FROM jobqueue.lease"
TALLY_WRONG: Final = """
SELECT *
FROM (SELECT tenant_id, queue_id, status, sum(n)::int AS tallied FROM jobqueue.tally GROUP BY 1, 2, 3) t
FULL JOIN (
  SELECT s.tenant_id, s.queue_id, s.status, count(*)::int AS there
  FROM (SELECT j.tenant_id, j.queue_id, jobqueue.status_v1(j.tenant_id, j.job_id) AS status FROM jobqueue.job j) s
  WHERE s.status NOT IN ('leased', 'running')
  GROUP BY 1, 2, 3) r USING (tenant_id, queue_id, status)
WHERE coalesce(t.tallied, 0) <> coalesce(r.there, 0)
"""


@dataclass
class Past:
    """A lease that is nobody's any more. kind, said: how it was settled and what was answered; None: the reaper took it."""

    lease: Lease
    kind: str | None
    said: str | None


class CheckedMachine(RuleBasedStateMachine):
    """The world, the model, and what must be true of both. `world` is set by who runs it."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.begin()
        self.model = Model(limits={number: Limits() for number in range(len(self.world.callers))})
        self.held: list[Lease] = []
        self.past: list[Past] = []

    # ------------------------------------------------------------------------------------------------- choosing

    def job(self, number: int, apt: set[str]) -> Job:
        """Three of four numbers choose a job in one of the apt states, where there is one; small numbers choose the latest."""
        known = list(self.model.jobs.values())
        fitting = [job for job in known if job.status in apt] if number % 4 < 3 else []
        return (fitting or known)[-1 - number // 4 % len(fitting or known)]

    def holder(self, number: int) -> tuple[Lease, Job]:
        lease = self.held[-1 - number % len(self.held)]
        return lease, self.model.jobs[lease.job_id]

    def has_jobs(self) -> bool:
        return bool(self.model.jobs)

    def caller(self, job: Job) -> Caller:
        return self.world.callers[job.tenant]

    # --------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def each_job_is_in_one_place_and_counted(self) -> None:
        assert self.world.places_twice() == []
        assert self.world.rows(TALLY_WRONG) == []

    @invariant()
    def jobs_are_what_the_model_says(self) -> None:
        real = {row[0]: row[1:] for row in self.world.rows(JOBS)}
        assert real == {job.job_id: (job.status, job.attempt, job.attempts_max) for job in self.model.jobs.values()}
        assert all(0 <= job.attempt <= job.attempts_max and job.crashes <= CRASHES_MAX for job in self.model.jobs.values())

    @invariant()
    def leases_are_those_of_the_holders(self) -> None:
        expected = [(job.job_id, job.hold.token, job.attempt, job.crashes) for job in self.model.jobs.values() if job.hold is not None]
        assert sorted(self.world.rows(LEASES)) == sorted(expected)
        assert {lease.job_id for lease in self.held} == {job.job_id for job in self.model.jobs.values() if job.status in HELD}

    @invariant()
    def keys_name_one_job_each(self) -> None:
        expected = [(self.world.callers[who].tenant_id, job_id) for (who, _), job_id in self.model.keys.items()]
        assert sorted(self.world.rows(KEYS)) == sorted(expected)

    @invariant()
    def histories_are_the_model_s(self) -> None:
        for job in self.model.jobs.values():
            if job.is_touched:
                job.is_touched = False
                assert self.world.do(self.world.engine.history(self.caller(job), job.job_id)) == job.history
