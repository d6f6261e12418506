-- List a tenant's endpoints, newest first, from the one after @before_id on.
-- params:  @before_id uuid: null: from the newest
SELECT webhook_id, url, description, event_types, queues, job_types, state, disabled_reason, disabled_at, previous_until, failing_since,
  failures_in_row, created_at, updated_at
FROM jobqueue.webhook
WHERE tenant_id = @tenant_id AND (@before_id::uuid IS NULL OR webhook_id < @before_id)
ORDER BY webhook_id DESC
LIMIT @limit
