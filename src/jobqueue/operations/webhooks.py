"""Webhook endpoints as their tenant sees them: made, changed, rotated, deleted; their deliveries shown, tested, sent again."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jobqueue.domain.audit import Action, Target, changes
from jobqueue.domain.errors import InvalidFields, NotFound, WebhookDisabled, WebhooksExhausted
from jobqueue.domain.job_filter import SCANNED_ROWS_MAX
from jobqueue.domain.webhook import TEST_TYPE, delivery_id, seq_of
from jobqueue.domain.webhook_signature import SECRET_BYTES, write_secret
from jobqueue.operations import audit
from jobqueue.operations.jobs import Caller
from jobqueue.operations.webhook_secrets import SecretBox
from jobqueue.outbound.http import Guard, OutboundRefused, parse_url
from jobqueue.store import webhook_deliveries as deliveries
from jobqueue.store import webhooks as store
from jobqueue.store.pool import Database, Record, Transaction

WEBHOOKS_MAX: Final = 50
"""Of a tenant: what one event makes of deliveries at most."""
NO_SUCH_WEBHOOK: Final = "there is no such webhook"
NO_SUCH_DELIVERY: Final = "there is no such delivery"
REPLAY_S_MAX: Final = 20.0
LOCALHOST: Final = "localhost"
PORT_OF: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebhookView:
    """An endpoint; its secrets are not shown again. failing_since: nothing was taken since then."""

    webhook_id: UUID
    url: str
    description: str | None
    event_types: list[str]
    queues: list[str]
    job_types: list[str]
    state: str
    disabled_reason: str | None
    disabled_at: datetime | None
    previous_until: datetime | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery. next_at: when it is tried next; answer_*: of its last try; body: what is sent, where one delivery is asked for."""

    delivery_id: UUID
    webhook_id: UUID
    seq: int
    job_id: UUID | None
    type: str
    event_at: datetime
    status: str
    attempts: int
    next_at: datetime | None
    tried_at: datetime | None
    answer_status: int | None
    answer_excerpt: str | None
    answer_s: float | None
    error: str | None
    body: str | None = None


# --------------------------------------------------------------------------------------------------------- endpoints


def check_url(url: str, guard: Guard) -> None:
    """Refuse an address that can never be delivered to. Raises InvalidFields.

    A name is looked up at each try, not here: what it says now need not hold then.
    """
    try:
        parsed = parse_url(url)
        port = parsed.port or PORT_OF[parsed.scheme]
        if (address := _written_address(parsed.host)) is not None:
            guard.check(parsed.host, port, address)
        elif not guard.allowed and port not in guard.ports:
            raise OutboundRefused(f"port {port} is not to be reached, only {' and '.join(map(str, sorted(guard.ports)))}")
    except OutboundRefused as error:
        raise InvalidFields([("/url", str(error))]) from error


def _written_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read a host that is an address, in any form the system takes for one (127.1, 0x7f000001); None: it is a name."""
    if host.lower().rstrip(".") == LOCALHOST or host.lower().rstrip(".").endswith("." + LOCALHOST):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


async def create(
    db: Database,
    box: SecretBox,
    guard: Guard,
    caller: Caller,
    *,
    url: str,
    description: str | None,
    event_types: Sequence[str],
    queues: Sequence[str],
    job_types: Sequence[str],
    random_bytes: bytes,
) -> tuple[WebhookView, str]:
    """Make an endpoint; answers it with its secret, shown once. random_bytes: SECRET_BYTES. Raises InvalidFields, WebhooksExhausted."""
    assert len(random_bytes) == SECRET_BYTES
    check_url(url, guard)

    async def act(transaction: Transaction) -> WebhookView:
        row = await store.create(
            transaction,
            caller.tenant_id,
            url=url,
            description=description,
            event_types=sorted(set(event_types)),
            queues=sorted(set(queues)),
            job_types=sorted(set(job_types)),
            secret_sealed=box.seal(random_bytes),
            webhooks_max=WEBHOOKS_MAX,
        )
        if row is None:
            raise WebhooksExhausted(f"a tenant has at most {WEBHOOKS_MAX} webhooks; delete one that is not used any more")
        view = _view(row)
        await _note(transaction, caller, Action.WEBHOOK_CREATED, view.webhook_id, _told(view))
        return view

    return await db.in_transaction(act, tenant_id=caller.tenant_id), write_secret(random_bytes)


async def _note(transaction: Transaction, caller: Caller, action: Action, webhook_id: UUID, data: Mapping[str, Any] | None = None) -> None:
    """Leave the act's row in the audit trail."""
    await audit.record(transaction, caller.tenant_id, caller.by, action, Target("webhook", str(webhook_id)), data)


def _told(view: WebhookView) -> dict[str, Any]:
    """What the audit trail tells of an endpoint. Of its address the origin only: what follows it often is a secret."""
    parsed = parse_url(view.url)
    return {
        "origin": f"{parsed.scheme}://{parsed.netloc.decode('ascii')}",
        "event_types": view.event_types,
        "queues": view.queues,
        "job_types": view.job_types,
        "state": view.state,
    }


async def get(db: Database, tenant_id: int, webhook_id: UUID) -> WebhookView:
    """Show an endpoint. Raises NotFound."""
    return _found(await store.get(db, tenant_id, webhook_id))


async def page(db: Database, tenant_id: int, *, before_id: UUID | None, limit: int) -> list[WebhookView]:
    """List a tenant's endpoints, newest first."""
    return [_view(row) for row in await store.page(db, tenant_id, before_id=before_id, limit=limit)]


async def change(db: Database, guard: Guard, caller: Caller, webhook_id: UUID, given: Mapping[str, Any]) -> WebhookView:
    """Change what is given of url, description, event_types, queues, job_types, is_active. Raises InvalidFields, NotFound.

    Making an endpoint active, or giving it a new URL, forgets how it failed before; what waited for it is sent.
    """
    if "url" in given:
        check_url(given["url"], guard)
    lists = {name: sorted(set(given[name])) for name in ("event_types", "queues", "job_types") if name in given}
    changed = {**given, **lists, "has_description": "description" in given}

    async def act(transaction: Transaction) -> WebhookView:
        before = _found(await store.get(transaction, caller.tenant_id, webhook_id))
        view = _found(await store.change(transaction, caller.tenant_id, webhook_id, **changed))
        data = {**changes(_told(before), _told(view)), **({"url_changed": True} if before.url != view.url else {})}
        await _note(transaction, caller, Action.WEBHOOK_CHANGED, webhook_id, data)
        return view

    return await db.in_transaction(act, tenant_id=caller.tenant_id)


async def rotate(
    db: Database, box: SecretBox, caller: Caller, webhook_id: UUID, *, grace_s: float, random_bytes: bytes
) -> tuple[WebhookView, str]:
    """Give an endpoint a new secret, shown once; the one before signs beside it for grace_s more. Raises NotFound."""
    assert len(random_bytes) == SECRET_BYTES

    async def act(transaction: Transaction) -> WebhookView:
        row = await store.rotate(transaction, caller.tenant_id, webhook_id, secret_sealed=box.seal(random_bytes), grace_s=grace_s)
        view = _found(row)
        await _note(transaction, caller, Action.WEBHOOK_ROTATED, webhook_id, {"grace_seconds": grace_s})
        return view

    return await db.in_transaction(act, tenant_id=caller.tenant_id), write_secret(random_bytes)


async def delete(db: Database, caller: Caller, webhook_id: UUID) -> None:
    """Delete an endpoint; nothing is sent to it any more, and its deliveries go within hours. Raises NotFound."""

    async def act(transaction: Transaction) -> None:
        view = _found(await store.get(transaction, caller.tenant_id, webhook_id))
        if not await store.delete(transaction, caller.tenant_id, webhook_id):
            raise NotFound(NO_SUCH_WEBHOOK)  # somebody else did
        await _note(transaction, caller, Action.WEBHOOK_DELETED, webhook_id, _told(view))

    await db.in_transaction(act, tenant_id=caller.tenant_id)


def _found(row: Record | None) -> WebhookView:
    if row is None:
        raise NotFound(NO_SUCH_WEBHOOK)
    return _view(row)


def _view(row: Record) -> WebhookView:
    return WebhookView(**{name: row[name] for name in WebhookView.__slots__})


# -------------------------------------------------------------------------------------------------------- deliveries


async def test(db: Database, caller: Caller, webhook_id: UUID) -> DeliveryView:
    """Have a delivery sent that is of no job. Raises NotFound, WebhookDisabled."""

    async def act(transaction: Transaction) -> DeliveryView:
        row = await deliveries.test(transaction, caller.tenant_id, webhook_id, tenant=caller.tenant, kind=TEST_TYPE)
        if row is None:
            _found(await store.get(transaction, caller.tenant_id, webhook_id))
            raise WebhookDisabled("the webhook is disabled: nothing is sent to it; make it active first")
        view = _delivery(webhook_id, row)
        await _note(transaction, caller, Action.WEBHOOK_TESTED, webhook_id, {"delivery": str(view.delivery_id)})
        return view

    return await db.in_transaction(act, tenant_id=caller.tenant_id)


async def list_deliveries(
    db: Database, tenant_id: int, webhook_id: UUID, *, before_seq: int | None, limit: int, filters: Mapping[str, Any]
) -> tuple[list[DeliveryView], int | None]:
    """List an endpoint's deliveries, newest first, and the number to go on before. Raises NotFound.

    filters: statuses, types, job_id, after, until (of the event); None each: any.
    """
    await get(db, tenant_id, webhook_id)
    rows, next_seq = await deliveries.page(
        db, tenant_id, webhook_id, before_seq=before_seq, rows_max=SCANNED_ROWS_MAX, limit=limit, filters=filters
    )
    return [_delivery(webhook_id, row) for row in rows], next_seq


async def get_delivery(db: Database, tenant_id: int, webhook_id: UUID, delivery: UUID) -> DeliveryView:
    """Show a delivery with what is sent. Raises NotFound."""
    await get(db, tenant_id, webhook_id)
    return _found_delivery(webhook_id, await deliveries.get(db, tenant_id, webhook_id, _seq(webhook_id, delivery)))


async def replay(db: Database, caller: Caller, webhook_id: UUID, delivery: UUID, *, now: datetime | None = None) -> DeliveryView:
    """Send a delivery again, under its id and from its first try on. Raises NotFound."""

    async def act(transaction: Transaction) -> DeliveryView:
        _found(await store.get(transaction, caller.tenant_id, webhook_id))
        seq = _seq(webhook_id, delivery)
        view = _found_delivery(webhook_id, await deliveries.replay(transaction, caller.tenant_id, webhook_id, seq, now=now))
        await _note(transaction, caller, Action.WEBHOOK_REPLAYED, webhook_id, {"delivery": str(delivery), "count": 1})
        return view

    return await db.in_transaction(act, tenant_id=caller.tenant_id)


async def replay_all(
    db: Database,
    caller: Caller,
    webhook_id: UUID,
    *,
    statuses: Sequence[str],
    after: datetime | None,
    until: datetime | None,
    before_seq: int | None,
    now: datetime | None = None,
) -> tuple[int, int | None]:
    """Send deliveries of a range of time again, the newest first; answers how many, and the number to go on before. Raises NotFound."""

    async def act(transaction: Transaction) -> tuple[int, int | None]:
        _found(await store.get(transaction, caller.tenant_id, webhook_id))
        count, next_seq = await deliveries.replay_all(
            transaction,
            caller.tenant_id,
            webhook_id,
            statuses=statuses,
            after=after,
            until=until,
            before_seq=before_seq,
            rows_max=SCANNED_ROWS_MAX,
            now=now,
        )
        data = {"count": count, "statuses": list(statuses), "after": after, "before": until}
        await _note(transaction, caller, Action.WEBHOOK_REPLAYED, webhook_id, data)
        return count, next_seq

    return await db.in_transaction(act, deadline_s=REPLAY_S_MAX, tenant_id=caller.tenant_id)


def _seq(webhook_id: UUID, delivery: UUID) -> int:
    seq = seq_of(webhook_id, delivery)
    if seq is None:
        raise NotFound(NO_SUCH_DELIVERY)
    return seq


def _found_delivery(webhook_id: UUID, row: Record | None) -> DeliveryView:
    if row is None:
        raise NotFound(NO_SUCH_DELIVERY)
    return _delivery(webhook_id, row)


def _delivery(webhook_id: UUID, row: Record) -> DeliveryView:
    values = {name: row[name] for name in DeliveryView.__slots__ if name in row}
    return DeliveryView(delivery_id=delivery_id(webhook_id, row["seq"]), webhook_id=webhook_id, **values)
