-- Pause every queue something waits or runs in; answers their names and what waits in them.
-- tenant:  all, once after a restore
WITH open AS MATERIALIZED (
  SELECT x.tenant_id, x.queue_id, count(*) AS jobs
  FROM (
    SELECT r.tenant_id, r.queue_id FROM jobqueue.ready r
    UNION ALL
    SELECT s.tenant_id, s.queue_id FROM jobqueue.scheduled s
    UNION ALL
    SELECT p.tenant_id, p.queue_id FROM jobqueue.parked p
    UNION ALL
    SELECT b.tenant_id, b.queue_id FROM jobqueue.blocked b
    UNION ALL
    SELECT l.tenant_id, l.queue_id FROM jobqueue.lease l) x
  GROUP BY x.tenant_id, x.queue_id),
held AS (
  INSERT INTO jobqueue.tenant_queue (tenant_id, queue_id, is_paused)
  SELECT o.tenant_id, o.queue_id, true FROM open o
  ON CONFLICT (tenant_id, queue_id) DO UPDATE SET is_paused = true)
SELECT t.tenant_id, t.name AS tenant, q.name AS queue, o.jobs
FROM open o
JOIN jobqueue.tenant t ON t.tenant_id = o.tenant_id
JOIN jobqueue.queue q ON q.queue_id = o.queue_id
ORDER BY t.name, q.name
