"""The API role: the HTTP door, the submitter and the waker behind it, the metrics port. Composition only."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import Service, run_services
from jobqueue.api.app import create_app
from jobqueue.api.live.hub import Hub
from jobqueue.api.live.joining import Joiner
from jobqueue.api.services import ApiLimits, ApiServices, TenantDefaults
from jobqueue.api.tokens import TokenSigner
from jobqueue.apps.database import lease_terms, opened, submit_defaults
from jobqueue.apps.http_server import HttpServer, bind, make_room
from jobqueue.apps.loop_meter import LoopMeter
from jobqueue.apps.metrics_page import MetricsPage
from jobqueue.apps.metrics_port import MetricsPort
from jobqueue.apps.process import make_telemetry, watch_database
from jobqueue.apps.tracing import traced
from jobqueue.apps.version import own_version
from jobqueue.config import Settings
from jobqueue.domain.access import Principal
from jobqueue.domain.addresses import parse_networks
from jobqueue.operations import server
from jobqueue.operations.api_keys import KeyRing
from jobqueue.operations.feed import FeedTailer
from jobqueue.operations.naming import NameBook
from jobqueue.operations.passwords import Passwords
from jobqueue.operations.polls import PollHub
from jobqueue.operations.rates import RateLimiter
from jobqueue.operations.readiness import ReadinessProbe
from jobqueue.operations.submit import Submitter
from jobqueue.operations.users import UserRing
from jobqueue.operations.vacancies import Vacancies
from jobqueue.operations.waiting import EndWaiter
from jobqueue.operations.wakeups import Ear, Waker
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.metrics import Metrics
from jobqueue.telemetry.traces import Traces

CONNECTIONS: Final = 10
"""Two for submits under way, one for wake-ups, one for rates, the rest for reads."""
STOP_MARGIN_S: Final = 6.0
"""What a service may take beyond the shutdown grace: the submitter stores what it has taken."""


async def serve(settings: Settings, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Answer requests until stopped, then drain. Raises StartRefused, JobQueueError."""
    with bind(host, port) as listener, traced("api", os.environ) as traces:
        telemetry, metrics = make_telemetry()
        await serve_on(settings, listener, stop, telemetry, metrics, traces)


async def serve_on(
    settings: Settings,
    listener: socket.socket,
    stop: asyncio.Event,
    telemetry: Telemetry,
    metrics: Metrics,
    traces: Traces | None = None,
) -> None:
    """Answer requests that come to an address already taken; else as serve."""
    assert settings.direct_url is not None
    async with opened(settings, size=CONNECTIONS, purpose="api") as db:
        clock = SystemClock()
        watch_database(telemetry, metrics, db)
        waker = Waker(db, clock=clock, here=lambda lanes: polls.heard(lanes))
        names, keys, users = NameBook(db), KeyRing(db, clock=clock), UserRing(db, clock=clock)
        rings: dict[str, KeyRing | UserRing] = {"key": keys, "user": users}
        hub = Hub(still_lives=lambda holder: rings[holder.kind].still_lives(holder.id), now_s=time.time, clock=clock, telemetry=telemetry)
        tailer = FeedTailer(db, watched=hub.watched, deliver=hub.deliver, restarted=hub.restart, clock=clock, telemetry=telemetry)
        terms = lease_terms(settings)
        vacancies = Vacancies(waker, sender=random.getrandbits(31), clock=clock)
        polls = PollHub(db, names, terms, clock=clock, wake=waker.wake, vacancies=vacancies)
        ear = Ear(settings.direct_url, heard=polls.heard, noted=polls.noted, reconnected=lambda: polls.heard(None), clock=clock)
        below = ApiServices(
            db=db,
            names=names,
            submitter=Submitter(db, names, submit_defaults(settings), clock=clock, wake=waker.wake, tell=telemetry.emit),
            end_waiter=EndWaiter(db, clock=clock),
            polls=polls,
            terms=terms,
            rates=RateLimiter(db, default_per_minute=settings.rate_limit_requests_per_minute, holder=uuid4(), clock=clock),
            joiner=Joiner(db, hub, tailer, tenant_cap=settings.tenant_max_concurrent),
            keys=keys,
            users=users,
            passwords=Passwords(),
            tokens=TokenSigner(settings.api_secret_keys, now_s=time.time),
            webhook_secrets=SecretBox(settings.api_secret_keys),
            webhook_guard=Guard(allowed=parse_networks(settings.webhook_networks)),
            limits=_limits(settings),
            clock=clock,
            telemetry=telemetry,
            wake=waker.wake,
            render_metrics=_shown_to(MetricsPage(db, metrics, peers=_peers(settings), clock=clock)),
            readiness=ReadinessProbe(db, needed=server.SCHEMA_NEEDED, is_draining=stop.is_set, clock=clock).ask,
            traces=traces,
        )
        app = create_app(below, version=own_version())
        door = HttpServer(app, listener, name="api", drain_s_max=settings.shutdown_grace_seconds, limits=make_room())
        machines = MetricsPort(settings.metrics_port, db=db, metrics=metrics, is_draining=stop.is_set)
        # ended in reverse: streams and those who wait are let go, then the door, so that everything taken in is still stored and told
        services: list[Service] = [
            machines,
            LoopMeter(clock, telemetry),
            below.submitter,
            waker,
            below.rates,
            tailer,
            door,
            below.end_waiter,
            polls,
            ear,
            hub,
        ]
        await run_services(services, stop, stop_s_max=settings.shutdown_grace_seconds + STOP_MARGIN_S)


def _limits(settings: Settings) -> ApiLimits:
    return ApiLimits(
        tenant_cap=settings.tenant_max_concurrent,
        cancel_grace_s=settings.cancel_grace_seconds,
        is_metrics_open=settings.metrics_open,
        worker_concurrency=settings.worker_concurrency,
        is_registration_open=settings.registration == "open",
        tenant=TenantDefaults(
            max_concurrent=settings.tenant_max_concurrent,
            max_queued=settings.tenant_max_queued,
            rate_per_minute=settings.rate_limit_requests_per_minute,
        ),
    )


def _peers(settings: Settings) -> list[tuple[str, int]]:
    return [(host.strip("[]"), int(port)) for host, _, port in (word.rpartition(":") for word in settings.metrics_peers)]


def _shown_to(page: MetricsPage) -> Callable[[Principal | None], Awaitable[bytes]]:
    """Write the page for a reader: one tenant's, or None, who sees all."""

    async def render(reader: Principal | None) -> bytes:
        return await page.everything() if reader is None else await page.of_tenant(reader.tenant, reader.tenant_id)

    return render
