"""A claimer's memory: which lanes have due jobs, whose turn it is, and what need not be read again.

A lane is (tenant, queue, type, band). Everything here is safe when stale: gates and counts in the database decide, this only says where
to look. Without these memories each claim walks over dead index entries while vacuum cannot run (docs/adr/0002).

- turns: deficit round robin over tenants by weight. A claim with room for few jobs serves few tenants; one whose share did not fit goes
  first in the next.
- floors: jobs of a lane before this sort_at were claimed; dropped every FLOOR_S_MAX, so a submit that committed late is found.
- lows: no live lease of the tenant has a smaller claim_seq; exact, since these are drawn under the tenant's gate.
- widths: how many rows of a lane are read; doubled when the lane was cut there.
- full: lanes of tenants and queues at their limit, set aside until a settle, a note or the next discovery brings them back: asking for them
  would lock and count in vain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

TENANTS_PER_CLAIM: Final = 12
LANES_PER_CLAIM: Final = 30
"""Reading a lane costs about as much as taking a job: with 60, a claim of 100 of 10 types cost 1.5 times one of one type, with 30 1.4."""
LANES_MAX: Final = 20_000
DISCOVERY_S: Final = 1.0
DISCOVERY_SHARE: Final = 20
"""At most 1/20 of the time goes into discovery, which walks dead entries while vacuum cannot run."""
FLOOR_S_MAX: Final = 2.0
CRITICAL_SHARE: Final = 0.8
"""Of the jobs a tenant takes, critical ones may be this many while others wait; a new tenant's first one may be critical."""
EMPTY_MAX: Final = 2
"""Turns in a row a tenant may come up empty before its lanes leave the memory until discovery or a wake-up names them."""
OWED_TURNS_MAX: Final = 20
"""Turns that are owed to a tenant whose gate other claimers held, at the most: else the weights would not hold over several claimers."""
FLOORLESS_BAND: Final = 4
"""From this band on no floor applies: keyed rows stay when their key is busy, and rows that came back carry an old sort_at."""

Lane = tuple[int, int, int, int]


@dataclass(slots=True)
class Turn:
    """What one claim asks for: tenants with their takes, and lanes with their floors and widths, as parallel lists."""

    tenants: list[int] = field(default_factory=list)
    takes: list[int] = field(default_factory=list)
    criticals: list[int] = field(default_factory=list)
    lows: list[int] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    floors: list[datetime | None] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    life: object | None = None
    """Of the memory it was made from; a memory that has started over since learns nothing from it."""


class Rotation:
    """The memory of one claimer. Times are monotonic seconds, handed in."""

    def __init__(self) -> None:
        self._life = object()
        self._lanes: dict[int, dict[Lane, None]] = {}
        self._weights: dict[int, int] = {}
        self._deficits: dict[int, float] = {}
        self._criticals: dict[int, float] = {}
        self._floors: dict[Lane, datetime] = {}
        self._widths: dict[Lane, int] = {}
        self._lows: dict[int, int] = {}
        self._empties: dict[int, int] = {}
        self._full: dict[int, dict[Lane, None]] = {}
        self._owed: dict[int, float] = {}
        self._open: int | None = None
        self._position = 0
        self._discovered_at = float("-inf")
        self._discovery_s = 0.0
        self._floors_since = float("-inf")

    @property
    def has_lanes(self) -> bool:
        """Whether there is anywhere to look."""
        return bool(self._lanes)

    @property
    def full(self) -> Collection[int]:
        """The tenants with lanes set aside."""
        return self._full.keys()

    def free(self, tenant: int) -> bool:
        """Bring back a tenant's lanes that were set aside; False: there were none."""
        lanes = self._full.pop(tenant, None)
        if lanes is None:
            return False
        self._lanes.setdefault(tenant, {}).update(lanes)
        self._empties.pop(tenant, None)
        return True

    def forget(self) -> None:
        """Start over: after any reconnect nothing remembered can be trusted (the database may be another one)."""
        self.__init__()  # type: ignore[misc]

    def wants_discovery(self, now_s: float) -> bool:
        """Whether it is time to ask for the lanes again."""
        return now_s - self._discovered_at >= max(DISCOVERY_S, DISCOVERY_SHARE * self._discovery_s)

    def discovered(self, lanes: Iterable[tuple[Lane, int]], *, now_s: float, took_s: float) -> None:
        """Replace the lanes by what the database shows, each with its tenant's weight."""
        self._lanes = {}
        for lane, weight in lanes:
            self._lanes.setdefault(lane[0], {})[lane] = None
            self._weights[lane[0]] = weight
        self._empties.clear()
        self._full.clear()
        self._deficits = {tenant: deficit for tenant, deficit in self._deficits.items() if tenant in self._lanes}
        self._owed = {tenant: credit for tenant, credit in self._owed.items() if tenant in self._lanes}
        self._widths = {lane: width for lane, width in self._widths.items() if lane[0] in self._lanes}
        self._discovered_at = now_s
        self._discovery_s = took_s

    def learn(self, lane: Lane) -> bool:
        """Remember a lane a wake-up named; False: it is set aside."""
        if lane in self._full.get(lane[0], ()):
            return False
        if lane in (lanes := self._lanes.setdefault(lane[0], {})):
            self._empties.pop(lane[0], None)
        elif sum(map(len, self._lanes.values())) < LANES_MAX:
            lanes[lane] = None
            self._empties.pop(lane[0], None)
        return True

    def turn(self, jobs_max: int, *, now_s: float) -> Turn:
        """Choose whose turn it is and how much of jobs_max each may take."""
        assert jobs_max >= 1
        if now_s - self._floors_since > max(FLOOR_S_MAX, 2 * DISCOVERY_SHARE * self._discovery_s):
            self._floors.clear()
            self._floors_since = now_s
        chosen = self._choose(jobs_max)
        quantum = max(1.0, jobs_max / max(1, sum(self._weights.get(tenant, 1) for tenant in chosen)))
        takes = self._share_out(chosen, jobs_max, quantum)
        turn = Turn(life=self._life)
        for tenant, take in takes.items():
            self._criticals[tenant] = min(self._criticals.get(tenant, 1.0), 1.0) + CRITICAL_SHARE * take
            turn.tenants.append(tenant)
            turn.takes.append(take)
            turn.criticals.append(int(self._criticals[tenant]))
            turn.lows.append(self._lows.get(tenant, 0))
            self._add_lanes(turn, tenant, take)
        return turn

    def _share_out(self, chosen: Sequence[int], jobs_max: int, quantum: float) -> dict[int, int]:
        """Give each its credit until jobs_max is reached; what nobody has credit for is an advance to the last one."""
        takes: dict[int, int] = {}
        left, still_open, visited = jobs_max, None, 0
        for tenant in chosen:
            credit = self._credit(tenant, quantum)
            visited += tenant != self._open
            if take := min(left, max(0, credit)):
                takes[tenant] = take
                left -= take
            if not left:
                still_open = tenant if credit > take else None
                break
        if left and chosen:
            takes[chosen[-1]] = takes.get(chosen[-1], 0) + left
        self._position += visited
        self._open = still_open
        return takes

    def _credit(self, tenant: int, quantum: float) -> int:
        """How many jobs a tenant may take: what is left of its open turn, else a new share and the fraction left of the last."""
        if tenant != self._open:
            share = quantum * self._weights.get(tenant, 1)
            owed = min(self._owed.pop(tenant, 0.0), OWED_TURNS_MAX * share)
            self._deficits[tenant] = min(self._deficits.get(tenant, 0.0), 1.0) + owed + share
        return int(self._deficits[tenant])

    def _choose(self, jobs_max: int) -> list[int]:
        """The tenant whose turn is still open, then the next ones of the ring, as many as one claim serves."""
        if self._open not in self._lanes or self._deficits.get(self._open, 0.0) < 1:
            self._open = None
        ring = list(self._lanes)
        self._position = self._position % len(ring) if ring else 0
        chosen = [] if self._open is None else [self._open]
        lanes = sum(len(self._lanes[tenant]) for tenant in chosen)
        for tenant in ring[self._position :] + ring[: self._position]:
            if tenant == self._open:
                continue
            if chosen and (len(chosen) >= min(TENANTS_PER_CLAIM, jobs_max) or lanes + len(self._lanes[tenant]) > LANES_PER_CLAIM):
                break
            chosen.append(tenant)
            lanes += len(self._lanes[tenant])
        return chosen

    def _add_lanes(self, turn: Turn, tenant: int, take: int) -> None:
        lanes = self._lanes[tenant]
        width = take if len(lanes) <= 2 else 2 * take // len(lanes) + 2
        for lane in lanes:
            turn.lanes.append(lane)
            turn.floors.append(self._floors.get(lane) if lane[3] < FLOORLESS_BAND else None)
            turn.widths.append(min(take, max(width, self._widths.get(lane, 0))))

    def claimed(self, turn: Turn, lanes: Sequence[tuple[Lane, int, datetime, int]], full: Iterable[tuple[int, int | None]] = ()) -> None:
        """Learn from what a claim brought: the lanes that gave jobs, each with how many, the floor they allow, and the tenant's low-water.

        full: (tenant, queue) that a limit kept from giving more, queue 0 for all of the tenant's, None where another claimer held its gate.

        A claim that was under way while the memory started over is of the database before: its floors may hide jobs of this one.
        """
        if turn.life is self._life:
            self._learn(turn, lanes, list(full))

    def _learn(self, turn: Turn, lanes: Sequence[tuple[Lane, int, datetime, int]], full: list[tuple[int, int | None]]) -> None:
        taken: dict[int, int] = {}
        criticals: dict[int, int] = {}
        by_lane: dict[Lane, int] = {}
        lows: dict[int, int] = {}
        for lane, count, floor, low in lanes:
            tenant = lane[0]
            taken[tenant] = taken.get(tenant, 0) + count
            by_lane[lane] = count
            if lane[3] & 3 == 0:
                criticals[tenant] = criticals.get(tenant, 0) + count
            if lane not in self._floors or floor > self._floors[lane]:
                self._floors[lane] = floor
            if low < lows.get(tenant, 1 << 62):
                lows[tenant] = low
        self._lows.update(lows)
        busy = {tenant for tenant, queue in full if queue is None}
        for tenant in turn.tenants:
            if tenant in busy:
                self._owed[tenant] = self._deficits.pop(tenant, 0.0)
                continue
            self._settle_turn(tenant, taken.get(tenant, 0), criticals.get(tenant, 0))
        for lane, width in zip(turn.lanes, turn.widths, strict=True):
            got = by_lane.get(lane, 0)
            self._widths[lane] = width * 2 if got >= width else got
        for tenant, queue in full:
            if queue is not None:
                self._set_aside(tenant, queue)

    def _set_aside(self, tenant: int, queue: int) -> None:
        lanes = self._lanes.get(tenant, {})
        for lane in [lane for lane in lanes if queue in (0, lane[1])]:
            del lanes[lane]
            self._full.setdefault(tenant, {})[lane] = None
        if not lanes:
            self._lanes.pop(tenant, None)

    def _settle_turn(self, tenant: int, taken: int, criticals: int) -> None:
        self._criticals[tenant] = max(0.0, self._criticals[tenant] - criticals)
        if taken:
            self._deficits[tenant] = self._deficits.get(tenant, 0.0) - taken
            self._empties.pop(tenant, None)
            return
        self._deficits.pop(tenant, None)
        self._empties[tenant] = self._empties.get(tenant, 0) + 1
        if self._empties[tenant] > EMPTY_MAX:
            self._lanes.pop(tenant, None)
            self._empties.pop(tenant, None)
