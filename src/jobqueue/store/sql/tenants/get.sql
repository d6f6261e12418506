-- Read one tenant with the limits of its own, else its plan's, and what it has now.
-- tenant:  all, the name decides
SELECT t.tenant_id, t.name, t.plan, t.weight, t.created_at,
  coalesce(t.max_concurrent, p.max_concurrent) AS max_concurrent,
  coalesce(t.max_queued, p.max_queued) AS max_queued,
  coalesce(t.rate_per_minute, p.rate_per_minute) AS rate_per_minute,
  (SELECT count(*) FROM jobqueue.lease l WHERE l.tenant_id = t.tenant_id) AS running,
  (SELECT coalesce(sum(c.n), 0)::bigint FROM jobqueue.tally c WHERE c.tenant_id = t.tenant_id AND c.status IN ('queued', 'scheduled', 'blocked', 'failed')) AS queued
FROM jobqueue.tenant t
LEFT JOIN jobqueue.plan p ON p.name = t.plan
WHERE t.name = @name
