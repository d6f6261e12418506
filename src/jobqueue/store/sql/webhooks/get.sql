-- Read an endpoint.
SELECT webhook_id, url, description, event_types, queues, job_types, state, disabled_reason, disabled_at, previous_until, failing_since,
  failures_in_row, created_at, updated_at
FROM jobqueue.webhook
WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id
