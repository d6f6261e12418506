-- List who is alive by name, after a name, with how many of the tenant's jobs each holds. No name: all; else that one, alive or not.
SELECT w.name, w.queues, w.job_types, w.concurrency, w.version, w.state, w.directive, w.started_at, w.last_heartbeat_at,
  coalesce(l.running, 0) AS running
FROM jobqueue.worker w
LEFT JOIN (
  SELECT x.worker_id, count(*) AS running
  FROM jobqueue.lease x
  WHERE x.tenant_id = @tenant_id
  GROUP BY x.worker_id) l ON l.worker_id = w.worker_id
WHERE (w.tenant_id IS NULL OR w.tenant_id = @tenant_id)
  AND CASE WHEN @name::text IS NULL
    THEN w.name > @after AND w.state <> 'stopped' AND w.last_heartbeat_at > clock_timestamp() - @worker_alive_s * interval '1 second'
    ELSE w.name = @name END
ORDER BY w.name, w.tenant_id NULLS LAST
LIMIT @limit
