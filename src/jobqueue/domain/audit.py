"""The audit trail: which acts leave a row, and what stands in it.

What people and operators do is written down in the transaction that does it. The hot path is not: submits, claims, heartbeats and settles
have the job's own history. No row holds a secret, a payload or anything a caller may have typed into the wrong field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

NOBODYS: Final = 0
"""The number that stands for no tenant: an act that is none's in particular."""
TEXT_CHARACTERS_MAX: Final = 200
"""Of a reason or any other text that a person wrote; the rest is cut."""
FIELD_BYTES_MAX: Final = 1_000
"""Of one field of a row's data, as compact JSON; a longer one is left out and its size is told."""
FIELDS_MAX: Final = 12


class ActorKind(StrEnum):
    """What an act was done with."""

    USER = "user"
    KEY = "key"
    OPERATOR = "operator"
    """A credential that crosses tenants."""
    CLI = "cli"
    """A command on the database itself."""
    SYSTEM = "system"
    """A program of the product or around it, without a credential: `jobqueue dev` makes its demo tenant."""
    UNKNOWN = "unknown"
    """Whoever tried to log in."""


class Action(StrEnum):
    """Everything that leaves a row. A value never changes: it is in the rows, and people filter by it."""

    JOB_CANCELLED = "job.cancelled"
    JOB_RETRIED = "job.retried"
    JOB_UPDATED = "job.updated"
    JOB_FORCE_SUCCEEDED = "job.force_succeeded"
    JOBS_CANCELLED = "jobs.cancelled"
    DLQ_REPLAYED = "dlq.replayed"
    QUEUE_CHANGED = "queue.changed"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    API_KEY_CREATED = "api_key.created"
    API_KEY_DELETED = "api_key.deleted"
    USER_REGISTERED = "user.registered"
    USER_LOGGED_IN = "user.logged_in"
    USER_LOGIN_FAILED = "user.login_failed"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    TENANT_CREATED = "tenant.created"
    TENANT_CHANGED = "tenant.changed"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_ROTATED = "webhook.secret_rotated"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REPLAYED = "webhook.replayed"
    WORKER_QUIETED = "worker.quieted"
    WORKER_TERMINATED = "worker.terminated"
    DATABASE_SET_RIGHT = "database.set_right"


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, with what, and from where. id: a key's or user's; name: what the key is for, the user's email address.

    address: the other end of the connection, or the machine a command was given on.
    """

    kind: ActorKind
    id: str | None = None
    name: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    address: str | None = None


SYSTEM: Final = Author(ActorKind.SYSTEM)


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted on; id None: many, or one that does not exist."""

    kind: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows. None: any. since: this moment or later; until: before it. The tenant is not part of it."""

    actor: str | None = None
    action: Action | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act. tenant None: it is none's in particular."""

    audit_id: UUID
    at: datetime
    tenant: str | None
    author: Author
    action: str
    target: Target
    data_json: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Answer what is another value now, each with the old and the new one."""
    return {name: {"old": before[name], "new": value} for name, value in after.items() if before[name] != value}


def cut(text: str | None) -> str | None:
    """Bound a text that a person wrote."""
    return text if text is None or len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"
