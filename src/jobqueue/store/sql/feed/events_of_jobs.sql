-- Read the history of some jobs of a tenant between two numbers, in order.
SELECT e.seq, e.type, e.then_type, e.at, e.leased_at, e.started_at, e.attempt, w.name AS worker_id,
  CASE WHEN e.type IN ('submitted', 'updated', 'cancel_requested') THEN e.data END AS data,
  e.tenant_id, e.job_id, q.name AS queue, t.name AS job_type
FROM (
  SELECT v.seq, v.type, v.then_type, v.at, v.leased_at, v.started_at, v.attempt, v.worker_id, v.data, v.tenant_id, v.job_id
  FROM jobqueue.event v
  WHERE v.job_id = ANY (@job_ids::uuid[]) AND v.tenant_id = @tenant_id AND v.seq > @seq_after::bigint AND v.seq <= @seq_last::bigint
  ORDER BY v.seq
  LIMIT @limit::int) e
CROSS JOIN LATERAL (
  SELECT i.queue_id, i.type_id
  FROM jobqueue.job i
  WHERE i.tenant_id = e.tenant_id AND i.job_id = e.job_id
  OFFSET 0) j
JOIN jobqueue.queue q ON q.queue_id = j.queue_id
JOIN jobqueue.job_type t ON t.type_id = j.type_id
LEFT JOIN jobqueue.worker w ON w.worker_id = e.worker_id
ORDER BY e.seq
