"""Every operation in any order against real Postgres, compared with the model after each step.

Rules pick what they act on by a number, so that hypothesis shrinks well and a find reads as a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobqueue.domain.lease import Beat, Lease, Settled
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.operations import jobs, leases, queues, upkeep
from tests.engine import UP_S, outcome, request, settlement
from tests.integration.engine.machine.checked import CheckedMachine, Past
from tests.integration.engine.machine.model import ENDED, HELD, WAITING, Job
from tests.integration.engine.machine.steps import Step, act, steps_of

QUEUES: Final = ("default", "side")
LOOKS: Final = 4
PARKED: Final = "SELECT count(*) FROM jobqueue.parked"
FAR_BACK_S: Final = 100_000.0
"""How far before now a recovery looks that is to find only the leases that were made to run out."""

pick = st.integers(0, 30)
tenant = st.integers(0, 1)
delay = st.sampled_from([None, None, 1000.0, 3000.0])
long = st.sampled_from([1000.0, 3000.0])
kinds = st.sampled_from([kind.value for kind in OutcomeKind if kind is not OutcomeKind.LEASE_EXPIRED])


@dataclass(frozen=True)
class Asked:
    """What a submit says of a job."""

    queue: str = "default"
    concurrency_key: str | None = None
    priority: int = 2
    max_attempts: int = 3
    delay_s: float | None = None
    expires_in_s: float | None = None


asks = st.builds(
    Asked,
    queue=st.sampled_from(QUEUES),
    concurrency_key=st.sampled_from([None, None, "a", "b"]),
    priority=st.integers(0, 3),
    max_attempts=st.integers(1, 3),
    delay_s=delay,
    expires_in_s=st.sampled_from([None, None, None, 1000.0, 0.0]),
)


def is_holding(machine: CheckedMachine) -> object:
    return machine.held


def has_past(machine: CheckedMachine) -> object:
    return machine.past


class Acts(CheckedMachine):
    """All verbs."""

    # ------------------------------------------------------------------------------------------------------- in

    @act(who=tenant, asked=st.lists(asks, min_size=1, max_size=3))
    def submit(self, who: int, asked: list[Asked]) -> None:
        names = [f"k{len(self.model.jobs) + number}" for number in range(len(asked))]
        requests = [request(key=name, **asdict(one)) for name, one in zip(names, asked, strict=True)]
        answers = self.world.submit(self.world.callers[who], requests)
        for name, one, submitted in zip(names, asked, answers, strict=True):
            assert submitted.is_new
            assert submitted.job_id not in self.model.jobs
            start_by_s = None if one.expires_in_s is None else (one.delay_s or 0.0) + one.expires_in_s
            status = "queued" if one.delay_s is None else "scheduled"
            job = Job(submitted.job_id, who, one.queue, one.concurrency_key, one.max_attempts, one.delay_s, start_by_s, status)
            self.model.jobs[job.job_id] = job
            self.model.keys[who, name] = job.job_id

    @act(needs=lambda self: self.model.keys, number=pick, is_same_body=st.booleans(), count=st.integers(1, 2))
    def submit_again(self, number: int, is_same_body: bool, count: int) -> None:
        """The same key: the same job, or a refusal of another body; alone and as twins in one batch."""
        known = list(self.model.keys)
        who, key = known[number % len(known)]
        again = request(key=key) if is_same_body else request(key=key, data='{"other":1}')
        answers = self.world.submit(self.world.callers[who], [again] * count)
        if is_same_body:
            assert [(one.job_id, one.is_new) for one in answers] == [(self.model.keys[who, key], False)] * count
        else:
            assert answers == ["idempotency_key_reused"] * count

    # ------------------------------------------------------------------------------------------------------ out

    @act(jobs_max=st.integers(1, 6))
    def claim(self, jobs_max: int) -> None:
        model = self.model
        could = [job for job in model.jobs.values() if model.is_claimable(job)]
        is_sure = any(model.has_room(job) for job in could) and not any(job.key for job in could)
        found: Sequence[Lease] = self.world.do(self.looked(jobs_max))
        assert len(found) <= jobs_max
        assert found or not is_sure, "a due job within all limits was not claimed"
        for lease in found:
            job = model.jobs[lease.job_id]
            assert job in could
            assert lease.token not in model.tokens
            job.claimed(lease.token)
            assert (lease.standing.attempt, lease.standing.crashes) == (job.attempt, job.crashes)
            assert lease.standing.policy.attempts_max == job.attempts_max >= job.attempt
            model.tokens.add(lease.token)
            self.held.append(lease)
        for lease in found:
            assert list(model.over_limit(model.jobs[lease.job_id])) == []
        if any(job.key for job in could):
            self.world.seen["parked"] += self.world.rows(PARKED)[0][0]

    async def looked(self, jobs_max: int) -> Sequence[Lease]:
        """Claim as a worker does: a look whose turn went to tenants that had nothing to give is followed by the next."""
        claimer = await self.world.engine.claimer()
        for _ in range(LOOKS):
            if found := await claimer.claim(jobs_max=jobs_max):
                return found
        return []

    @act(needs=is_holding, number=pick, is_started=st.booleans(), progress=st.sampled_from([None, 50.0]))
    def beat(self, number: int, is_started: bool, progress: float | None) -> None:
        lease, job = self.holder(number)
        (status,) = self.world.do(
            leases.heartbeat(self.world.engine.db, [Beat(lease.job_id, lease.token, 0.0 if is_started else None, progress)])
        )
        assert status.value == job.beaten(starts=is_started)

    @act(
        needs=is_holding,
        number=pick,
        kind=kinds,
        ran=st.booleans(),
        delay_s=st.sampled_from([1000.0, 3000.0]),
        is_final=st.booleans(),
        is_crash=st.booleans(),
    )
    def settle(self, number: int, kind: str, ran: bool, delay_s: float, is_final: bool, is_crash: bool) -> None:
        lease, job = self.holder(number)
        (settled,) = self.settled([(lease, self.ended(kind, ran, delay_s, is_final, is_crash))])
        said = job.settled(kind, ran=ran, delay_s=delay_s, is_final=is_final, is_crash=is_crash)
        assert (settled.status.value, settled.next_status) == ("settled", said)
        self.gone(lease, kind, said)

    @act(needs=is_holding, kind=kinds)
    def settle_all(self, kind: str) -> None:
        """All in one batch, with a stale one among them where there is one."""
        batch = list(self.held)
        stale = [past.lease for past in self.past[-1:] if past.kind is None]
        answers = self.settled([(lease, self.ended(kind, True, 1000.0, False, False)) for lease in batch + stale])
        for lease, answer in zip(batch, answers, strict=False):
            said = self.model.jobs[lease.job_id].settled(kind, ran=True, delay_s=1000.0, is_final=False, is_crash=False)
            assert (answer.status.value, answer.next_status) == ("settled", said)
            self.gone(lease, kind, said)
        assert [answer.status.value for answer in answers[len(batch) :]] == ["lease_lost"] * len(stale)

    @staticmethod
    def ended(kind: str, ran: bool, delay_s: float, is_final: bool, is_crash: bool) -> Outcome:
        failing = {"is_retryable": not is_final, "is_crash": is_crash} if kind == "failed" else {}
        return outcome(OutcomeKind(kind), ran_s=0.0 if ran else None, delay_s=delay_s, **failing)

    def settled(self, ended: list[tuple[Lease, Outcome]]) -> list[Settled]:
        ordered = sorted(ended, key=lambda one: one[0].job_id.int)  # as the acker sorts; answers in the order asked
        answers = self.world.do(leases.settle(self.world.engine.db, [settlement(*one) for one in ordered]))
        by_token = {one[0].token: answer for one, answer in zip(ordered, answers, strict=True)}
        return [by_token[lease.token] for lease, _ in ended]

    def gone(self, lease: Lease, kind: str | None, said: str | None) -> None:
        self.held.remove(lease)
        self.past.append(Past(lease, kind, said))

    # ---------------------------------------------------------------------------------------------------- stale

    @act(needs=has_past, number=pick, kind=kinds)
    def settle_stale(self, number: int, kind: str) -> None:
        """An old token: the same settle again is replayed, anything else is lost, and neither changes anything."""
        past = self.past[-1 - number % len(self.past)]
        (settled,) = self.settled([(past.lease, self.ended(kind, True, 1000.0, False, False))])
        expected = ("replayed", past.said) if kind == past.kind else ("lease_lost", None)
        assert (settled.status.value, settled.next_status) == expected
        self.world.seen[settled.status.value] += 1

    @act(needs=has_past, number=pick)
    def beat_stale(self, number: int) -> None:
        lease = self.past[-1 - number % len(self.past)].lease
        (status,) = self.world.do(leases.heartbeat(self.world.engine.db, [Beat(lease.job_id, lease.token, 0.0, 99.0)]))
        assert status.value == "lost"

    # ------------------------------------------------------------------------------------------------------ time

    @act(needs=is_holding, number=pick)
    def run_out(self, number: int) -> None:
        """A holder falls silent: its lease is over, its token is still the current one."""
        lease, job = self.holder(number)
        assert job.hold is not None
        job.hold.is_over = True
        self.world.do(self.world.engine.raw.execute("UPDATE jobqueue.lease SET expires_at = '-infinity' WHERE job_id = $1", lease.job_id))

    @act(is_all=st.booleans())
    def recover(self, is_all: bool) -> None:
        """The reaper, far back in time (it finds what has run out) or far ahead (everything has)."""
        engine = self.world.engine
        now = self.world.do(engine.later(FAR_BACK_S if is_all else -FAR_BACK_S))
        found = self.world.do(leases.recover(engine.db, engine.terms, resumed_for_s=UP_S, now=now))
        over = [lease for lease in self.held if is_all or self.model.jobs[lease.job_id].hold.is_over]  # type: ignore[union-attr]
        assert {one.job_id for one in found} == {lease.job_id for lease in over}
        said = {one.job_id: one.status for one in found}
        for lease in over:
            assert said[lease.job_id] == self.model.jobs[lease.job_id].lost()
            self.gone(lease, None, None)

    @act()
    def recover_after_restart(self) -> None:
        """A reaper that has just come up takes nothing, whatever the time."""
        engine = self.world.engine
        now = self.world.do(engine.later(FAR_BACK_S))
        assert self.world.do(leases.recover(engine.db, engine.terms, resumed_for_s=0.01, now=now)) == []

    @act(needs=lambda self: self.model.offset_s < 5000)
    def let_time_pass(self) -> None:
        self.model.offset_s += 1500.0

    @act()
    def promote(self) -> None:
        due = self.model.due()
        lanes = self.world.do(upkeep.promote(self.world.engine.db, now=self.now()))
        assert sum(lanes.values()) == len(due)
        for job in due:
            job.promoted()

    @act()
    def expire(self) -> None:
        late = self.model.too_late()
        assert self.world.do(upkeep.expire(self.world.engine.db, now=self.now())) == len(late)
        for job in late:
            job.expired()

    def now(self) -> Any:
        return self.world.do(self.world.engine.later(self.model.offset_s))

    # ---------------------------------------------------------------------------------------------------- by hand

    @act(needs=CheckedMachine.has_jobs, number=pick)
    def cancel(self, number: int) -> None:
        job = self.job(number, HELD | WAITING)
        said = self.world.tried(jobs.cancel(self.world.engine.db, self.caller(job), job.job_id, grace_s=30.0))
        assert str(said) == job.cancel()

    @act(needs=CheckedMachine.has_jobs, number=pick, is_reset=st.booleans())
    def retry(self, number: int, is_reset: bool) -> None:
        job = self.job(number, ENDED | {"failed"})
        said = self.world.tried(jobs.retry(self.world.engine.db, self.caller(job), job.job_id, is_reset=is_reset))
        assert (said if isinstance(said, str) else "queued") == job.retry(is_reset=is_reset)

    @act(needs=CheckedMachine.has_jobs, number=pick)
    def force_success(self, number: int) -> None:
        job = self.job(number, {"dlq", "failed"})
        said = self.world.tried(
            jobs.force_success(self.world.engine.db, self.caller(job), job.job_id, result_json="1", reason="so", by="test")
        )
        assert (said or "succeeded") == job.force_success()

    @act(
        needs=CheckedMachine.has_jobs,
        number=pick,
        priority=st.sampled_from([None, 0, 3]),
        attempts_max=st.sampled_from([None, None, 1, 3]),
        is_timed=st.booleans(),
        due_s=delay,
    )
    def patch(self, number: int, priority: int | None, attempts_max: int | None, is_timed: bool, due_s: float | None) -> None:
        job = self.job(number, WAITING)
        at = None if due_s is None else self.world.do(self.world.engine.now()) + timedelta(seconds=due_s)
        said = self.world.tried(
            jobs.patch(
                self.world.engine.db,
                self.caller(job),
                job.job_id,
                priority=priority,
                max_attempts=attempts_max,
                is_timed=is_timed,
                scheduled_at=at,
            )
        )
        assert (said if isinstance(said, str) else "updated") == job.patch(attempts_max=attempts_max, is_timed=is_timed, due_s=due_s)

    @act(needs=CheckedMachine.has_jobs, who=tenant, is_retry=st.booleans())
    def many_by_hand(self, who: int, is_retry: bool) -> None:
        """Cancel or retry all of a tenant's jobs in one statement."""
        db, own = self.world.engine.db, [job for job in self.model.jobs.values() if job.tenant == who]
        ids = [job.job_id for job in own]
        if is_retry:
            lanes = self.world.do(jobs.store.retry_many(db, self.world.callers[who].tenant_id, ids))
            assert sum(lanes.values()) == sum(job.retry(is_reset=True) == "queued" for job in own)
        else:
            before = sum(job.status != "cancelled" for job in own)
            done, _ = self.world.do(jobs.store.cancel_many(db, self.world.callers[who].tenant_id, ids, grace_s=30.0))
            assert done == before - sum(job.cancel().startswith("wrong_state") for job in own)

    # ------------------------------------------------------------------------------------------ limits and upkeep

    @act(who=tenant, cap=st.integers(0, 2))
    def limit_tenant(self, who: int, cap: int) -> None:
        self.model.limits[who].tenant = cap
        self.world.do(
            self.world.engine.raw.execute(
                "UPDATE jobqueue.tenant SET max_concurrent = $1 WHERE tenant_id = $2", cap, self.world.callers[who].tenant_id
            )
        )

    @act(who=tenant, queue=st.sampled_from(QUEUES), is_paused=st.booleans(), cap=st.integers(0, 2), key_cap=st.integers(1, 2))
    def set_queue(self, who: int, queue: str, is_paused: bool, cap: int, key_cap: int) -> None:
        limits = self.model.limits[who]
        limits.queues[queue], limits.keys[queue] = cap, key_cap
        (limits.paused.add if is_paused else limits.paused.discard)(queue)
        changes = {"is_paused": is_paused, "max_concurrent": cap, "key_max_concurrent": key_cap}
        engine = self.world.engine
        self.world.do(queues.change(engine.db, engine.names, self.world.callers[who], queue, changes, wake=engine.woken.append))

    @act()
    def keep(self) -> None:
        """What moves nothing a user sees: parked jobs let in, counts folded."""
        self.world.do(upkeep.sweep_concurrency_keys(self.world.engine.db))
        self.world.do(upkeep.fold_tally(self.world.engine.db))

    @act()
    def forget_keys(self) -> None:
        """Idempotency keys of ended jobs, whose time to be kept is none here."""
        self.world.do(upkeep.sweep_idempotency(self.world.engine.db, kept_s=0.0))
        self.model.keys = {key: job_id for key, job_id in self.model.keys.items() if self.model.jobs[job_id].status not in ENDED}

    # ----------------------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        """Heal, then everything must come home: no limit, nobody paused, all time gone by."""
        for who in range(len(self.world.callers)):
            self.limit_tenant(who, 0)
            for queue in QUEUES:
                self.set_queue(who, queue, False, 0, 2)
        self.recover(True)
        self.model.offset_s = 10_000.0
        for _ in range(len(self.model.jobs) + 2):
            self.promote()
            self.expire()
            self.keep()
            self.claim(6)
            while self.held:
                self.settle(0, "succeeded", True, 1000.0, False, False)
        assert all(job.status in ENDED for job in self.model.jobs.values()), "a job was left behind"
        self.world.seen.update(event for job in self.model.jobs.values() for event in job.history)
        self.each_job_is_in_one_place_and_counted()
        self.jobs_are_what_the_model_says()
        self.histories_are_the_model_s()


WEIGHTS: Final = {"submit": 4, "claim": 8, "settle": 6, "beat": 4, "recover": 2, "cancel": 3, "retry": 3, "run_out": 2, "promote": 2}
"""How often an act is drawn beside the others, which count 1: jobs must get somewhere."""

steps = steps_of(Acts, WEIGHTS)


class QueueMachine(Acts):
    """Acts in any order. One rule for all, since hypothesis switches half of the rules off in each example."""

    @rule(step=steps)
    def step(self, step: Step) -> None:
        step.take(self, otherwise=Step("claim", {"jobs_max": 4}))
