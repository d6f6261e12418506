-- Lock a tenant's gate by its name for the rest of the transaction, and read what of its own is set. No row: there is no such tenant.
-- locks:   tenant, waited for
-- tenant:  all, operators only
SELECT tenant_id, plan, weight, max_concurrent, max_queued, rate_per_minute
FROM jobqueue.tenant
WHERE name = @name
FOR NO KEY UPDATE
