"""Kill the primary under load, promote its synchronous standby: nothing acknowledged is lost, everybody comes back by itself.

    python -m tests.deployed.failover [--cycles 20] [--seed 1]

Two servers, one address with both hosts; an API, two workers and a reaper that are started once and never touched again; clients that
submit and settle. Each cycle kills all of the primary's processes at a random moment, promotes the standby, waits until clients are
acknowledged again, looks for every acknowledged submit and settle on the new primary, and makes the old one its standby. The control at
the end shows that the check can fail: with an asynchronous standby that lags, the same kill does lose what was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobqueue.operations import migrations
from tests.deployed.load import Load, Promised, drained, missing
from tests.deployed.servers import DATABASE, Pair, connected, directory
from tests.deployed.telling import say
from tests.whole.roles import Roles

LOAD_S: Final = (0.5, 1.5)
"""How long a cycle's load runs before the kill."""
ACKS_BEFORE: Final = 50
ACKS_AFTER: Final = 50
BACK_S_MAX: Final = 60.0
LAG_S: Final = 1.0
SETTINGS: Final = {"JOBQUEUE_LOG_LEVEL": "error", "JOBQUEUE_LEASE_SECONDS": "10", "JOBQUEUE_MAX_CRASHES": "20"}


@dataclass(frozen=True)
class Cycle:
    """What one kill did. back_s: from the kill to the first acknowledgement after the promotion."""

    back_s: float
    acks: int
    lost_submits: int
    lost_settles: int

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost."""
        return not (self.lost_submits or self.lost_settles)


async def run(cycles: int, *, seed: int, is_short: bool = False) -> list[Cycle]:
    """Run the cycles; the last one is the control. is_short: without it, and with one worker only."""
    chance = random.Random(seed)
    async with directory() as where:
        pair = Pair(where)
        try:
            await pair.start()
            await migrations.upgrade(pair.primary.dsn(DATABASE))
            roles = Roles(pair.dsn(), _logs(where), dict(SETTINGS))
            try:
                return await _cycles(pair, roles, cycles, chance, is_short=is_short)
            finally:
                roles.stop()
        finally:
            await pair.stop()


def _logs(where: Path) -> Path:
    logs = where / "logs"
    logs.mkdir()
    return logs


async def _cycles(pair: Pair, roles: Roles, cycles: int, chance: random.Random, *, is_short: bool) -> list[Cycle]:
    await roles.start_api()
    for role in ("worker",) if is_short else ("worker", "worker", "reaper"):
        roles.start(role)
    load = Load([roles.url], roles.api_key)
    found: list[Cycle] = []
    async with load.running() as promised:
        for number in range(cycles):
            found.append(await _cycle(pair, roles, promised, chance))
            say(f"cycle {number + 1}: {found[-1]}")
            if not is_short or number + 1 < cycles:
                await pair.follow()
    await drained(pair.primary.dsn(DATABASE), within_s=120)
    left = await missing(pair.primary.dsn(DATABASE), promised, is_drained=True)
    assert left.is_nothing, left
    _assert_untouched(roles)
    if not is_short:
        found.append(await _control(pair, roles))
        say(f"control, asynchronous: {found[-1]}")
    return found


async def _cycle(pair: Pair, roles: Roles, promised: Promised, chance: random.Random) -> Cycle:
    await _acked(pair, promised, promised.acks + ACKS_BEFORE)
    await asyncio.sleep(chance.uniform(*LOAD_S))
    killed_at = time.monotonic()
    await pair.fail_over()
    acks = promised.acks
    await _acked(pair, promised, acks + 1)
    back_s = time.monotonic() - killed_at
    await _acked(pair, promised, acks + ACKS_AFTER)
    _assert_untouched(roles)
    return await _judge(pair, promised, back_s)


async def _control(pair: Pair, roles: Roles) -> Cycle:
    """The same with a standby nobody waits for, that has not followed for a while."""
    load = Load([roles.url], roles.api_key, name="control")
    async with load.running() as promised:
        await pair.trust_the_primary_alone()
        await _acked(pair, promised, ACKS_BEFORE)
        await pair.stop_following()
        await _acked(pair, promised, promised.acks + ACKS_BEFORE)
        await asyncio.sleep(LAG_S)
        told = Promised(dict(promised.submitted), dict(promised.settled))
        killed_at = time.monotonic()
        await pair.fail_over()
        await _acked(pair, promised, promised.acks + 1)
        return await _judge(pair, told, time.monotonic() - killed_at)


async def _judge(pair: Pair, promised: Promised, back_s: float) -> Cycle:
    told = Promised(dict(promised.submitted), dict(promised.settled))  # what is acknowledged while we look is not yet to be found
    lost = await missing(pair.primary.dsn(DATABASE), told)
    return Cycle(round(back_s, 2), told.acks, len(lost.submitted), len(lost.settled))


async def _acked(pair: Pair, promised: Promised, count: int) -> None:
    try:
        async with asyncio.timeout(BACK_S_MAX):
            while promised.acks < count:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"no acknowledgement for {BACK_S_MAX:g} s: {promised.statuses}; {await _activity(pair)}") from None


async def _activity(pair: Pair) -> list[str]:
    """What the primary's sessions do, for whoever has to find out why nothing comes back."""
    async with connected(pair.primary.dsn()) as connection:
        rows = await connection.fetch("SELECT application_name, state, wait_event, left(query, 60) AS query FROM pg_stat_activity")
        rows += await connection.fetch("SELECT application_name, state, sync_state, sent_lsn, flush_lsn FROM pg_stat_replication")
    return [str(dict(row)) for row in rows]


def _assert_untouched(roles: Roles) -> None:
    ended = [process.args for process in roles.processes if process.poll() is not None]
    assert not ended, f"ended by the failover: {ended}"


def main() -> int:
    """Run, print, answer 0 when every cycle lost nothing and the control did lose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    *cycles, control = asyncio.run(run(arguments.cycles, seed=arguments.seed))
    good = sum(cycle.is_good for cycle in cycles)
    back = sorted(cycle.back_s for cycle in cycles)
    say(
        f"{good} of {len(cycles)} failovers lost nothing of {cycles[-1].acks} acknowledged submits and settles; acknowledged again after "
        f"{back[len(back) // 2]:.2f} s in the middle, {back[-1]:.2f} s at most; the asynchronous control lost {control.lost_submits} "
        f"submits and {control.lost_settles} settles"
    )
    return 0 if good == len(cycles) and not control.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
