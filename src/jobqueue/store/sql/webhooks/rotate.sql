-- Give an endpoint a new secret; the one before it signs, too, for @grace_s more. No row: the tenant has no such endpoint.
-- params:  @grace_s double precision: 0: the one before is forgotten at once
UPDATE jobqueue.webhook w
SET previous_sealed = CASE WHEN @grace_s::double precision > 0 THEN w.secret_sealed END,
  previous_until = CASE WHEN @grace_s > 0 THEN clock_timestamp() + @grace_s * interval '1 second' END,
  secret_sealed = @secret_sealed,
  updated_at = clock_timestamp()
WHERE w.tenant_id = @tenant_id AND w.webhook_id = @webhook_id
RETURNING webhook_id, url, description, event_types, queues, job_types, state, disabled_reason, disabled_at, previous_until, failing_since,
  failures_in_row, created_at, updated_at
