-- The tables of the engine as store/tables.py defined them at this revision.

CREATE SEQUENCE jobqueue.claim_seq CACHE 1;

CREATE SEQUENCE jobqueue.event_seq CACHE 1;

CREATE SEQUENCE jobqueue.outcome_seq CACHE 1;

CREATE TABLE jobqueue.plan (
  name TEXT NOT NULL,
  weight SMALLINT NOT NULL,
  max_concurrent INTEGER,
  max_queued INTEGER,
  rate_per_minute INTEGER,
  CONSTRAINT plan_pkey PRIMARY KEY (name),
  CONSTRAINT plan_weight CHECK (weight BETWEEN 1 AND 100)
);

COMMENT ON TABLE jobqueue.plan IS 'Limits a tenant inherits where it has none of its own; null: the settings decide.';

CREATE TABLE jobqueue.tenant (
  tenant_id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  plan TEXT DEFAULT 'free' NOT NULL,
  weight SMALLINT DEFAULT 1 NOT NULL,
  max_concurrent INTEGER,
  max_queued INTEGER,
  rate_per_minute INTEGER,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT tenant_pkey PRIMARY KEY (tenant_id),
  CONSTRAINT tenant_name_key UNIQUE (name),
  CONSTRAINT tenant_name CHECK (name ~ '^[a-z0-9-]{1,63}$'),
  CONSTRAINT tenant_weight CHECK (weight BETWEEN 1 AND 100),
  CONSTRAINT tenant_limits CHECK (max_concurrent >= 0 AND max_queued >= 0 AND rate_per_minute >= 0)
);

COMMENT ON TABLE jobqueue.tenant IS 'The gate of a tenant''s claims: locked, never counted up. A limit of 0 is none, null is the plan''s.';

CREATE TABLE jobqueue.queue (
  queue_id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  CONSTRAINT queue_pkey PRIMARY KEY (queue_id),
  CONSTRAINT queue_name_key UNIQUE (name),
  CONSTRAINT queue_name CHECK (name ~ '^[A-Za-z0-9_.-]{1,100}$')
);

COMMENT ON TABLE jobqueue.queue IS 'A queue''s name; tenants share the number, so one scan of lanes serves them all.';

CREATE TABLE jobqueue.tenant_queue (
  tenant_id INTEGER NOT NULL,
  queue_id INTEGER NOT NULL,
  is_paused BOOLEAN DEFAULT false NOT NULL,
  max_concurrent INTEGER,
  key_max_concurrent INTEGER DEFAULT 1 NOT NULL,
  rate_per_second DOUBLE PRECISION,
  max_attempts SMALLINT,
  retry_base_s DOUBLE PRECISION,
  rate_tokens DOUBLE PRECISION DEFAULT 0 NOT NULL,
  rated_at TIMESTAMP WITH TIME ZONE DEFAULT 'epoch' NOT NULL,
  CONSTRAINT tenant_queue_pkey PRIMARY KEY (tenant_id, queue_id),
  CONSTRAINT tenant_queue_concurrency CHECK (max_concurrent >= 0 AND key_max_concurrent >= 1),
  CONSTRAINT tenant_queue_limits CHECK (rate_per_second > 0 AND max_attempts >= 1 AND retry_base_s >= 0)
);

COMMENT ON TABLE jobqueue.tenant_queue IS 'One tenant''s settings of one queue; changed under the tenant''s gate. No row: all defaults. rate_*: the bucket of starts a second.';

CREATE TABLE jobqueue.job_type (
  type_id INTEGER GENERATED ALWAYS AS IDENTITY,
  name TEXT NOT NULL,
  CONSTRAINT job_type_pkey PRIMARY KEY (type_id),
  CONSTRAINT job_type_name_key UNIQUE (name),
  CONSTRAINT job_type_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,100}$')
);

CREATE TABLE jobqueue.concurrency_key (
  key_id BIGINT GENERATED ALWAYS AS IDENTITY,
  tenant_id INTEGER NOT NULL,
  queue_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  CONSTRAINT concurrency_key_pkey PRIMARY KEY (key_id),
  CONSTRAINT concurrency_key_tenant_id_queue_id_name_key UNIQUE (tenant_id, queue_id, name)
);

COMMENT ON TABLE jobqueue.concurrency_key IS 'The gate of a key''s claims: locked, never counted up.';

CREATE TABLE jobqueue.worker (
  worker_id INTEGER GENERATED ALWAYS AS IDENTITY,
  tenant_id INTEGER,
  name TEXT NOT NULL,
  queues TEXT[] NOT NULL,
  job_types TEXT[] NOT NULL,
  concurrency INTEGER NOT NULL,
  version TEXT,
  state TEXT DEFAULT 'running' NOT NULL,
  directive TEXT DEFAULT 'run' NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  last_heartbeat_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT worker_pkey PRIMARY KEY (worker_id),
  CONSTRAINT worker_state CHECK (state IN ('running', 'quiet', 'stopped')),
  CONSTRAINT worker_directive CHECK (directive IN ('run', 'quiet', 'terminate')),
  CONSTRAINT worker_name CHECK (name ~ '^[A-Za-z0-9_.:-]{1,100}$')
);

COMMENT ON TABLE jobqueue.worker IS 'Who works. tenant_id null: a database worker, it serves all tenants.';

CREATE UNIQUE INDEX worker_name ON jobqueue.worker (coalesce(tenant_id, 0), name);

CREATE TABLE jobqueue.job (
  tenant_id INTEGER NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  key_id BIGINT,
  workflow_id UUID,
  priority SMALLINT NOT NULL,
  max_attempts SMALLINT NOT NULL,
  timeout_s INTEGER,
  scheduled_at TIMESTAMP WITH TIME ZONE,
  idempotency_key TEXT,
  correlation_id TEXT,
  traceparent TEXT,
  tags TEXT[],
  metadata JSON,
  data JSON NOT NULL,
  CONSTRAINT job_pkey PRIMARY KEY (tenant_id, job_id),
  CONSTRAINT job_priority CHECK (priority BETWEEN 0 AND 3),
  CONSTRAINT job_max_attempts CHECK (max_attempts >= 1)
)
 PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.job IS 'What was submitted. created_at is in the id. Not updated on the hot path.';

CREATE INDEX job_by_type ON jobqueue.job (tenant_id, type_id, job_id);

CREATE TABLE jobqueue.ready (
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  key_id BIGINT,
  start_by TIMESTAMP WITH TIME ZONE,
  CONSTRAINT ready_attempts CHECK (attempt >= 0 AND attempt < attempts_max AND crashes >= 0),
  CONSTRAINT ready_band CHECK (priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);

COMMENT ON TABLE jobqueue.ready IS 'Due jobs. band: priority + 4 with a concurrency key + 8 when it came back with its old sort_at (no claim floor applies).';

CREATE INDEX ready_claim ON jobqueue.ready (queue_id, type_id, tenant_id, band, sort_at, job_id);

CREATE UNIQUE INDEX ready_job ON jobqueue.ready (tenant_id, job_id);

CREATE INDEX ready_key ON jobqueue.ready (key_id) WHERE key_id IS NOT NULL;

CREATE INDEX ready_start_by ON jobqueue.ready (start_by) WHERE start_by IS NOT NULL;

CREATE TABLE jobqueue.parked (
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  key_id BIGINT,
  start_by TIMESTAMP WITH TIME ZONE,
  CONSTRAINT parked_attempts CHECK (attempt >= 0 AND attempt < attempts_max AND crashes >= 0),
  CONSTRAINT parked_band CHECK (priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);

COMMENT ON TABLE jobqueue.parked IS 'Due jobs over their concurrency key''s limit, out of the head of their lane.';

CREATE UNIQUE INDEX parked_job ON jobqueue.parked (tenant_id, job_id);

CREATE INDEX parked_key ON jobqueue.parked (key_id, priority, sort_at, job_id);

CREATE INDEX parked_start_by ON jobqueue.parked (start_by) WHERE start_by IS NOT NULL;

CREATE TABLE jobqueue.scheduled (
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  key_id BIGINT,
  start_by TIMESTAMP WITH TIME ZONE,
  run_at TIMESTAMP WITH TIME ZONE NOT NULL,
  reason TEXT NOT NULL,
  CONSTRAINT scheduled_reason CHECK (reason IN ('asked', 'retry', 'snooze')),
  CONSTRAINT scheduled_attempts CHECK (attempt >= 0 AND attempt < attempts_max AND crashes >= 0),
  CONSTRAINT scheduled_band CHECK (priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);

COMMENT ON TABLE jobqueue.scheduled IS 'Jobs that wait for a time. reason retry reads as failed, the others as scheduled.';

CREATE INDEX scheduled_due ON jobqueue.scheduled (run_at);

CREATE UNIQUE INDEX scheduled_job ON jobqueue.scheduled (tenant_id, job_id);

CREATE INDEX scheduled_start_by ON jobqueue.scheduled (start_by) WHERE start_by IS NOT NULL;

CREATE TABLE jobqueue.blocked (
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  key_id BIGINT,
  start_by TIMESTAMP WITH TIME ZONE,
  waits_for INTEGER NOT NULL,
  CONSTRAINT blocked_waits_for CHECK (waits_for >= 1),
  CONSTRAINT blocked_attempts CHECK (attempt >= 0 AND attempt < attempts_max AND crashes >= 0),
  CONSTRAINT blocked_band CHECK (priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0))
);

COMMENT ON TABLE jobqueue.blocked IS 'Jobs that wait for other jobs; waits_for counts those not done.';

CREATE UNIQUE INDEX blocked_job ON jobqueue.blocked (tenant_id, job_id);

CREATE INDEX blocked_start_by ON jobqueue.blocked (start_by) WHERE start_by IS NOT NULL;

CREATE TABLE jobqueue.ended (
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  job_id UUID NOT NULL,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  key_id BIGINT,
  start_by TIMESTAMP WITH TIME ZONE,
  status TEXT NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT ended_status CHECK (status IN ('dlq', 'cancelled', 'expired')),
  CONSTRAINT ended_attempts CHECK (attempt >= 0 AND attempt <= attempts_max AND crashes >= 0),
  CONSTRAINT ended_band CHECK (priority = band & 3 AND (key_id IS NOT NULL) = (band & 4 > 0))
);

COMMENT ON TABLE jobqueue.ended IS 'Jobs that rest; the row a retry deletes, so of two retries one wins.';

CREATE UNIQUE INDEX ended_job ON jobqueue.ended (tenant_id, job_id);

CREATE INDEX ended_status ON jobqueue.ended (tenant_id, status, job_id);

CREATE TABLE jobqueue.inbox (
  job_id UUID NOT NULL,
  tenant_id INTEGER NOT NULL,
  run_at TIMESTAMP WITH TIME ZONE,
  start_by TIMESTAMP WITH TIME ZONE,
  CONSTRAINT inbox_pkey PRIMARY KEY (job_id)
);

COMMENT ON TABLE jobqueue.inbox IS 'Jobs submitted inside a caller''s own transaction; moved on with their event once it has committed.';

CREATE TABLE jobqueue.lease (
  job_id UUID NOT NULL,
  token UUID NOT NULL,
  claim_seq BIGINT NOT NULL,
  claimed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  deadline_at TIMESTAMP WITH TIME ZONE NOT NULL,
  sort_at TIMESTAMP WITH TIME ZONE NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  reported_at TIMESTAMP WITH TIME ZONE,
  cancel_requested_at TIMESTAMP WITH TIME ZONE,
  start_by TIMESTAMP WITH TIME ZONE,
  claim_id UUID,
  lease_s DOUBLE PRECISION NOT NULL,
  key_id BIGINT,
  queue_id INTEGER NOT NULL,
  type_id INTEGER NOT NULL,
  tenant_id INTEGER NOT NULL,
  worker_id INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  priority SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  attempts_max SMALLINT NOT NULL,
  crashes SMALLINT NOT NULL,
  progress DOUBLE PRECISION,
  progress_message TEXT,
  CONSTRAINT lease_pkey PRIMARY KEY (job_id),
  CONSTRAINT lease_attempt CHECK (attempt BETWEEN 1 AND attempts_max),
  CONSTRAINT lease_lease_s CHECK (lease_s > 0),
  CONSTRAINT lease_progress CHECK (progress BETWEEN 0 AND 100)
)
 WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);

COMMENT ON TABLE jobqueue.lease IS 'Claimed jobs. token is the fence; claim_seq only counts. reported_at: job.leased is in the history; started_at: job.started is.';

CREATE INDEX lease_key ON jobqueue.lease (key_id) WHERE key_id IS NOT NULL;

CREATE INDEX lease_tenant ON jobqueue.lease (tenant_id, claim_seq);

CREATE TABLE jobqueue.outcome (
  seq BIGINT DEFAULT nextval('jobqueue.outcome_seq') NOT NULL,
  tenant_id INTEGER NOT NULL,
  job_id UUID NOT NULL,
  state TEXT NOT NULL,
  attempt SMALLINT NOT NULL,
  worker_id INTEGER,
  token UUID,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  result JSON,
  result_ref TEXT,
  error JSON,
  CONSTRAINT outcome_state CHECK (state IN ('succeeded', 'superseded', 'failed', 'dlq', 'cancelled', 'expired')),
  CONSTRAINT outcome_result CHECK (state IN ('succeeded', 'superseded') OR (result IS NULL AND result_ref IS NULL))
)
 PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.outcome IS 'How each run ended; seq orders the outcomes of one job. Only a retry of a success writes here again: it becomes superseded, so that succeeded names exactly the jobs that are.';

CREATE INDEX outcome_state ON jobqueue.outcome (tenant_id, state, job_id);

CREATE TABLE jobqueue.event (
  seq BIGINT DEFAULT nextval('jobqueue.event_seq') NOT NULL,
  tenant_id INTEGER NOT NULL,
  job_id UUID NOT NULL,
  type TEXT NOT NULL,
  then_type TEXT,
  at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  leased_at TIMESTAMP WITH TIME ZONE,
  started_at TIMESTAMP WITH TIME ZONE,
  token UUID,
  worker_id INTEGER,
  attempt SMALLINT,
  data JSON,
  CONSTRAINT event_type CHECK (type IN ('submitted', 'blocked', 'queued', 'leased', 'started', 'failed', 'succeeded', 'snoozed', 'released', 'lease_expired', 'cancel_requested', 'cancelled', 'expired', 'dlq', 'retried', 'updated', 'force_succeeded')),
  CONSTRAINT event_then_type CHECK (then_type IN ('queued', 'dlq', 'cancelled'))
)
 PARTITION BY RANGE (job_id);

COMMENT ON TABLE jobqueue.event IS 'Every transition. One row reads as up to four events: leased (leased_at), started (started_at), type, then_type; public seq = seq * 8 + place.';

CREATE INDEX event_job ON jobqueue.event (job_id, seq);

CREATE INDEX event_seq_order ON jobqueue.event (seq);

CREATE TABLE jobqueue.tally (
  tenant_id INTEGER NOT NULL,
  queue_id INTEGER NOT NULL,
  status TEXT NOT NULL,
  n BIGINT NOT NULL,
  entered BIGINT NOT NULL,
  ran_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
  CONSTRAINT tally_status CHECK (status IN ('queued', 'scheduled', 'blocked', 'failed', 'succeeded', 'dlq', 'cancelled', 'expired'))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off);

COMMENT ON TABLE jobqueue.tally IS 'Counts as sums: a row per statement, tenant, queue and status, folded by the reaper. n: how many are there now; entered: how many ever came; ran_s: seconds their runs took. leased and running are counted in lease.';

CREATE INDEX tally_tenant ON jobqueue.tally (tenant_id);

CREATE TABLE jobqueue.queue_sample (
  tenant_id INTEGER NOT NULL,
  queue_id INTEGER NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  arrived BIGINT NOT NULL,
  ended BIGINT NOT NULL,
  ran_s DOUBLE PRECISION NOT NULL,
  CONSTRAINT queue_sample_pkey PRIMARY KEY (tenant_id, queue_id, at)
);

COMMENT ON TABLE jobqueue.queue_sample IS 'What ever arrived at and left a queue, read now and then from tally: the difference of two samples is a rate. Swept after minutes.';

CREATE TABLE jobqueue.idempotency (
  tenant_id INTEGER NOT NULL,
  key_hash UUID NOT NULL,
  request_hash UUID NOT NULL,
  job_id UUID NOT NULL,
  CONSTRAINT idempotency_pkey PRIMARY KEY (tenant_id, key_hash)
);

COMMENT ON TABLE jobqueue.idempotency IS 'Which job a key made. Swept 24 h after the job ended.';

CREATE TABLE jobqueue.api_key (
  api_key_id TEXT NOT NULL,
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  secret_sha256 TEXT NOT NULL,
  scopes TEXT[] NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  last_used_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT api_key_pkey PRIMARY KEY (api_key_id)
);

COMMENT ON TABLE jobqueue.api_key IS 'A key''s secret is 256 random bits, so its SHA-256 is as good as a slow hash.';

CREATE INDEX api_key_tenant ON jobqueue.api_key (tenant_id);

CREATE TABLE jobqueue.leader (
  role TEXT NOT NULL,
  holder UUID NOT NULL,
  term BIGINT NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT leader_pkey PRIMARY KEY (role)
);

COMMENT ON TABLE jobqueue.leader IS 'Who does the periodic work, an optimisation only: everything is right with any number of reapers.';
