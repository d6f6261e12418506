-- Count a tenant's due jobs.
SELECT coalesce(sum(t.n), 0)::bigint AS jobs
FROM jobqueue.tally t
WHERE t.tenant_id = @tenant_id AND t.status = 'queued'
