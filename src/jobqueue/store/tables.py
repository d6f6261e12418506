"""The one definition of the tables; Alembic's migrations are compared with it.

State is where the row is (docs/adr/0001). A job's immutable part is a row of `job`; besides it stands in exactly one place:
`ready` or `parked` (queued), `scheduled` (scheduled, failed), `blocked`, `lease` (leased, running), `ended` (dlq, cancelled, expired), or
in none, and then its newest `outcome` is its success. A transition deletes here and inserts there in one statement.

Invariants that statements rely on:
- ready, parked, scheduled, blocked are INSERT and DELETE only: claim deletes by ctid without a row lock.
- LOCK ORDER everywhere: tenant (skipped when locked, but for settings) -> concurrency key -> place row -> lease row.
- claim_seq and event.seq come from sequences with CACHE 1, so they rise with the locks they are drawn under.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, TIMESTAMP
from sqlalchemy.schema import SchemaItem

SCHEMA: Final = "jobqueue"

metadata: Final = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "ix": "%(table_name)s_%(column_0_N_name)s",
    },
)

Moment = TIMESTAMP(timezone=True)
NOW: Final = text("clock_timestamp()")
NAME: Final = "~ '^[A-Za-z0-9_.:-]{1,100}$'"

HOT: Final = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.5",
    "vacuum_truncate": "off",
}
"""Storage settings of the hot place tables: vacuum by count, at full speed, never truncating (that takes ACCESS EXCLUSIVE)."""

LARGE: Final = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "10000"}
"""Of tables that hold millions of rows and lose some of them all the time: a fiftieth dead, not a fifth."""

claim_seq = Sequence("claim_seq", schema=SCHEMA, metadata=metadata, cache=1)
event_seq = Sequence("event_seq", schema=SCHEMA, metadata=metadata, cache=1)
outcome_seq = Sequence("outcome_seq", schema=SCHEMA, metadata=metadata, cache=1)

# --- names: text outside, ints inside --------------------------------------------------------------------------------

plan = Table(
    "plan",
    metadata,
    Column("name", Text, primary_key=True),
    Column("weight", SmallInteger, nullable=False),
    Column("max_concurrent", Integer),
    Column("max_queued", Integer),
    Column("rate_per_minute", Integer),
    CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
    comment="Limits a tenant inherits where it has none of its own; null: the settings decide.",
)

tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("plan", Text, nullable=False, server_default=text("'free'")),
    Column("weight", SmallInteger, nullable=False, server_default=text("1")),
    Column("max_concurrent", Integer),
    Column("max_queued", Integer),
    Column("rate_per_minute", Integer),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    UniqueConstraint("name"),
    CheckConstraint("name ~ '^[a-z0-9-]{1,63}$'", name="name"),
    CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
    CheckConstraint("max_concurrent >= 0 AND max_queued >= 0 AND rate_per_minute >= 0", name="limits"),
    comment="The gate of a tenant's claims: locked, never counted up. A limit of 0 is none, null is the plan's.",
)

queue = Table(
    "queue",
    metadata,
    Column("queue_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    UniqueConstraint("name"),
    CheckConstraint("name ~ '^[A-Za-z0-9_.-]{1,100}$'", name="name"),
    comment="A queue's name; tenants share the number, so one scan of lanes serves them all.",
)

tenant_queue = Table(
    "tenant_queue",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("is_paused", Boolean, nullable=False, server_default=text("false")),
    Column("max_concurrent", Integer),
    Column("key_max_concurrent", Integer, nullable=False, server_default=text("1")),
    Column("rate_per_second", Double),
    Column("max_attempts", SmallInteger),
    Column("retry_base_s", Double),
    Column("rate_tokens", Double, nullable=False, server_default=text("0")),
    Column("rated_at", Moment, nullable=False, server_default=text("'epoch'")),
    PrimaryKeyConstraint("tenant_id", "queue_id"),
    CheckConstraint("max_concurrent >= 0 AND key_max_concurrent >= 1", name="concurrency"),
    CheckConstraint("rate_per_second > 0 AND max_attempts >= 1 AND retry_base_s >= 0", name="limits"),
    comment="One tenant's settings of one queue; changed under the tenant's gate. No row: all defaults. "
    "rate_*: the bucket of starts a second.",
)

job_type = Table(
    "job_type",
    metadata,
    Column("type_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    UniqueConstraint("name"),
    CheckConstraint(f"name {NAME}", name="name"),
)

concurrency_key = Table(
    "concurrency_key",
    metadata,
    Column("key_id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("tenant_id", "queue_id", "name"),
    comment="The gate of a key's claims: locked, never counted up.",
)

worker = Table(
    "worker",
    metadata,
    Column("worker_id", Integer, Identity(always=True), primary_key=True),
    Column("tenant_id", Integer),
    Column("name", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("job_types", ARRAY(Text), nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("version", Text),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("directive", Text, nullable=False, server_default=text("'run'")),
    Column("started_at", Moment, nullable=False, server_default=NOW),
    Column("last_heartbeat_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint("state IN ('running', 'quiet', 'stopped')", name="state"),
    CheckConstraint("directive IN ('run', 'quiet', 'terminate')", name="directive"),
    CheckConstraint(f"name {NAME}", name="name"),
    comment="Who works. tenant_id null: a database worker, it serves all tenants.",
)
Index("worker_name", text("coalesce(tenant_id, 0)"), worker.c.name, unique=True)

# --- the job -----------------------------------------------------------------------------------------------------------

job = Table(
    "job",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("type_id", Integer, nullable=False),
    Column("key_id", BigInteger),
    Column("workflow_id", Uuid),
    Column("priority", SmallInteger, nullable=False),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("timeout_s", Integer),
    Column("scheduled_at", Moment),
    Column("idempotency_key", Text),
    Column("correlation_id", Text),
    Column("traceparent", Text),
    Column("tags", ARRAY(Text)),
    Column("metadata", JSON),
    Column("data", JSON, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id"),
    CheckConstraint("priority BETWEEN 0 AND 3", name="priority"),
    CheckConstraint("max_attempts >= 1", name="max_attempts"),
    postgresql_partition_by="RANGE (job_id)",
    comment="What was submitted. created_at is in the id. Not updated on the hot path.",
)
Index("job_by_type", job.c.tenant_id, job.c.type_id, job.c.job_id)


def _place(name: str, *own: SchemaItem, comment: str) -> Table:
    """A place a waiting job can stand in. All places carry the same columns, so a job moves by INSERT ... SELECT."""
    return Table(
        name,
        metadata,
        Column("sort_at", Moment, nullable=False),
        Column("job_id", Uuid, nullable=False),
        Column("queue_id", Integer, nullable=False),
        Column("type_id", Integer, nullable=False),
        Column("tenant_id", Integer, nullable=False),
        Column("band", SmallInteger, nullable=False),
        Column("priority", SmallInteger, nullable=False),
        Column("attempt", SmallInteger, nullable=False),
        Column("attempts_max", SmallInteger, nullable=False),
        Column("crashes", SmallInteger, nullable=False),
        Column("key_id", BigInteger),
        Column("start_by", Moment),
        *own,
        CheckConstraint(f"attempt >= 0 AND attempt {'<=' if name == 'ended' else '<'} attempts_max AND crashes >= 0", name="attempts"),
        CheckConstraint("priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0)", name="band"),
        comment=comment,
        postgresql_with=LARGE if name == "ended" else HOT,
    )


ready = _place(
    "ready",
    comment="Due jobs. band: priority + 4 with a concurrency key + 8 when it came back with its old sort_at (no claim floor applies).",
)
Index("ready_claim", ready.c.queue_id, ready.c.type_id, ready.c.tenant_id, ready.c.band, ready.c.sort_at, ready.c.job_id)
Index("ready_job", ready.c.tenant_id, ready.c.job_id, unique=True)
Index("ready_key", ready.c.key_id, postgresql_where=ready.c.key_id.isnot(None))
Index("ready_start_by", ready.c.start_by, postgresql_where=ready.c.start_by.isnot(None))

parked = _place("parked", comment="Due jobs over their concurrency key's limit, out of the head of their lane.")
Index("parked_key", parked.c.key_id, parked.c.priority, parked.c.sort_at, parked.c.job_id)
Index("parked_job", parked.c.tenant_id, parked.c.job_id, unique=True)
Index("parked_start_by", parked.c.start_by, postgresql_where=parked.c.start_by.isnot(None))

scheduled = _place(
    "scheduled",
    Column("run_at", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    CheckConstraint("reason IN ('asked', 'retry', 'snooze')", name="reason"),
    comment="Jobs that wait for a time. reason retry reads as failed, the others as scheduled.",
)
Index("scheduled_due", scheduled.c.run_at)
Index("scheduled_job", scheduled.c.tenant_id, scheduled.c.job_id, unique=True)
Index("scheduled_start_by", scheduled.c.start_by, postgresql_where=scheduled.c.start_by.isnot(None))

blocked = _place(
    "blocked",
    Column("waits_for", Integer, nullable=False),
    CheckConstraint("waits_for >= 1", name="waits_for"),
    comment="Jobs that wait for other jobs; waits_for counts those not done.",
)
Index("blocked_job", blocked.c.tenant_id, blocked.c.job_id, unique=True)
Index("blocked_start_by", blocked.c.start_by, postgresql_where=blocked.c.start_by.isnot(None))

ended = _place(
    "ended",
    Column("status", Text, nullable=False),
    Column("ended_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint("status IN ('dlq', 'cancelled', 'expired')", name="status"),
    comment="Jobs that rest; the row a retry deletes, so of two retries one wins.",
)
Index("ended_job", ended.c.tenant_id, ended.c.job_id, unique=True)
Index("ended_status", ended.c.tenant_id, ended.c.status, ended.c.job_id)

inbox = Table(
    "inbox",
    metadata,
    Column("job_id", Uuid, nullable=False, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("run_at", Moment),
    Column("start_by", Moment),
    Column("queue", Text, nullable=False),
    Column("job_type", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("max_attempts", SmallInteger),
    Column("timeout_s", Integer),
    Column("concurrency_key", Text),
    Column("idempotency_key", Text),
    Column("correlation_id", Text),
    Column("traceparent", Text),
    Column("tags", ARRAY(Text)),
    Column("metadata", JSON),
    Column("data", JSON, nullable=False),
    comment="Jobs submitted inside a caller's own transaction, names and all, until it has committed and they are moved on.",
    postgresql_with=HOT,
)

lease = Table(
    "lease",
    metadata,
    Column("job_id", Uuid, primary_key=True),
    Column("token", Uuid, nullable=False),
    Column("claim_seq", BigInteger, nullable=False),
    Column("claimed_at", Moment, nullable=False, server_default=NOW),
    Column("expires_at", Moment, nullable=False),
    Column("deadline_at", Moment, nullable=False),
    Column("sort_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("reported_at", Moment),
    Column("cancel_requested_at", Moment),
    Column("start_by", Moment),
    Column("claim_id", Uuid),
    Column("lease_s", Double, nullable=False),
    Column("key_id", BigInteger),
    Column("queue_id", Integer, nullable=False),
    Column("type_id", Integer, nullable=False),
    Column("tenant_id", Integer, nullable=False),
    Column("worker_id", Integer, nullable=False),
    Column("band", SmallInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("attempts_max", SmallInteger, nullable=False),
    Column("crashes", SmallInteger, nullable=False),
    Column("progress", Double),
    Column("progress_message", Text),
    CheckConstraint("attempt BETWEEN 1 AND attempts_max", name="attempt"),
    CheckConstraint("lease_s > 0", name="lease_s"),
    CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    comment="Claimed jobs. token is the fence; claim_seq only counts. "
    "reported_at: job.leased is in the history; started_at: job.started is.",
    postgresql_with={"fillfactor": "80", **HOT},
)
Index("lease_tenant", lease.c.tenant_id, lease.c.claim_seq)
Index("lease_claim", lease.c.claim_id, postgresql_where=lease.c.claim_id.isnot(None))
Index("lease_key", lease.c.key_id, postgresql_where=lease.c.key_id.isnot(None))

outcome = Table(
    "outcome",
    metadata,
    Column("seq", BigInteger, nullable=False, server_default=text("nextval('jobqueue.outcome_seq')")),
    Column("tenant_id", Integer, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("worker_id", Integer),
    Column("token", Uuid),
    Column("started_at", Moment),
    Column("finished_at", Moment, nullable=False, server_default=NOW),
    Column("result", JSON),
    Column("result_ref", Text),
    Column("error", JSON),
    CheckConstraint("state IN ('succeeded', 'superseded', 'failed', 'dlq', 'cancelled', 'expired')", name="state"),
    CheckConstraint("state IN ('succeeded', 'superseded') OR (result IS NULL AND result_ref IS NULL)", name="result"),
    postgresql_partition_by="RANGE (job_id)",
    comment="How each run ended; seq orders the outcomes of one job. Only a retry of a success writes here again: "
    "it becomes superseded, so that succeeded names exactly the jobs that are.",
)
Index("outcome_state", outcome.c.tenant_id, outcome.c.state, outcome.c.job_id)

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger, nullable=False, server_default=text("nextval('jobqueue.event_seq')")),
    Column("tenant_id", Integer, nullable=False),
    Column("job_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("then_type", Text),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("leased_at", Moment),
    Column("started_at", Moment),
    Column("token", Uuid),
    Column("worker_id", Integer),
    Column("attempt", SmallInteger),
    Column("data", JSON),
    CheckConstraint(
        "type IN ('submitted', 'blocked', 'queued', 'leased', 'started', 'failed', 'succeeded', 'snoozed', 'released', 'lease_expired', "
        "'cancel_requested', 'cancelled', 'expired', 'dlq', 'retried', 'updated', 'force_succeeded')",
        name="type",
    ),
    CheckConstraint("then_type IN ('queued', 'dlq', 'cancelled')", name="then_type"),
    postgresql_partition_by="RANGE (job_id)",
    comment="Every transition. One row reads as up to four events: leased (leased_at), started (started_at), type, then_type; "
    "public seq = seq * 8 + place.",
)
Index("event_seq_order", event.c.seq)
Index("event_job", event.c.job_id, event.c.seq)

forgotten = Table(
    "forgotten",
    metadata,
    Column("is_it", Boolean, primary_key=True, server_default=text("true")),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint("is_it", name="one_row"),
    comment="One row: up to which seq events may be gone with their weeks. A stream that asks for older ones is told to start over.",
)

tally = Table(
    "tally",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("entered", BigInteger, nullable=False),
    Column("ran_s", Double, nullable=False, server_default=text("0")),
    CheckConstraint("status IN ('queued', 'scheduled', 'blocked', 'failed', 'succeeded', 'dlq', 'cancelled', 'expired')", name="status"),
    comment="Counts as sums: a row per statement, tenant, queue and status, folded by the reaper. n: how many are there now; "
    "entered: how many ever came; ran_s: seconds their runs took. leased and running are counted in lease.",
    postgresql_with=HOT,
)
Index("tally_tenant", tally.c.tenant_id)

queue_sample = Table(
    "queue_sample",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("queue_id", Integer, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("arrived", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("ran_s", Double, nullable=False),
    PrimaryKeyConstraint("tenant_id", "queue_id", "at"),
    comment="What ever arrived at and left a queue, read now and then from tally: the difference of two samples is a rate. "
    "Swept after minutes.",
    postgresql_with=HOT,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("key_hash", Uuid, nullable=False),
    Column("request_hash", Uuid, nullable=False),
    Column("job_id", Uuid, nullable=False),
    PrimaryKeyConstraint("tenant_id", "key_hash"),
    comment="Which job a key made. Swept 24 h after the job ended.",
    postgresql_with=LARGE,
)

# --- the house -----------------------------------------------------------------------------------------------------------

api_key = Table(
    "api_key",
    metadata,
    Column("api_key_id", Text, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_sha256", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("expires_at", Moment),
    Column("last_used_at", Moment),
    comment="A key's secret is 256 random bits, so its SHA-256 is as good as a slow hash.",
)
Index("api_key_tenant", api_key.c.tenant_id)

rate_bucket = Table(
    "rate_bucket",
    metadata,
    Column("tenant_id", Integer, primary_key=True, autoincrement=False),
    Column("tokens", Double, nullable=False),
    Column("filled_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint("tokens >= 0", name="tokens"),
    comment="How many requests a tenant may make now, as of filled_at. No row: as many as its burst.",
    postgresql_with={"fillfactor": "50", **HOT},
)

rate_lease = Table(
    "rate_lease",
    metadata,
    Column("tenant_id", Integer, nullable=False),
    Column("holder", Uuid, nullable=False),
    Column("held", Integer, nullable=False),
    Column("expires_at", Moment, nullable=False),
    PrimaryKeyConstraint("tenant_id", "holder"),
    CheckConstraint("held >= 0", name="held"),
    comment="Requests an API process drew ahead from a tenant's bucket and has not spent; changed under the bucket's lock.",
    postgresql_with={"fillfactor": "50", **HOT},
)

app_user = Table(
    "app_user",
    metadata,
    Column("user_id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant_id", Integer, nullable=False),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("disabled_at", Moment),
    Column("logged_in_at", Moment),
    UniqueConstraint("email"),
    CheckConstraint("password_hash LIKE '$argon2id$%'", name="password_hash"),
    comment="A person of a tenant. email as domain/person.py writes it, so that one address is one row.",
)
Index("app_user_tenant", app_user.c.tenant_id)

login_bucket = Table(
    "login_bucket",
    metadata,
    Column("subject", Uuid, primary_key=True),
    Column("free_at", Moment, nullable=False),
    comment="How far an account or an address has run ahead of its rate of logins; in the past: it has not. subject: a hash.",
)
Index("login_bucket_free", login_bucket.c.free_at)
stream_ticket = Table(
    "stream_ticket",
    metadata,
    Column("ticket_sha256", Text, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("holder_id", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("credential_expires_at", Moment),
    Column("expires_at", Moment, nullable=False),
    comment="Lets a browser open one live stream, which cannot send a header: whom it speaks for. Deleted when it is used.",
)

webhook = Table(
    "webhook",
    metadata,
    Column("webhook_id", Uuid, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("job_types", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("disabled_reason", Text),
    Column("disabled_at", Moment),
    Column("secret_sealed", Text, nullable=False),
    Column("previous_sealed", Text),
    Column("previous_until", Moment),
    Column("failures_in_row", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", Moment),
    Column("resume_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
    CheckConstraint("disabled_reason IN ('asked', 'gone', 'failing')", name="disabled_reason"),
    CheckConstraint(
        "(state = 'disabled') = (disabled_reason IS NOT NULL) AND (state = 'disabled') = (disabled_at IS NOT NULL)", name="disabled"
    ),
    CheckConstraint("(previous_sealed IS NULL) = (previous_until IS NULL)", name="previous"),
    CheckConstraint("failures_in_row >= 0 AND (failures_in_row > 0) = (failing_since IS NOT NULL)", name="failures"),
    comment="An endpoint of a tenant that is told of its jobs' events; an empty filter is all. Secrets are sealed with a key made of the "
    "API's, since signing needs them. resume_at: after many failures in a row nothing is sent before.",
)
Index("webhook_tenant", webhook.c.tenant_id, webhook.c.webhook_id)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("webhook_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("tenant_id", Integer, nullable=False),
    Column("job_id", Uuid),
    Column("type", Text, nullable=False),
    Column("event_at", Moment, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("next_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("tried_at", Moment),
    Column("answer_status", SmallInteger),
    Column("answer_excerpt", Text),
    Column("answer_s", Double),
    Column("error", Text),
    PrimaryKeyConstraint("webhook_id", "seq"),
    CheckConstraint("status IN ('pending', 'delivered', 'failed', 'skipped')", name="status"),
    CheckConstraint("(status = 'pending') = (next_at IS NOT NULL)", name="next_at"),
    CheckConstraint("attempts >= 0", name="attempts"),
    comment="One event for one endpoint. seq: the event's public number, by which with the endpoint the delivery's id is made. "
    "next_at of one that is being sent is when that is taken for lost; attempts, counted as a try begins, fences its end.",
    postgresql_with=HOT,
)
Index("webhook_delivery_due", webhook_delivery.c.webhook_id, webhook_delivery.c.next_at, webhook_delivery.c.seq,
      postgresql_where=text("status = 'pending'"))  # fmt: skip

webhook_cursor = Table(
    "webhook_cursor",
    metadata,
    Column("is_it", Boolean, primary_key=True, server_default=text("true")),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint("is_it", name="one_row"),
    comment="One row: up to which seq of event deliveries have been made; moved in the transaction that makes them, under its lock.",
)

leader = Table(
    "leader",
    metadata,
    Column("role", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("expires_at", Moment, nullable=False),
    comment="Who does the periodic work, an optimisation only: everything is right with any number of reapers.",
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", Uuid, primary_key=True),
    Column("tenant_id", Integer, nullable=False),
    Column("at", Moment, nullable=False, server_default=NOW),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text),
    Column("actor_name", Text),
    Column("action", Text, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text),
    Column("request_id", Text),
    Column("correlation_id", Text),
    Column("address", Text),
    Column("data", JSON, nullable=False),
    CheckConstraint("actor_kind IN ('user', 'key', 'operator', 'cli', 'system', 'unknown')", name="actor_kind"),
    CheckConstraint("action ~ '^[a-z_]+\\.[a-z_]+$'", name="action"),
    CheckConstraint("octet_length(data::text) <= 16384", name="data"),
    postgresql_partition_by="RANGE (audit_id)",
    comment="Who did what, written in the transaction that did it. Rows are only added (triggers and grants hold it) and go with their "
    "month. tenant_id 0: no tenant's in particular. The time is in the id, too.",
)
Index("audit_of_tenant", audit.c.tenant_id, audit.c.audit_id)
Index("audit_action", audit.c.tenant_id, audit.c.action, audit.c.audit_id)
Index("audit_actor", audit.c.tenant_id, audit.c.actor_id, audit.c.audit_id)
Index("audit_target", audit.c.tenant_id, audit.c.target_id, audit.c.audit_id)

PARTITIONED: Final = (job, outcome, event)
"""Cut by the job's id into the same weeks, so that one week of jobs goes with all it left behind."""
