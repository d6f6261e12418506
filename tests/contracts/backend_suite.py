"""What every Backend must do: mix `BackendContract` into a test class whose module has a `scenario` fixture.

class TestPostgresBackend(BackendContract):
    ...

@pytest.fixture
async def scenario(database) -> AsyncIterator[Scenario]: ...
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from uuid import UUID

import orjson
import pytest

from jobqueue.domain.errors import InvalidRequest
from jobqueue.domain.lease import Beat, BeatStatus, Lease, Settled, Settlement, SettleStatus
from jobqueue.domain.outcome import Failure, Outcome, OutcomeKind
from jobqueue.worker.backend import Backend

JOB_TYPE = "contract"
"""The type the scenario's backends take."""

UNSTORABLE = Outcome(OutcomeKind.SUCCEEDED, '{"broken": ', ran_s=0.1)
"""No json column holds this; the worker's outcomes.py never makes it."""


class Scenario(Protocol):
    """The world around a Backend, as a test moves it."""

    async def open_backend(self) -> Backend:
        """Open one that claims JOB_TYPE; the scenario closes it. Each call is another worker."""
        ...

    async def submit(self, data: dict[str, Any], *, job_type: str = JOB_TYPE, max_attempts: int = 3, timeout_s: float = 60.0) -> UUID:
        """Store a job that is due."""
        ...

    async def end_lease(self, job_id: UUID) -> None:
        """Let the job's lease run out and have it recovered."""
        ...

    async def ask_to_cancel(self, job_id: UUID) -> None:
        """Ask to cancel a job that is leased."""
        ...

    async def status(self, job_id: UUID) -> str:
        """Tell the job's status as a user would see it."""
        ...


def settlement(lease: Lease, outcome: Outcome | None = None) -> Settlement:
    """Make a settlement of a lease; it succeeded unless said otherwise."""
    return Settlement(
        lease.job_id, lease.token, lease.standing, outcome or Outcome(OutcomeKind.SUCCEEDED, '{"n":1}', ran_s=0.1), lease.key_id
    )


def failed(**given: Any) -> Outcome:
    """Make the outcome of a failed run."""
    return Outcome(OutcomeKind.FAILED, failure=Failure("ValueError", "no", "trace"), ran_s=0.1, **given)


async def claim(backend: Backend, count: int = 1) -> list[Lease]:
    """Claim until that many leases came: a claim may bring fewer than are due."""
    leases: list[Lease] = []
    async with asyncio.timeout(10):
        while len(leases) < count:
            found = await backend.claim(jobs_max=count - len(leases))
            leases += found
            if not found:
                await backend.wait(timeout_s=0.05)
    return leases


async def settle(backend: Backend, *settlements: Settlement) -> list[Settled]:
    """Settle in the order that backends may ask for."""
    return await backend.settle(sorted(settlements, key=lambda each: each.job_id.int))


class BackendContract:
    """The tests."""

    async def test_claim_brings_the_job_as_it_was_submitted(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({"a": "ü"}, max_attempts=4, timeout_s=7.0)
        (lease,) = await claim(await scenario.open_backend())
        assert (lease.job_id, lease.job_type, orjson.loads(lease.data_json)) == (job_id, JOB_TYPE, {"a": "ü"})
        assert (lease.standing.attempt, lease.standing.crashes, lease.standing.policy.attempts_max) == (1, 0, 4)
        assert (lease.timeout_s, lease.is_isolated) == (7.0, False)
        assert lease.lease_s > 0
        assert await scenario.status(job_id) == "leased"

    async def test_claim_of_nothing_is_empty_at_once(self, scenario: Scenario) -> None:
        backend = await scenario.open_backend()
        async with asyncio.timeout(5):
            assert await backend.claim(jobs_max=10) == []

    async def test_claim_brings_at_most_what_was_asked(self, scenario: Scenario) -> None:
        for n in range(3):
            await scenario.submit({"n": n})
        backend = await scenario.open_backend()
        assert len(await claim(backend, 2)) == 2
        assert len(await claim(backend, 1)) == 1

    async def test_types_without_a_handler_are_left_alone(self, scenario: Scenario) -> None:
        other = await scenario.submit({}, job_type="foreign")
        own = await scenario.submit({})
        backend = await scenario.open_backend()
        assert [lease.job_id for lease in await claim(backend)] == [own]
        assert await backend.claim(jobs_max=10) == []
        assert await scenario.status(other) == "queued"

    async def test_two_workers_never_hold_one_job(self, scenario: Scenario) -> None:
        ids = [await scenario.submit({"n": n}) for n in range(40)]
        backends = [await scenario.open_backend() for _ in range(2)]
        claims = await asyncio.gather(*(backend.claim(jobs_max=40) for backend in backends for _ in range(1)))
        held = [lease.job_id for leases in claims for lease in leases]
        while len(held) < len(ids):
            held += [lease.job_id for lease in await claim(backends[0])]
        assert sorted(held) == sorted(ids)

    async def test_wait_ends_when_a_job_comes(self, scenario: Scenario) -> None:
        backend = await scenario.open_backend()
        assert await backend.claim(jobs_max=1) == []
        waiting = asyncio.create_task(backend.wait(timeout_s=30))
        await scenario.submit({})
        async with asyncio.timeout(10):
            await waiting

    async def test_wait_ends_after_its_time(self, scenario: Scenario) -> None:
        backend = await scenario.open_backend()
        async with asyncio.timeout(5):
            await backend.wait(timeout_s=0.01)

    async def test_first_beat_after_the_start_makes_a_job_running(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        (lease,) = await claim(backend)
        assert await backend.heartbeat([Beat(job_id, lease.token)]) == [BeatStatus.OK]
        assert await scenario.status(job_id) == "leased"
        assert await backend.heartbeat([Beat(job_id, lease.token, 0.1, 50.0, "half way")]) == [BeatStatus.OK]
        assert await scenario.status(job_id) == "running"

    async def test_beats_are_answered_each_in_order(self, scenario: Scenario) -> None:
        for n in range(3):
            await scenario.submit({"n": n})
        backend = await scenario.open_backend()
        kept, lost, stopped = await claim(backend, 3)
        await scenario.end_lease(lost.job_id)
        await scenario.ask_to_cancel(stopped.job_id)
        beats = [Beat(lease.job_id, lease.token, 0.1) for lease in (lost, kept, stopped)]
        assert await backend.heartbeat(beats) == [BeatStatus.LOST, BeatStatus.OK, BeatStatus.CANCEL_REQUESTED]

    async def test_beat_without_leases_is_allowed(self, scenario: Scenario) -> None:
        assert await (await scenario.open_backend()).heartbeat([]) == []

    async def test_old_token_renews_and_settles_nothing_of_a_job_leased_anew(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        (old,) = await claim(backend)
        await scenario.end_lease(job_id)
        (new,) = await claim(backend)
        assert new.token != old.token
        assert await backend.heartbeat([Beat(job_id, old.token, 0.1)]) == [BeatStatus.LOST]
        assert await settle(backend, settlement(old)) == [Settled(job_id, SettleStatus.LEASE_LOST, None)]
        assert await scenario.status(job_id) == "leased"
        assert await settle(backend, settlement(new)) == [Settled(job_id, SettleStatus.SETTLED, "succeeded")]

    async def test_lease_lost_before_the_start_gives_the_attempt_back_and_isolates(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        await claim(backend)
        await scenario.end_lease(job_id)
        (lease,) = await claim(backend)
        assert (lease.standing.attempt, lease.is_isolated) == (1, True)

    async def test_lease_lost_after_the_start_counts(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        (lease,) = await claim(backend)
        await backend.heartbeat([Beat(job_id, lease.token, 0.1)])
        await scenario.end_lease(job_id)
        (lease,) = await claim(backend)
        assert (lease.standing.attempt, lease.standing.crashes) == (2, 1)

    @pytest.mark.parametrize(
        ("outcome", "max_attempts", "status"),
        [
            (Outcome(OutcomeKind.SUCCEEDED, '"ok"', ran_s=0.1), 3, "succeeded"),
            (Outcome(OutcomeKind.SUCCEEDED, None, ran_s=0.1), 3, "succeeded"),
            (failed(delay_s=60.0), 3, "failed"),
            (failed(), 1, "dlq"),
            (failed(is_retryable=False), 3, "dlq"),
            (Outcome(OutcomeKind.SNOOZED, delay_s=60.0, ran_s=0.1), 1, "scheduled"),
            (Outcome(OutcomeKind.RELEASED), 1, "queued"),
            (Outcome(OutcomeKind.CANCELLED, ran_s=0.1), 3, "cancelled"),
        ],
    )
    async def test_outcome_decides_what_follows(self, scenario: Scenario, outcome: Outcome, max_attempts: int, status: str) -> None:
        job_id = await scenario.submit({}, max_attempts=max_attempts)
        backend = await scenario.open_backend()
        (lease,) = await claim(backend)
        assert await settle(backend, settlement(lease, outcome)) == [Settled(job_id, SettleStatus.SETTLED, status)]
        assert await scenario.status(job_id) == status

    async def test_same_settle_again_is_replayed(self, scenario: Scenario) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        (lease,) = await claim(backend)
        await settle(backend, settlement(lease))
        (again,) = await settle(backend, settlement(lease))
        assert (again.status, again.next_status) == (SettleStatus.REPLAYED, "succeeded")
        assert await scenario.status(job_id) == "succeeded"

    async def test_settles_are_answered_each_in_order(self, scenario: Scenario) -> None:
        for n in range(3):
            await scenario.submit({"n": n})
        backend = await scenario.open_backend()
        first, second, third = sorted(await claim(backend, 3), key=lambda lease: lease.job_id.int)
        await scenario.end_lease(second.job_id)
        answers = await backend.settle([settlement(first), settlement(second), settlement(third, failed(is_retryable=False))])
        assert answers == [
            Settled(first.job_id, SettleStatus.SETTLED, "succeeded"),
            Settled(second.job_id, SettleStatus.LEASE_LOST, None),
            Settled(third.job_id, SettleStatus.SETTLED, "dlq"),
        ]

    @pytest.mark.parametrize(
        ("outcome", "status"), [(None, "succeeded"), (failed(), "cancelled"), (Outcome(OutcomeKind.RELEASED), "cancelled")]
    )
    async def test_job_asked_to_cancel_ends_cancelled_unless_it_succeeds(
        self, scenario: Scenario, outcome: Outcome | None, status: str
    ) -> None:
        job_id = await scenario.submit({})
        backend = await scenario.open_backend()
        (lease,) = await claim(backend)
        await scenario.ask_to_cancel(job_id)
        (answer,) = await settle(backend, settlement(lease, outcome))
        assert answer.next_status == status
        assert await scenario.status(job_id) == status

    async def test_value_that_cannot_be_stored_is_refused_as_invalid_and_nothing_is_written(self, scenario: Scenario) -> None:
        ids = [await scenario.submit({"n": n}) for n in range(2)]
        backend = await scenario.open_backend()
        good, bad = await claim(backend, 2)
        with pytest.raises(InvalidRequest):
            await settle(backend, settlement(good), settlement(bad, UNSTORABLE))
        assert [await scenario.status(job_id) for job_id in ids] == ["leased", "leased"]
        assert [answer.status for answer in await settle(backend, settlement(good))] == [SettleStatus.SETTLED]
