"""Webhook endpoints and their deliveries on the line (CONTRACT 3.5)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from jobqueue.protocol.jobs import JobType, QueueName
from jobqueue.protocol.wire import Answered, Asked, Moment

URL_CHARACTERS_MAX: Final = 2_048
DESCRIPTION_CHARACTERS_MAX: Final = 200
VALUES_MAX: Final = 50
GRACE_S_MAX: Final = 7 * 86_400.0
GRACE_S: Final = 86_400.0

EventType = Literal[
    "job.submitted", "job.blocked", "job.queued", "job.leased", "job.started", "job.failed", "job.succeeded", "job.snoozed",
    "job.released", "job.lease_expired", "job.cancel_requested", "job.cancelled", "job.expired", "job.dlq", "job.retried", "job.updated",
    "job.force_succeeded",
]  # fmt: skip
DeliveryType = EventType | Literal["webhook.test"]
DeliveryStatus = Literal["pending", "delivered", "failed", "skipped"]
Url = Annotated[str, StringConstraints(min_length=1, max_length=URL_CHARACTERS_MAX, pattern=r"^https?://")]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_CHARACTERS_MAX)]
EventTypes = Annotated[list[EventType], Field(max_length=VALUES_MAX)]
Queues = Annotated[list[QueueName], Field(max_length=VALUES_MAX)]
JobTypes = Annotated[list[JobType], Field(max_length=VALUES_MAX)]

WHERE: Final = "Where events are sent: http or https, port 80 or 443, a public address unless the server's settings allow others."
WHICH: Final = "Which events; an empty list is every one."


class WebhookRequest(Asked):
    """An endpoint to be made. Of several values of one kind one is enough, and every kind has to agree."""

    url: Url = Field(description=WHERE, json_schema_extra={"format": "uri"})
    description: Description | None = Field(default=None, description="What it is for.")
    event_types: EventTypes = Field(default_factory=list, description=WHICH)
    queues: Queues = Field(default_factory=list, description="Of jobs of which queues; an empty list is every one.")
    job_types: JobTypes = Field(default_factory=list, description="Of jobs of which types; an empty list is every one.")


class WebhookChange(Asked):
    """What to change of an endpoint; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: Url = Field(default="", description=WHERE, json_schema_extra={"format": "uri"})
    description: Description | None = None
    event_types: EventTypes = Field(default_factory=list, description=WHICH)
    queues: Queues = Field(default_factory=list)
    job_types: JobTypes = Field(default_factory=list)
    state: Literal["active", "disabled"] = Field(
        default="active", description="`disabled`: nothing is sent. `active` again: what waited is sent, what came meanwhile by a replay."
    )


class Webhook(Answered):
    """An endpoint, without its secret."""

    id: UUID
    url: str
    description: str | None
    event_types: list[str]
    queues: list[str]
    job_types: list[str]
    state: Literal["active", "disabled"]
    disabled_reason: Literal["asked", "gone", "failing"] | None = Field(
        description="`gone`: it answered 410. `failing`: it took nothing for five days."
    )
    disabled_at: Moment | None
    failing_since: Moment | None = Field(description="It took nothing since then.")
    previous_secret_until: Moment | None = Field(description="Until then the secret before the last rotation signs, too.")
    created_at: Moment
    updated_at: Moment


class WebhookWithSecret(Webhook):
    """An endpoint with its new secret, which is shown here and never again."""

    secret: str = Field(repr=False, description="`whsec_` and base64, as the libraries of Standard Webhooks take it.")


class WebhooksPage(Answered):
    """The tenant's endpoints, newest first."""

    items: list[Webhook]
    next_cursor: str | None
    has_more: bool


class RotateRequest(Asked):
    """How an endpoint's secret is replaced."""

    grace_seconds: float = Field(default=GRACE_S, ge=0, le=GRACE_S_MAX, description="For so long the old secret signs beside the new one.")


class Delivery(Answered):
    """An event for one endpoint. Its id is the `webhook-id` it is sent under, each time."""

    id: UUID
    webhook_id: UUID
    job_id: UUID | None
    type: str
    event_at: Moment
    status: DeliveryStatus = Field(description="`failed`: given up. `skipped`: its endpoint was disabled when it came up.")
    attempts: int
    next_attempt_at: Moment | None = Field(description="Of a pending one. While it is being tried: when that is taken for lost.")
    last_attempt_at: Moment | None
    response_status: int | None = Field(description="Of the last try; null when there was no answer.")
    response_excerpt: str | None
    response_seconds: float | None
    error: str | None = Field(description="Why the last try was no success.")


class DeliveryWithPayload(Delivery):
    """A delivery with what is sent."""

    payload: dict[str, Any]


class DeliveriesPage(Answered):
    """An endpoint's deliveries, newest first."""

    items: list[Delivery]
    next_cursor: str | None
    has_more: bool


class WebhookReplay(Asked):
    """Which deliveries of an endpoint to send again."""

    after: Moment | None = Field(default=None, description="Of events at this moment or later.")
    before: Moment | None = Field(default=None, description="Of events before this moment.")
    status: list[Literal["delivered", "failed", "skipped"]] = Field(
        default=["failed", "skipped"], min_length=1, max_length=3, description="How they stand."
    )
    cursor: str | None = Field(default=None, max_length=200, description="The `next_cursor` of the call before.")


class ReplayCount(Answered):
    """How many deliveries are sent again; next_cursor: call again with it for the older ones."""

    count: int
    next_cursor: str | None
