-- List who is alive, with how many jobs each holds.
SELECT w.name, w.queues, w.job_types, w.concurrency, w.version, w.state, w.directive, w.started_at, w.last_heartbeat_at,
  (SELECT count(*) FROM jobqueue.lease l WHERE l.worker_id = w.worker_id AND l.tenant_id = coalesce(w.tenant_id, l.tenant_id)) AS running
FROM jobqueue.worker w
WHERE w.last_heartbeat_at > clock_timestamp() - @worker_alive_s * interval '1 second' AND (w.tenant_id IS NULL OR w.tenant_id = @tenant_id)
ORDER BY w.name
LIMIT @limit
