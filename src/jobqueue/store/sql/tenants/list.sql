-- List tenants by name with what they have now.
-- tenant:  all, operators only
SELECT t.name, t.plan, t.weight, t.max_concurrent, t.max_queued, t.rate_per_minute, t.created_at,
  (SELECT count(*) FROM jobqueue.lease l WHERE l.tenant_id = t.tenant_id) AS running,
  (SELECT coalesce(sum(c.n), 0)::bigint FROM jobqueue.tally c WHERE c.tenant_id = t.tenant_id AND c.status IN ('queued', 'scheduled', 'blocked', 'failed')) AS queued
FROM jobqueue.tenant t
WHERE t.name > @after
ORDER BY t.name
LIMIT @limit
