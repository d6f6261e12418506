"""The audit trail on the line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from jobqueue.domain.audit import Action, ActorKind
from jobqueue.protocol.wire import Answered, Moment


class AuditActor(Answered):
    """Who acted. To a tenant, an operator and a command line are only their kind."""

    kind: ActorKind
    id: str | None = Field(description="The key's or the user's; on the command line the machine's user.")
    name: str | None = Field(description="What the key is for; the user's email address.")


class AuditTarget(Answered):
    """What was acted on."""

    kind: Literal["job", "queue", "api_key", "user", "tenant", "worker", "database"]
    id: str | None = Field(description="null: many, or one that does not exist.")


class AuditEntry(Answered):
    """One act of a user, an operator or a command line."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    at: Moment
    tenant_id: str | None = Field(description="Whose thing it was done to; null: no tenant's in particular.")
    actor: AuditActor
    action: Action
    target: AuditTarget
    request_id: str | None
    correlation_id: str | None
    address: str | None = Field(description="Where it came from.")
    data: dict[str, Any] = Field(description="What changed. A field over 1,000 bytes is replaced by its size, `left_out_bytes`.")


class AuditPage(Answered):
    """A page of the audit trail, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
    has_more: bool
