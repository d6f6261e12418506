-- Tell a worker what to do: a tenant's own of that name, else one that serves all tenants. It hears it with its next heartbeat.
-- tenant:  its own, or the database workers of all
UPDATE jobqueue.worker
SET directive = @directive
WHERE worker_id = (
  SELECT w.worker_id
  FROM jobqueue.worker w
  WHERE w.name = @name AND coalesce(w.tenant_id, 0) IN (0, @tenant_id)
  ORDER BY w.tenant_id NULLS LAST
  LIMIT 1)
RETURNING worker_id
