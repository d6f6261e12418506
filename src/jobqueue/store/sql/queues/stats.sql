-- Read the figures of a tenant's queues: counts now, the oldest wait, and the newest and oldest sample of the last minutes.
-- params:  @names: empty for every queue the tenant used
SELECT q.name,
  coalesce(c.ready, 0)::bigint AS ready, coalesce(c.scheduled, 0)::bigint AS scheduled, coalesce(c.failed, 0)::bigint AS failed,
  coalesce(c.dlq, 0)::bigint AS dlq, l.running,
  greatest(0, extract(epoch FROM clock_timestamp() - jobqueue.oldest_ready_v1(@tenant_id, q.queue_id)))::double precision AS oldest_ready_age_s,
  coalesce(c.arrived, 0)::bigint AS arrived, coalesce(c.ended, 0)::bigint AS ended, coalesce(c.ran_s, 0) AS ran_s,
  s.arrived AS arrived_then, s.ended AS ended_then, s.ran_s AS ran_s_then, extract(epoch FROM clock_timestamp() - s.at)::double precision AS sampled_ago_s
FROM jobqueue.queue q
LEFT JOIN LATERAL (
  SELECT sum(t.n) FILTER (WHERE t.status = 'queued') AS ready, sum(t.n) FILTER (WHERE t.status IN ('scheduled', 'blocked')) AS scheduled,
    sum(t.n) FILTER (WHERE t.status = 'failed') AS failed, sum(t.n) FILTER (WHERE t.status = 'dlq') AS dlq,
    sum(t.entered) FILTER (WHERE t.status = 'queued') AS arrived,
    sum(t.entered) FILTER (WHERE t.status IN ('succeeded', 'failed', 'dlq', 'cancelled')) AS ended, sum(t.ran_s) AS ran_s
  FROM jobqueue.tally t
  WHERE t.tenant_id = @tenant_id AND t.queue_id = q.queue_id) c ON true
CROSS JOIN LATERAL (SELECT count(*) AS running FROM jobqueue.lease h WHERE h.tenant_id = @tenant_id AND h.queue_id = q.queue_id) l
LEFT JOIN LATERAL (
  SELECT x.at, x.arrived, x.ended, x.ran_s
  FROM jobqueue.queue_sample x
  WHERE x.tenant_id = @tenant_id AND x.queue_id = q.queue_id AND x.at > clock_timestamp() - @window_s * interval '1 second'
  ORDER BY x.at
  LIMIT 1) s ON true
WHERE CASE WHEN cardinality(@names::text[]) > 0 THEN q.name = ANY (@names::text[])
  ELSE q.queue_id IN (SELECT t.queue_id FROM jobqueue.tally t WHERE t.tenant_id = @tenant_id) END
