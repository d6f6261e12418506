-- Look tenants' names up.
-- tenant:  all, for workers that serve many
SELECT tenant_id AS number, name
FROM jobqueue.tenant
WHERE tenant_id = ANY (@numbers::int[])
