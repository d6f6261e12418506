"""What the routes need from below; made by apps, handed to create_app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jobqueue.aio.clock import Clock
from jobqueue.api.live.joining import Joiner
from jobqueue.api.tokens import TokenSigner
from jobqueue.domain.access import Principal
from jobqueue.domain.rotation import Lane
from jobqueue.operations.api_keys import KeyRing
from jobqueue.operations.database import Database
from jobqueue.operations.leases import LeaseTerms
from jobqueue.operations.naming import NameBook
from jobqueue.operations.passwords import Passwords
from jobqueue.operations.polls import PollHub
from jobqueue.operations.rates import RateLimiter
from jobqueue.operations.readiness import Readiness
from jobqueue.operations.submit import Submitter
from jobqueue.operations.users import UserRing
from jobqueue.operations.waiting import EndWaiter
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.traces import Traces


@dataclass(frozen=True, slots=True)
class TenantDefaults:
    """Limits from the settings, of tenants that have none of their own nor by their plan; 0: none."""

    max_concurrent: int = 0
    max_queued: int = 0
    rate_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Values of the settings the door needs. tenant_cap: running jobs of a tenant that has no limit of its own, 0 none.

    worker_concurrency: jobs at once of a worker, for queues no living worker takes.
    """

    tenant_cap: int
    cancel_grace_s: float
    is_metrics_open: bool
    worker_concurrency: int
    is_registration_open: bool = False
    tenant: TenantDefaults = TenantDefaults()


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything below the door.

    terms: what leases are granted under. wake is told the lane of a job that was sent back to the queue. render_metrics writes all series,
    or those of a reader's tenant. webhook_guard says what webhooks may be delivered to. traces None: nobody keeps any.
    """

    db: Database
    names: NameBook
    submitter: Submitter
    end_waiter: EndWaiter
    polls: PollHub
    terms: LeaseTerms
    joiner: Joiner
    keys: KeyRing
    rates: RateLimiter
    users: UserRing
    passwords: Passwords
    tokens: TokenSigner
    webhook_secrets: SecretBox
    webhook_guard: Guard
    limits: ApiLimits
    clock: Clock
    telemetry: Telemetry
    wake: Callable[[Lane], None]
    render_metrics: Callable[[Principal | None], Awaitable[bytes]]
    readiness: Callable[[], Awaitable[Readiness]]
    traces: Traces | None = None
