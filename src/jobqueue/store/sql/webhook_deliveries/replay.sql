-- Send a delivery again, from its first try on; no row: there is none such.
-- params:  @now timestamptz (tests only)
UPDATE jobqueue.webhook_delivery d
SET status = 'pending', attempts = 0, next_at = coalesce(@now::timestamptz, clock_timestamp())
WHERE d.tenant_id = @tenant_id AND d.webhook_id = @webhook_id AND d.seq = @seq
RETURNING d.seq, d.job_id, d.type, d.event_at, d.status, d.attempts, d.next_at, d.tried_at, d.answer_status, d.answer_excerpt, d.answer_s, d.error, d.body
