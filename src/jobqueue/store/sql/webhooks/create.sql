-- Store an endpoint; no row: the tenant has as many as it may have.
INSERT INTO jobqueue.webhook (webhook_id, tenant_id, url, description, event_types, queues, job_types, secret_sealed)
SELECT jobqueue.new_id(), @tenant_id, @url, @description, @event_types::text[], @queues::text[], @job_types::text[], @secret_sealed
WHERE (SELECT count(*) FROM jobqueue.webhook w WHERE w.tenant_id = @tenant_id) < @webhooks_max::int
RETURNING webhook_id, url, description, event_types, queues, job_types, state, disabled_reason, disabled_at, previous_until, failing_since,
  failures_in_row, created_at, updated_at
