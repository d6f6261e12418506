-- Change what is given of an endpoint (null: it stays); no row: the tenant has no such endpoint.
-- params:  @has_description: whether @description, which may be null, is given; @is_active: a new URL counts as mended, too
UPDATE jobqueue.webhook w
SET url = coalesce(@url::text, w.url),
  description = CASE WHEN @has_description::boolean THEN @description::text ELSE w.description END,
  event_types = coalesce(@event_types::text[], w.event_types),
  queues = coalesce(@queues::text[], w.queues),
  job_types = coalesce(@job_types::text[], w.job_types),
  state = CASE WHEN @is_active::boolean IS NULL THEN w.state WHEN @is_active THEN 'active' ELSE 'disabled' END,
  disabled_reason = CASE WHEN @is_active IS NULL THEN w.disabled_reason WHEN NOT @is_active THEN coalesce(w.disabled_reason, 'asked') END,
  disabled_at = CASE WHEN @is_active IS NULL THEN w.disabled_at WHEN NOT @is_active THEN coalesce(w.disabled_at, clock_timestamp()) END,
  failures_in_row = CASE WHEN @is_active OR @url IS NOT NULL THEN 0 ELSE w.failures_in_row END,
  failing_since = CASE WHEN @is_active OR @url IS NOT NULL THEN NULL ELSE w.failing_since END,
  resume_at = CASE WHEN @is_active OR @url IS NOT NULL THEN NULL ELSE w.resume_at END,
  updated_at = clock_timestamp()
WHERE w.tenant_id = @tenant_id AND w.webhook_id = @webhook_id
RETURNING webhook_id, url, description, event_types, queues, job_types, state, disabled_reason, disabled_at, previous_until, failing_since,
  failures_in_row, created_at, updated_at
