"""Send what is due to webhook endpoints.

One loop takes due deliveries, each try is a task, and what came of tries is recorded in batches. A slow or dead endpoint holds up none but
itself: at most ENDPOINT_MAX of its deliveries are under way, it is only probed once it has failed often enough, and every try has its end.
A process that dies leaves its claims behind; after CLAIM_S they are due again, under the same ids.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from jobqueue.aio.batcher import Batcher
from jobqueue.aio.clock import Clock
from jobqueue.aio.periodic import OnFault
from jobqueue.aio.supervise import spawn
from jobqueue.domain.errors import JobQueueError, Overloaded
from jobqueue.domain.webhook import Answer, DeliveryStatus, clean_excerpt, read_retry_after
from jobqueue.domain.webhook import delivery_id as id_of
from jobqueue.domain.webhook_signature import headers
from jobqueue.operations import webhook_delivery as operations
from jobqueue.operations.database import Database
from jobqueue.operations.webhook_delivery import Claimed, Tried
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Answer as Got
from jobqueue.outbound.http import Guard, OutboundFailed, OutboundRefused, Outgoing, sending
from jobqueue.reaper.events import Emit, WebhookDisabled
from jobqueue.reaper.leader import Leader
from jobqueue.telemetry.events import WebhooksTried

TRIES_MAX: Final = 400
"""Under way at once in this process; a try is one connection."""
ENDPOINT_MAX: Final = 10
"""Of them to one endpoint."""
CROWDED: Final = TRIES_MAX // 2
"""With so many under way an endpoint that has one gets no other, so that those that answer still get theirs."""
TRY_S_MAX: Final = 15.0
CLAIM_S: Final = TRY_S_MAX + 10.0
"""A try and the recording of it are over by then."""
BODY_S_MAX: Final = 1.0
BODY_BYTES_MAX: Final = 2_048
"""Of an answer, for its excerpt; its status is what counts."""
POLL_S: Final = 0.25
GAP_S: Final = 0.01
"""Between two claims at least, so that slots that come free together are filled together."""
FAULT_S: Final = 0.5
RECORDED_MAX: Final = 200
DRAIN_S_MAX: Final = 1.0
USER_AGENT: Final = "jobqueue-webhook/1"


class WebhookSender:
    """A service that sends, on the leader only."""

    name = "webhook_sender"

    def __init__(
        self,
        db: Database,
        leader: Leader,
        box: SecretBox,
        guard: Guard,
        *,
        now_s: Callable[[], float],
        clock: Clock,
        on_fault: OnFault,
        emit: Emit,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """now_s tells Unix time, for the signature's timestamp; draw numbers in [0, 1)."""
        self._db = db
        self._leader = leader
        self._box = box
        self._guard = guard
        self._now_s = now_s
        self._clock = clock
        self._on_fault = on_fault
        self._emit = emit
        self._draw = draw
        self._busy: Counter[UUID] = Counter()
        self._bell = asyncio.Event()
        self._recorder: Batcher[Tried, None] = Batcher(
            self._record,
            name="webhook_recorder",
            items_max=RECORDED_MAX,
            waiting_max=TRIES_MAX,
            overloaded=lambda: Overloaded("too many tries wait to be recorded"),
            closed=lambda: Overloaded("the sender is stopping"),
        )

    def wake(self) -> None:
        """Look now: deliveries were made."""
        self._bell.set()

    async def run(self) -> None:
        """Send until cancelled; what is under way then has a moment to end."""
        async with asyncio.TaskGroup() as recording:
            spawn(recording, self._recorder.run(), self._recorder.name)
            async with asyncio.TaskGroup() as tries:
                under_way: set[asyncio.Task[None]] = set()
                try:
                    await self._send_on(tries, under_way)
                finally:
                    if under_way:
                        await asyncio.wait(under_way, timeout=DRAIN_S_MAX)

    async def _send_on(self, tries: asyncio.TaskGroup, under_way: set[asyncio.Task[None]]) -> None:
        while True:
            rest_s = POLL_S
            try:
                for claimed in await self.claim():
                    task = spawn(tries, self._try_and_record(claimed), "webhook_try")
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            except JobQueueError as fault:
                self._on_fault(self.name, fault)
                rest_s = FAULT_S
            await self._clock.sleep(GAP_S)
            await self._rest(rest_s)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    async def claim(self) -> list[Claimed]:
        """Take what is due and there is room for; nothing unless this process leads."""
        under_way = self._busy.total()
        if not self._leader.is_leader or under_way >= TRIES_MAX:
            return []
        claimed = await operations.claim(
            self._db,
            self._box,
            self._busy,
            endpoint_max=1 if under_way >= CROWDED else ENDPOINT_MAX,
            limit=TRIES_MAX - under_way,
            claim_s=CLAIM_S,
        )
        self._busy.update(one.webhook_id for one in claimed)
        return claimed

    async def _try_and_record(self, claimed: Claimed) -> None:
        try:
            await self._recorder.submit(Tried(claimed, await self.send(claimed), self._draw()))
        except JobQueueError as fault:  # its claim runs out and it is sent again
            self._on_fault(self.name, fault)
        finally:
            self._busy[claimed.webhook_id] -= 1
            if not self._busy[claimed.webhook_id]:
                del self._busy[claimed.webhook_id]
            self._bell.set()

    async def send(self, claimed: Claimed) -> Answer:
        """Make one try, and say what came of it, whatever that is."""
        if claimed.unreadable is not None:
            return Answer(None, claimed.unreadable)
        delivery_id = id_of(claimed.webhook_id, claimed.seq)
        signed = headers(claimed.secrets, delivery_id=delivery_id, timestamp=int(self._now_s()), body=claimed.body)
        request = Outgoing(
            method="POST",
            url=claimed.url,
            headers={"content-type": "application/json", "user-agent": USER_AGENT, **signed},
            body=claimed.body,
            seconds_max=TRY_S_MAX,
            body_bytes_max=BODY_BYTES_MAX,
        )
        begun_s = self._clock.monotonic()
        try:
            async with sending(request, self._guard) as got:
                took_s = self._clock.monotonic() - begun_s
                excerpt = clean_excerpt(await _read_some(got))
                return Answer(got.status, None, excerpt, read_retry_after(got.headers.get("retry-after", "")), took_s)
        except (OutboundRefused, OutboundFailed) as error:
            return Answer(None, str(error), took_s=self._clock.monotonic() - begun_s)
        except TimeoutError:
            return Answer(None, f"no answer within {TRY_S_MAX:g} s", took_s=self._clock.monotonic() - begun_s)
        except Exception as fault:  # noqa: BLE001 - the one site: whatever an address of a tenant leads to is this delivery's failure only
            self._on_fault(self.name, fault)
            return Answer(None, "the try failed", took_s=self._clock.monotonic() - begun_s)

    async def _record(self, tries: Sequence[Tried]) -> list[None]:
        for disabled in await operations.record(self._db, tries):
            self._emit(WebhookDisabled(disabled.tenant, str(disabled.webhook_id), disabled.reason))
        self._tell(tries)
        return [None] * len(tries)

    def _tell(self, tries: Sequence[Tried]) -> None:
        now_s = self._now_s()
        by_outcome: dict[tuple[str, str], list[Tried]] = {}
        for one in tries:
            status = one.verdict().status
            outcome = "retried" if status is DeliveryStatus.PENDING else status.value
            by_outcome.setdefault((one.claimed.tenant, outcome), []).append(one)
        for (tenant, outcome), some in by_outcome.items():
            first = [one for one in some if outcome == DeliveryStatus.DELIVERED and one.claimed.attempt == 1]
            delays_s = [max(0.0, now_s - one.claimed.event_at.timestamp()) for one in first]
            self._emit(WebhooksTried(tenant, outcome, len(some), delays_s))


async def _read_some(got: Got) -> bytes:
    """Read the start of an answer's body, as far as it comes within a moment."""
    data = b""
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in got.chunks:
                data += chunk
    except (OutboundRefused, OutboundFailed, TimeoutError):
        pass  # longer or slower than what is shown of it, or broken off: the status has come, and counts
    return data
