"""Claims for workers over HTTP: many polls wait, without a database connection, and one claim serves those that want the same.

Polls of one tenant, queues and types form a group with one Claimer. A wake-up, a new poll or the poll interval has the group claim for all
of its polls together; what comes is dealt out round about. A poll whose client has left gets nothing: what was claimed for it goes
back at once, its attempt refunded. Nothing is kept that the database does not have: a claim whose answer is lost is found again by its
`claim_id` (operations/work.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

from jobqueue.aio.clock import Clock
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import JobQueueError, Overloaded
from jobqueue.domain.lease import Lease, Settlement
from jobqueue.domain.outcome import Outcome, OutcomeKind
from jobqueue.domain.rotation import Lane
from jobqueue.domain.wakeup import Note
from jobqueue.operations import leases
from jobqueue.operations.leases import Claimer, Holder, LeaseTerms
from jobqueue.operations.naming import NameBook
from jobqueue.operations.vacancies import Vacancies
from jobqueue.operations.work import CLAIM_JOBS_MAX
from jobqueue.store import leases as store
from jobqueue.store import workers as workers_store
from jobqueue.store.pool import Database

POLLS_MAX: Final = 5_000
"""Polls that wait in one process; more are told to come back."""
GROUPS_MAX: Final = 2_000
LOOK_S: Final = 1.0
"""How often a group looks without being woken: wake-ups can be lost. With many groups each looks less often."""
LOOKS_PER_S_MAX: Final = 50
LOOK_S_MAX: Final = 20.0
HELD_BACK_S: Final = (0.005, 0.02)
"""How soon to look again when lanes are known but a claim came up empty: another claimer may hold the tenant's gate."""
KEEP_S: Final = 5.0
"""How often the workers of waiting polls are noted as alive, and groups nobody wants any more are dropped."""
IDLE_S_MAX: Final = 60.0
RELEASE_TRIES: Final = 3
RELEASE_WAIT_S: Final = 0.2

Wish = tuple[int, frozenset[str] | None, frozenset[str]]
"""A tenant, the queues (None: all) and the types."""

GiveBack = Callable[[Sequence[Lease]], None]
"""Is told leases that nobody has seen."""

Want = Callable[[Collection[int]], None]
"""Is told the tenants at their limit whose slots would be taken."""


class Poll:
    """One request that waits for jobs."""

    __slots__ = ("answer", "holder", "is_impatient", "jobs_max")

    def __init__(self, holder: Holder, *, jobs_max: int, is_impatient: bool) -> None:
        """is_impatient: it ends with the next claim, whatever that brings."""
        self.holder = holder
        self.jobs_max = jobs_max
        self.is_impatient = is_impatient
        self.answer: asyncio.Future[list[Lease]] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self.answer.done()


class PollGroup:
    """Polls that want the same, and the claimer that serves them. `run` is a task of the hub's."""

    def __init__(
        self, db: Database, wish: Wish, claimer: Claimer, *, clock: Clock, look_s: Callable[[], float], give_back: GiveBack, want: Want
    ) -> None:
        self._db = db
        self.tenant_id = wish[0]
        self._claimer = claimer
        self._clock = clock
        self._look_s = look_s
        self._give_back = give_back
        self._want = want
        self._is_room_made = False
        self._polls: list[Poll] = []
        self._bell = asyncio.Event()
        self.wanted_at = clock.monotonic()

    def join(self, poll: Poll) -> None:
        """Have a poll served, by a claim that begins after this."""
        self._polls.append(poll)
        self._bell.set()

    def make_room(self) -> None:
        """A job of the tenant was settled: there may be something to claim."""
        self._claimer.free(self.tenant_id)
        self._is_room_made = True
        self._bell.set()

    def learn(self, lanes: Sequence[Lane] | None) -> None:
        """Take a wake-up; None: everywhere."""
        if lanes is None:
            self._claimer.forget()
        learned = [self._claimer.learn(lane) for lane in lanes or ()]
        if lanes is None or any(learned):
            self._bell.set()

    def open_polls(self) -> list[Poll]:
        """List the polls somebody waits for, in the order they came."""
        self._polls = [poll for poll in self._polls if poll.is_open]
        return self._polls

    async def run(self) -> None:
        """Claim while there are polls, until cancelled."""
        while True:
            await self._bell.wait()
            while polls := self.open_polls():
                self._bell.clear()
                self.wanted_at = self._clock.monotonic()
                if not await self._serve(list(polls)):
                    await self._rest()
            self._bell.clear()

    async def _serve(self, polls: list[Poll]) -> bool:
        """Claim once for these polls; False: there was nothing."""
        sent_at = self._clock.boottime()
        self._is_room_made = False
        jobs_max = min(CLAIM_JOBS_MAX, sum(poll.jobs_max for poll in polls))
        try:
            claimed = await self._claimer.claim(jobs_max=jobs_max, holder=polls[0].holder)
            if not claimed and any(poll.is_impatient for poll in polls):  # they are told that there is nothing: look everywhere first
                self._claimer.forget()
                claimed = await self._claimer.claim(jobs_max=jobs_max, holder=polls[0].holder)
            if claimed:
                await self._deal(polls, claimed, sent_at)
        except JobQueueError as error:
            self._claimer.forget()
            for poll in polls:
                if poll.is_open:
                    poll.answer.set_exception(error)
            return True
        for poll in polls:
            if poll.is_impatient and poll.is_open:
                poll.answer.set_result([])
        return bool(claimed)

    async def _deal(self, polls: list[Poll], claimed: list[Lease], sent_at: float) -> None:
        """Deal leases out among the polls that are still there. The claim was the first poll's; the others' shares are assigned to them."""
        polls = [polls[0], *[poll for poll in polls[1:] if poll.is_open][: len(claimed)]]  # of thousands, those whose turn can come
        shares = self._cut(polls, claimed, sent_at)
        others = [(poll, share) for poll, share in shares if share and poll is not polls[0]]
        is_assigned = await self._assign(others)
        unseen = claimed[sum(len(share) for _, share in shares) :]
        for poll, share in shares:
            if poll.is_open and share and (is_assigned or poll is polls[0]):
                poll.answer.set_result(share)
            else:
                unseen += share
        if unseen:
            self._give_back(unseen)

    @staticmethod
    def _cut(polls: list[Poll], claimed: list[Lease], sent_at: float) -> list[tuple[Poll, list[Lease]]]:
        at = 0
        shares = []
        for poll, count in zip(polls, deal([poll.jobs_max if poll.is_open else 0 for poll in polls], len(claimed)), strict=True):
            share = claimed[at : at + count]
            for lease in share:
                lease.lease_s, lease.granted_at = poll.holder.lease_s, sent_at
            shares.append((poll, share))
            at += count
        return shares

    async def _assign(self, others: list[tuple[Poll, list[Lease]]]) -> bool:
        """Write down whose the leases are; False: that failed, and nobody may have them."""
        rows = [
            (lease.job_id, lease.token, poll.holder.worker_id, poll.holder.claim_id, lease.lease_s)
            for poll, share in others
            for lease in share
        ]
        if rows:
            try:
                await store.assign(self._db, self.tenant_id, rows)
            except JobQueueError:
                return False
        return True

    async def _rest(self) -> None:
        """Wait until there may be something again."""
        if self._is_room_made:  # while the claim was under way, so what it said of limits may be older
            self._claimer.free(self.tenant_id)
        self._want(self._claimer.full)
        wait_s = random.uniform(*HELD_BACK_S) if self._claimer.has_lanes else self._look_s()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._bell.wait()


def deal(wanted: Sequence[int], count: int) -> list[int]:
    """Say how many of `count` each gets: round about, nobody more than wanted; what is left over is nobody's."""
    shares = [0] * len(wanted)
    left = min(count, sum(wanted))
    hungry = [place for place, want in enumerate(wanted) if want]
    while left:
        even = max(1, left // len(hungry))
        for place in hungry:
            more = min(even, wanted[place] - shares[place], left)
            shares[place] += more
            left -= more
        hungry = [place for place in hungry if shares[place] < wanted[place]]
    return shares


class PollHub:
    """All groups of a process. A service; `poll` is used while it runs."""

    name = "polls"

    def __init__(
        self, db: Database, names: NameBook, terms: LeaseTerms, *, clock: Clock, wake: Callable[[Lane], None], vacancies: Vacancies
    ) -> None:
        """wake is told the lane of a job that was given back."""
        self._db = db
        self._names = names
        self._terms = terms
        self._clock = clock
        self._wake = wake
        self._vacancies = vacancies
        self._groups: dict[Wish, PollGroup] = {}
        self._tasks: dict[Wish, asyncio.Task[None]] = {}
        self._task_group: asyncio.TaskGroup | None = None
        self._by_claim: dict[tuple[int, UUID], Poll] = {}
        self._count = 0

    @property
    def waiting(self) -> int:
        """Count the polls that wait."""
        return self._count

    async def run(self) -> None:
        """Serve polls until cancelled; then those that wait are answered with nothing."""
        try:
            async with asyncio.TaskGroup() as self._task_group:
                while True:
                    await self._clock.sleep(KEEP_S)
                    await self._keep()
        finally:
            self._task_group = None
            for group in self._groups.values():
                for poll in group.open_polls():
                    poll.answer.set_result([])

    async def poll(self, wish: Wish, holder: Holder, *, jobs_max: int, wait_s: float) -> list[Lease]:
        """Wait for jobs, at most wait_s; at least one claim is made for it. A poll of the same claim that waits already ends with nothing.

        Cancellation gives back what was claimed for it. Raises Overloaded, Unavailable.
        """
        if self._task_group is None:
            raise Overloaded("this process is stopping")
        if self._count >= POLLS_MAX:
            raise Overloaded("too many polls wait in this process")
        group = self._group_of(wish)
        poll = Poll(holder, jobs_max=jobs_max, is_impatient=wait_s == 0)
        self._count += 1
        self._replace(poll)
        group.join(poll)
        try:
            return await self._answer(poll, wait_s)
        finally:
            self._count -= 1
            self._forget(poll)

    async def _answer(self, poll: Poll, wait_s: float) -> list[Lease]:
        try:
            await asyncio.wait([poll.answer], timeout=None if poll.is_impatient else wait_s)  # a claim has a deadline of its own
            if poll.is_open:
                poll.answer.set_result([])
            return poll.answer.result()
        except asyncio.CancelledError:
            if poll.is_open:
                poll.answer.cancel()
            elif poll.answer.exception() is None:
                self.give_back(poll.answer.result())
            raise

    def _replace(self, poll: Poll) -> None:
        if (claim_id := poll.holder.claim_id) is None:
            return
        key = (poll.holder.worker_id, claim_id)
        earlier = self._by_claim.get(key)
        if earlier is not None and earlier.is_open:
            earlier.answer.set_result([])
        self._by_claim[key] = poll

    def _forget(self, poll: Poll) -> None:
        if poll.holder.claim_id is not None:
            key = (poll.holder.worker_id, poll.holder.claim_id)
            if self._by_claim.get(key) is poll:
                del self._by_claim[key]

    def _group_of(self, wish: Wish) -> PollGroup:
        group = self._groups.get(wish)
        if group is None:
            assert self._task_group is not None
            if len(self._groups) >= GROUPS_MAX:
                raise Overloaded("too many different polls wait in this process")
            tenant_id, queues, job_types = wish
            claimer = Claimer(
                self._db,
                self._names,
                self._terms,
                worker_id=None,
                queues=None if queues is None else sorted(queues),
                job_types=sorted(job_types),
                clock=self._clock,
                tenant_id=tenant_id,
            )
            group = PollGroup(
                self._db,
                wish,
                claimer,
                clock=self._clock,
                look_s=self._look_s,
                give_back=self.give_back,
                want=self._vacancies.want,
            )
            self._groups[wish] = group
            self._tasks[wish] = spawn(self._task_group, group.run(), f"poll-group-{tenant_id}")
        return group

    def _look_s(self) -> float:
        seconds = min(max(LOOK_S, len(self._groups) / LOOKS_PER_S_MAX), LOOK_S_MAX)
        return seconds * (0.75 + 0.5 * random.random())

    def heard(self, lanes: list[Lane] | None) -> None:
        """Take a wake-up; None: everywhere."""
        for wish, group in self._groups.items():
            if lanes is None or any(lane[0] == wish[0] for lane in lanes):
                group.learn(lanes)

    def room_made(self, tenant_id: int) -> None:
        """A tenant's job was settled here: if it was at its limit, it has room again, for whoever waits in any process."""
        self._ring(tenant_id)
        self._vacancies.offer(tenant_id)

    def noted(self, note: Note) -> None:
        """Take a note of another process about a tenant at its limit."""
        tenant_id = self._vacancies.heard(note)
        if tenant_id is not None:
            self._ring(tenant_id)

    def _ring(self, tenant_id: int) -> None:
        for wish, group in self._groups.items():
            if wish[0] == tenant_id:
                group.make_room()

    def give_back(self, claimed: Sequence[Lease]) -> None:
        """Release leases nobody has seen, their attempts refunded. What cannot be released runs out by itself."""
        if self._task_group is not None and claimed:
            spawn(self._task_group, self._release(sorted(claimed, key=_job_id)), "release")

    async def _release(self, claimed: list[Lease]) -> None:
        settlements = [
            Settlement(lease.job_id, lease.token, lease.standing, Outcome(OutcomeKind.RELEASED), lease.key_id) for lease in claimed
        ]
        for _ in range(RELEASE_TRIES):
            try:
                await leases.settle(self._db, settlements, wake=self._wake)
            except JobQueueError:
                await self._clock.sleep(RELEASE_WAIT_S)
            else:
                return

    async def _keep(self) -> None:
        """Note the waiting workers as alive, let polls of quieted ones end, and drop groups nobody wants any more."""
        waiting: dict[int, list[Poll]] = {}
        for group in self._groups.values():
            for poll in group.open_polls():
                waiting.setdefault(poll.holder.worker_id, []).append(poll)
        if waiting:
            with contextlib.suppress(JobQueueError):
                for worker_id in await workers_store.keep(self._db, list(waiting)):
                    for poll in waiting[worker_id]:
                        if poll.is_open:
                            poll.answer.set_result([])
        now_s = self._clock.monotonic()
        for wish, group in list(self._groups.items()):
            if not group.open_polls() and now_s - group.wanted_at > IDLE_S_MAX:
                del self._groups[wish]
                self._tasks.pop(wish).cancel()


def _job_id(lease: Lease) -> int:
    return lease.job_id.int  # everybody locks in this order
