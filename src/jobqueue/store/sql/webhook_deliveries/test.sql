-- Make a delivery that is of no job, under a number of the history's own; no row: the tenant has no such endpoint, or it is disabled.
INSERT INTO jobqueue.webhook_delivery AS d (webhook_id, seq, tenant_id, type, event_at, body, status, next_at)
SELECT w.webhook_id, nextval('jobqueue.event_seq') * @slots::bigint, w.tenant_id, @type, m.at,
  json_build_object('type', @type::text, 'timestamp', to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'data', json_build_object('webhook_id', w.webhook_id, 'tenant_id', @tenant::text))::text,
  'pending', m.at
FROM jobqueue.webhook w
CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) m
WHERE w.tenant_id = @tenant_id AND w.webhook_id = @webhook_id AND w.state = 'active'
RETURNING d.seq, d.job_id, d.type, d.event_at, d.status, d.attempts, d.next_at, d.tried_at, d.answer_status, d.answer_excerpt, d.answer_s, d.error
