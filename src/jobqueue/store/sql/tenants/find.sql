-- Look a tenant up by name.
-- tenant:  all, the name decides
SELECT tenant_id, name, plan, weight, max_concurrent, max_queued, rate_per_minute
FROM jobqueue.tenant
WHERE name = @name
