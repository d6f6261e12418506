-- Count a tenant's waiting jobs, for its limit, and how many ever stopped waiting; and read that limit.
SELECT coalesce(sum(t.n), 0)::bigint AS waiting, coalesce(sum(t.entered) - sum(t.n), 0)::bigint AS gone,
  (SELECT coalesce(g.max_queued, p.max_queued) FROM jobqueue.tenant g LEFT JOIN jobqueue.plan p ON p.name = g.plan WHERE g.tenant_id = @tenant_id) AS max_queued
FROM jobqueue.tally t
WHERE t.tenant_id = @tenant_id AND t.status IN ('queued', 'scheduled', 'blocked', 'failed')
