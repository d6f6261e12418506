-- Count a tenant's kept jobs by status: folded counts, and leases one by one. One snapshot, so a job counts once.
SELECT c.status, sum(c.n)::bigint AS jobs, sum(c.entered)::bigint AS entered
FROM (
  SELECT t.status, t.n, t.entered
  FROM jobqueue.tally t
  WHERE t.tenant_id = @tenant_id
  UNION ALL
  SELECT CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END, 1, 1
  FROM jobqueue.lease l
  WHERE l.tenant_id = @tenant_id) c
GROUP BY c.status
