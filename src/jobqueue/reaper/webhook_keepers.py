"""What makes webhook deliveries of events, and keeps their tables and secrets in order; on the leader only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault
from jobqueue.operations import webhook_delivery as operations
from jobqueue.operations.database import Database
from jobqueue.operations.webhook_delivery import WALK_START, FanOut
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.reaper.events import Emit
from jobqueue.reaper.keepers import Keeper
from jobqueue.reaper.leader import Leader
from jobqueue.telemetry.events import WebhooksMeasured

FAN_OUT_S: Final = 0.05
WAITING_S: Final = 0.01
"""Between two looks while a newer number waits for its writers, which commit within milliseconds."""
IDLE_S: Final = 1.0
"""While nobody has an endpoint."""
SWEEP_S: Final = 1.0
WALK_S: Final = 3600.0
SECRETS_S: Final = 3600.0
MEASURE_S: Final = 15.0


class WebhookFanOut(Keeper):
    """Makes deliveries of events."""

    def __init__(self, db: Database, leader: Leader, *, wake: Callable[[], None], clock: Clock, on_fault: OnFault) -> None:
        """wake is called when there are deliveries to send."""
        super().__init__(db, leader, name="webhook_fan_out", interval_s=FAN_OUT_S, clock=clock, on_fault=on_fault)
        self._fan_out = FanOut(db, clock=clock)
        self._wake = wake

    async def keep(self) -> float | None:
        """Make those of the next events."""
        step = await self._fan_out.step()
        if step.deliveries:
            self._wake()
        if step.is_behind:
            return 0.0
        if step.is_waiting and step.has_endpoints:
            return WAITING_S
        return None if step.has_endpoints else IDLE_S


class WebhookSweeper(Keeper):
    """Walks the deliveries and forgets the old ones."""

    def __init__(self, db: Database, leader: Leader, *, kept_s: float, clock: Clock, on_fault: OnFault) -> None:
        """kept_s: how long a delivery is kept."""
        super().__init__(db, leader, name="webhook_sweeper", interval_s=SWEEP_S, clock=clock, on_fault=on_fault)
        self._kept_s = kept_s
        self._position = WALK_START

    async def keep(self) -> float | None:
        """Sweep one page; a long rest at the end of the walk."""
        page = await operations.sweep(self._db, after=self._position, kept_s=self._kept_s)
        self._position = WALK_START if page is None else page[0]
        return WALK_S if page is None else None


class WebhookSecretKeeper(Keeper):
    """Forgets secrets whose grace is over, and seals the others with the newest key."""

    def __init__(self, db: Database, leader: Leader, box: SecretBox, *, clock: Clock, on_fault: OnFault) -> None:
        super().__init__(db, leader, name="webhook_secret_keeper", interval_s=SECRETS_S, clock=clock, on_fault=on_fault)
        self._box = box

    async def keep(self) -> float | None:
        """Look at all of them."""
        await operations.keep_secrets(self._db, self._box)
        return None


class WebhookMeter(Keeper):
    """Looks how far behind deliveries are."""

    def __init__(self, db: Database, leader: Leader, *, clock: Clock, on_fault: OnFault, emit: Emit) -> None:
        super().__init__(db, leader, name="webhook_meter", interval_s=MEASURE_S, clock=clock, on_fault=on_fault)
        self._emit = emit

    async def keep(self) -> float | None:
        """Look once."""
        self._emit(WebhooksMeasured(await operations.lag_s(self._db)))
        return None
