-- List an endpoint's deliveries, newest first, of those before a number and within some rows of it that fit the filters; null: any.
-- params:  @before_seq bigint; @rows_max int: how many rows are looked at; @after, @until timestamptz: of the event
SELECT d.seq, d.job_id, d.type, d.event_at, d.status, d.attempts, d.next_at, d.tried_at, d.answer_status, d.answer_excerpt, d.answer_s, d.error
FROM (
  SELECT v.seq, v.job_id, v.type, v.event_at, v.status, v.attempts, v.next_at, v.tried_at, v.answer_status, v.answer_excerpt, v.answer_s,
    v.error
  FROM jobqueue.webhook_delivery v
  WHERE v.tenant_id = @tenant_id AND v.webhook_id = @webhook_id AND v.seq < @before_seq::bigint
  ORDER BY v.seq DESC
  LIMIT @rows_max::int) d
WHERE (@statuses::text[] IS NULL OR d.status = ANY (@statuses)) AND (@types::text[] IS NULL OR d.type = ANY (@types))
  AND (@job_id::uuid IS NULL OR d.job_id = @job_id)
  AND (@after::timestamptz IS NULL OR d.event_at >= @after) AND (@until::timestamptz IS NULL OR d.event_at < @until)
ORDER BY d.seq DESC
LIMIT @limit::int
