-- Read the progress of what some tenants have running, as far as it was told since a moment ago.
-- params:  @within_s double precision: only leases whose holder reported this recently
-- tenant:  many, those who have streams open here
SELECT l.tenant_id, l.job_id, q.name AS queue, t.name AS job_type, l.attempt, w.name AS worker_id, l.progress, l.progress_message,
  l.reported_at, l.started_at IS NOT NULL AS is_running
FROM jobqueue.lease l
JOIN jobqueue.queue q ON q.queue_id = l.queue_id
JOIN jobqueue.job_type t ON t.type_id = l.type_id
LEFT JOIN jobqueue.worker w ON w.worker_id = l.worker_id
WHERE l.tenant_id = ANY (@tenant_ids::int[]) AND l.progress IS NOT NULL
  AND l.reported_at > clock_timestamp() - @within_s::double precision * interval '1 second'
LIMIT @limit::int
