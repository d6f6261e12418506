-- List the queues a tenant used or set, by name, after a name.
SELECT q.queue_id, q.name, s.is_paused, s.max_concurrent, s.key_max_concurrent, s.rate_per_second, s.max_attempts, s.retry_base_s
FROM (
  SELECT t.queue_id FROM jobqueue.tally t WHERE t.tenant_id = @tenant_id
  UNION
  SELECT g.queue_id FROM jobqueue.tenant_queue g WHERE g.tenant_id = @tenant_id) u
JOIN jobqueue.queue q ON q.queue_id = u.queue_id
LEFT JOIN jobqueue.tenant_queue s ON s.queue_id = q.queue_id AND s.tenant_id = @tenant_id
WHERE q.name > @after
ORDER BY q.name
LIMIT @limit
