-- Every job with its status, for people with psql: SELECT status, count(*) FROM jobqueue.jobs GROUP BY status.
-- What needs a look into outcome stands as scalar subqueries, so a query that does not name it does not pay for it.
CREATE VIEW jobqueue.jobs AS
SELECT
  j.job_id AS id,
  t.name AS tenant_id,
  q.name AS queue,
  y.name AS job_type,
  CASE
    WHEN l.job_id IS NOT NULL THEN CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END
    WHEN r.job_id IS NOT NULL OR p.job_id IS NOT NULL OR i.job_id IS NOT NULL THEN 'queued'
    WHEN s.job_id IS NOT NULL THEN CASE s.reason WHEN 'retry' THEN 'failed' ELSE 'scheduled' END
    WHEN b.job_id IS NOT NULL THEN 'blocked'
    ELSE coalesce(e.status, 'succeeded')
  END AS status,
  (ARRAY['critical', 'high', 'normal', 'low'])[j.priority + 1] AS priority,
  coalesce(l.attempt, r.attempt, p.attempt, s.attempt, b.attempt, e.attempt,
    (SELECT o.attempt FROM jobqueue.outcome o WHERE o.tenant_id = j.tenant_id AND o.job_id = j.job_id
      AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired') ORDER BY o.seq DESC LIMIT 1), 0::smallint) AS attempt,
  j.max_attempts,
  l.progress,
  l.progress_message,
  j.tags,
  j.metadata,
  j.idempotency_key,
  j.correlation_id,
  coalesce(s.run_at, j.scheduled_at) AS scheduled_at,
  jobqueue.id_time(j.job_id) AS created_at,
  coalesce(l.started_at, (SELECT o.started_at FROM jobqueue.outcome o WHERE o.tenant_id = j.tenant_id AND o.job_id = j.job_id
      AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired') ORDER BY o.seq DESC LIMIT 1)) AS started_at,
  CASE WHEN coalesce(l.job_id, r.job_id, p.job_id, s.job_id, b.job_id, i.job_id) IS NULL THEN
    (SELECT o.finished_at FROM jobqueue.outcome o WHERE o.tenant_id = j.tenant_id AND o.job_id = j.job_id
      AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired') ORDER BY o.seq DESC LIMIT 1) END AS finished_at,
  w.name AS lease_owner,
  l.expires_at AS lease_expires_at,
  (SELECT o.error FROM jobqueue.outcome o WHERE o.tenant_id = j.tenant_id AND o.job_id = j.job_id
      AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired') ORDER BY o.seq DESC LIMIT 1) AS error,
  (SELECT o.result FROM jobqueue.outcome o WHERE o.tenant_id = j.tenant_id AND o.job_id = j.job_id
      AND o.state IN ('succeeded', 'failed', 'dlq', 'cancelled', 'expired') ORDER BY o.seq DESC LIMIT 1) AS result,
  j.data
FROM jobqueue.job j
JOIN jobqueue.tenant t ON t.tenant_id = j.tenant_id
JOIN jobqueue.queue q ON q.queue_id = j.queue_id
JOIN jobqueue.job_type y ON y.type_id = j.type_id
LEFT JOIN jobqueue.lease l ON l.job_id = j.job_id
LEFT JOIN jobqueue.worker w ON w.worker_id = l.worker_id
LEFT JOIN jobqueue.ready r ON r.tenant_id = j.tenant_id AND r.job_id = j.job_id
LEFT JOIN jobqueue.parked p ON p.tenant_id = j.tenant_id AND p.job_id = j.job_id
LEFT JOIN jobqueue.scheduled s ON s.tenant_id = j.tenant_id AND s.job_id = j.job_id
LEFT JOIN jobqueue.blocked b ON b.tenant_id = j.tenant_id AND b.job_id = j.job_id
LEFT JOIN jobqueue.ended e ON e.tenant_id = j.tenant_id AND e.job_id = j.job_id
LEFT JOIN jobqueue.inbox i ON i.job_id = j.job_id;
