CREATE TABLE jobqueue.webhook (
  webhook_id uuid NOT NULL,
  tenant_id integer NOT NULL,
  url text NOT NULL,
  description text,
  event_types text[] NOT NULL,
  queues text[] NOT NULL,
  job_types text[] NOT NULL,
  state text NOT NULL DEFAULT 'active',
  disabled_reason text,
  disabled_at timestamptz,
  secret_sealed text NOT NULL,
  previous_sealed text,
  previous_until timestamptz,
  failures_in_row integer NOT NULL DEFAULT 0,
  failing_since timestamptz,
  resume_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT webhook_pkey PRIMARY KEY (webhook_id),
  CONSTRAINT webhook_state CHECK (state IN ('active', 'disabled')),
  CONSTRAINT webhook_disabled_reason CHECK (disabled_reason IN ('asked', 'gone', 'failing')),
  CONSTRAINT webhook_disabled
    CHECK ((state = 'disabled') = (disabled_reason IS NOT NULL) AND (state = 'disabled') = (disabled_at IS NOT NULL)),
  CONSTRAINT webhook_previous CHECK ((previous_sealed IS NULL) = (previous_until IS NULL)),
  CONSTRAINT webhook_failures CHECK (failures_in_row >= 0 AND (failures_in_row > 0) = (failing_since IS NOT NULL))
);
COMMENT ON TABLE jobqueue.webhook IS
  'An endpoint of a tenant that is told of its jobs'' events; an empty filter is all. Secrets are sealed with a key made of the '
  'API''s, since signing needs them. resume_at: after many failures in a row nothing is sent before.';
CREATE INDEX webhook_tenant ON jobqueue.webhook (tenant_id, webhook_id);

CREATE TABLE jobqueue.webhook_delivery (
  webhook_id uuid NOT NULL,
  seq bigint NOT NULL,
  tenant_id integer NOT NULL,
  job_id uuid,
  type text NOT NULL,
  event_at timestamptz NOT NULL,
  body text NOT NULL,
  status text NOT NULL,
  attempts smallint NOT NULL DEFAULT 0,
  next_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tried_at timestamptz,
  answer_status smallint,
  answer_excerpt text,
  answer_s double precision,
  error text,
  CONSTRAINT webhook_delivery_pkey PRIMARY KEY (webhook_id, seq),
  CONSTRAINT webhook_delivery_status CHECK (status IN ('pending', 'delivered', 'failed', 'skipped')),
  CONSTRAINT webhook_delivery_next_at CHECK ((status = 'pending') = (next_at IS NOT NULL)),
  CONSTRAINT webhook_delivery_attempts CHECK (attempts >= 0)
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = off
);
COMMENT ON TABLE jobqueue.webhook_delivery IS
  'One event for one endpoint. seq: the event''s public number, by which with the endpoint the delivery''s id is made. '
  'next_at of one that is being sent is when that is taken for lost; attempts, counted as a try begins, fences its end.';
CREATE INDEX webhook_delivery_due ON jobqueue.webhook_delivery (webhook_id, next_at, seq) WHERE status = 'pending';

CREATE TABLE jobqueue.webhook_cursor (
  is_it boolean NOT NULL DEFAULT true,
  seq bigint NOT NULL,
  CONSTRAINT webhook_cursor_pkey PRIMARY KEY (is_it),
  CONSTRAINT webhook_cursor_one_row CHECK (is_it)
);
COMMENT ON TABLE jobqueue.webhook_cursor IS
  'One row: up to which seq of event deliveries have been made; moved in the transaction that makes them, under its lock.';
INSERT INTO jobqueue.webhook_cursor (seq)
SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END
FROM jobqueue.event_seq s;
