-- Read one tenant's settings of a queue and whether the tenant used it; no settings: the row's columns are null.
SELECT q.queue_id, q.name, s.is_paused, s.max_concurrent, s.key_max_concurrent, s.rate_per_second, s.max_attempts, s.retry_base_s
FROM jobqueue.queue q
LEFT JOIN jobqueue.tenant_queue s ON s.queue_id = q.queue_id AND s.tenant_id = @tenant_id
WHERE q.name = @name AND (s.tenant_id IS NOT NULL OR EXISTS (
  SELECT FROM jobqueue.tally t WHERE t.tenant_id = @tenant_id AND t.queue_id = q.queue_id))
