"""The reaper role: the services of time, the metrics port. Composition only."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import uuid4

from jobqueue.aio.clock import SystemClock
from jobqueue.aio.supervise import run_services
from jobqueue.apps.database import lease_terms, opened, submit_defaults
from jobqueue.apps.loop_meter import LoopMeter
from jobqueue.apps.metrics_port import MetricsPort
from jobqueue.apps.process import fault_teller, make_telemetry, watch_database
from jobqueue.apps.signals import Stops
from jobqueue.config import Settings
from jobqueue.domain.addresses import parse_networks
from jobqueue.operations.database import open_database
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard, resolver
from jobqueue.reaper.events import LeaderElected, LeaderResigned
from jobqueue.reaper.leader import ROLE, WEBHOOKS, Leader
from jobqueue.reaper.services import CONNECTIONS, WebhookTerms, build_services
from jobqueue.telemetry.events import Telemetry
from jobqueue.telemetry.logs import get_logger
from jobqueue.telemetry.metrics import Metrics

SECONDS_PER_DAY: Final = 24 * 3600.0
DIRECT_CONNECTIONS: Final = 2
RESOLVER_THREADS: Final = 64
"""Look-ups of names at once: some servers of names are slow to say that there is none such."""
STOP_S_MAX: Final = 2.0
"""For one service to end; what it was at is one transaction, done or undone."""


async def serve(settings: Settings, stops: Stops) -> None:
    """Keep time until stopped. Raises JobQueueError."""
    assert settings.direct_url is not None
    telemetry, metrics = make_telemetry()
    async with opened(settings, size=CONNECTIONS, purpose="reaper") as db:
        direct_db = await open_database(settings.direct_url, size=DIRECT_CONNECTIONS, application_name="jobqueue-leader")
        try:
            clock, on_fault = SystemClock(), fault_teller(telemetry)
            leader = Leader(direct_db, holder=uuid4(), clock=clock, on_fault=on_fault, emit=telemetry.emit)
            webhook_leader = Leader(direct_db, holder=uuid4(), clock=clock, on_fault=on_fault, emit=telemetry.emit, role=WEBHOOKS)
            show_the_whole_queue(telemetry, metrics, leader)
            metrics.leads_webhooks = lambda: webhook_leader.is_leader
            watch_database(telemetry, metrics, db)
            services = build_services(
                db,
                lease_terms(settings),
                submit_defaults(settings),
                leader=leader,
                webhook_leader=webhook_leader,
                retention_s=settings.retention_days * SECONDS_PER_DAY,
                webhooks=_webhook_terms(settings),
                audit_retention_s=max(settings.audit_retention_days, settings.retention_days) * SECONDS_PER_DAY,
                clock=clock,
                on_fault=on_fault,
                emit=telemetry.emit,
            )
            port = MetricsPort(settings.metrics_port, db=db, metrics=metrics, is_draining=stops.stop.is_set)
            await run_services([port, LoopMeter(clock, telemetry), *services], stops.stop, stop_s_max=STOP_S_MAX)
        finally:
            await direct_db.close()


def _webhook_terms(settings: Settings) -> WebhookTerms | None:
    """What webhooks are sent under; None without the API's secret key, which their secrets are sealed with."""
    if not settings.api_secret_keys:
        get_logger().warning("webhooks.left_out", remedy="give this reaper JOBQUEUE_API_SECRET_KEY, or run another one that has it")
        return None
    threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
    return WebhookTerms(
        box=SecretBox(settings.api_secret_keys),
        guard=Guard(allowed=parse_networks(settings.webhook_networks), resolve=resolver(threads)),
        now_s=time.time,
        kept_s=settings.webhook_retention_days * SECONDS_PER_DAY,
    )


def show_the_whole_queue(telemetry: Telemetry, metrics: Metrics, leader: Leader) -> None:
    """Have the metrics show the whole queue's gauges while this process leads, each term's from its own first look on."""
    metrics.watch_leader(lambda: leader.is_leader)

    def forget(event: LeaderElected | LeaderResigned) -> None:
        if event.role == ROLE:
            metrics.whole.forget()

    telemetry.subscribe(LeaderElected, forget)
    telemetry.subscribe(LeaderResigned, forget)
