"""Tickets for live streams: a browser cannot send a header with a WebSocket, and a token in an address ends up in logs.

A ticket opens one stream within half a minute, for whoever asked for it. Any process may have made it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from jobqueue.domain.access import Principal, Scope
from jobqueue.domain.errors import Unauthenticated
from jobqueue.store import feed as store
from jobqueue.store.pool import Database

TICKET_LIVES_S: Final = 30
TICKET_BYTES: Final = 32


async def create(db: Database, principal: Principal, *, credential_expires_at_s: float | None, random_bytes: bytes) -> str:
    """Make a ticket that speaks for the principal as long as its credential does. credential_expires_at_s: Unix time, None: never."""
    assert len(random_bytes) == TICKET_BYTES
    ticket = base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode("ascii")
    await store.create_ticket(
        db,
        ticket_sha256=_hash(ticket),
        tenant_id=principal.tenant_id,
        kind=principal.kind,
        holder_id=principal.id,
        scopes=sorted(principal.scopes),
        credential_expires_at=None if credential_expires_at_s is None else datetime.fromtimestamp(credential_expires_at_s, UTC),
        lives_s=TICKET_LIVES_S,
    )
    return ticket


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Whom a ticket spoke for, and until when (Unix time, None: no end)."""

    principal: Principal
    credential_expires_at_s: float | None


async def redeem(db: Database, ticket: str) -> Redeemed:
    """Use a ticket up. Raises Unauthenticated for one that is unknown, used or too old."""
    row = await store.redeem_ticket(db, _hash(ticket))
    if row is None:
        raise Unauthenticated("the credential is not valid")
    principal = Principal(row["kind"], row["holder_id"], row["tenant_id"], row["tenant"], frozenset(map(Scope, row["scopes"])))
    expires_at = row["credential_expires_at"]
    return Redeemed(principal, None if expires_at is None else expires_at.timestamp())


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
