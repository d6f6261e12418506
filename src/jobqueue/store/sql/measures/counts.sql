-- Count what is there, for the gauges of the whole queue: due jobs by tenant, kept jobs by status, live workers by state. One snapshot.
-- params:  @tenants_max: the tenants with most due jobs are named, the others are one row without a name
-- answer:  kind (tenant, status, worker), name, n. The cost is that of the folded counts and of the leases, however many jobs are kept
-- tenant:  all, periodic
WITH counted AS MATERIALIZED (
  SELECT t.tenant_id, t.status, sum(t.n) AS n
  FROM jobqueue.tally t
  GROUP BY t.tenant_id, t.status),
ranked AS (
  SELECT c.tenant_id, c.n, row_number() OVER (ORDER BY c.n DESC, c.tenant_id) AS rank
  FROM counted c
  WHERE c.status = 'queued' AND c.n > 0)
SELECT 'tenant' AS kind, g.name, sum(r.n)::bigint AS n
FROM ranked r LEFT JOIN jobqueue.tenant g ON g.tenant_id = r.tenant_id AND r.rank <= @tenants_max
GROUP BY g.name
UNION ALL
SELECT 'status', c.status, sum(c.n)::bigint
FROM counted c
GROUP BY c.status
UNION ALL
SELECT 'status', CASE WHEN l.started_at IS NULL THEN 'leased' ELSE 'running' END, count(*)
FROM jobqueue.lease l
GROUP BY 2
UNION ALL
SELECT 'worker', w.state, count(*)
FROM jobqueue.worker w
WHERE w.state <> 'stopped' AND w.last_heartbeat_at > clock_timestamp() - @worker_alive_s * interval '1 second'
GROUP BY w.state
